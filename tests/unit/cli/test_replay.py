"""What a replay's report says of the settings."""

from dataclasses import replace
from pathlib import Path

from cli.catalog import CATALOG
from cli.commands.replay import _CHANGE_NO_RESULT, settings_digest
from cli.settings import Settings


def test_the_digest_is_over_what_can_change_a_result() -> None:
    settings = Settings(log="sqlite:///a", member="a")
    digest = settings_digest(settings)
    same = replace(settings, log="sqlite:///b", member="b", group="b", model=Path("/elsewhere"), processes=7)
    assert settings_digest(same) == digest
    changed = [
        replace(settings, site_zone="Europe/Berlin"),
        replace(settings, site_charset="cp1252"),
        replace(settings, engine=replace(settings.engine, dtype="bfloat16")),
    ]
    assert len({digest, *map(settings_digest, changed)}) == 4


def test_what_it_leaves_out_is_there_to_be_left_out() -> None:
    assert CATALOG.keys() >= _CHANGE_NO_RESULT
