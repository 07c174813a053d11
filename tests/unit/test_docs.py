"""What the pages list is what the code can say."""

import re
from pathlib import Path

import pytest

from cli import settings_page
from worker.delivery.redelivery import RedeliveryRefusal
from worker.verdict import assessment, screening
from worker.waveform import quality

ROOT = Path(__file__).parents[2]


def test_every_reason_and_problem_is_explained() -> None:
    page = (ROOT / "docs" / "finding.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert set(quality.PROBLEMS) | set(assessment.REASONS) <= explained
    assert set(screening.REASONS) - {"t_wave_inversion"} <= explained


def test_every_code_of_sending_again_is_explained_as_it_is_meant() -> None:
    page = (ROOT / "docs" / "ehr.md").read_text(encoding="utf-8")
    assert [code for code in RedeliveryRefusal if f"| `{code}` | {code.meaning} |\n" not in page] == []


def test_every_note_of_a_decoder_is_explained() -> None:
    page = (ROOT / "docs" / "finding.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "adapters").rglob("*.py"))
    stated = set(re.findall(r'problem="([a-z0-9_]+)"', code))
    assert len(stated) > 5
    assert {f"`{problem}`" for problem in stated} <= set(re.findall(r"`[a-z0-9_]+`", page))


def test_the_page_of_settings_is_current() -> None:
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run: make docs"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_the_first_pages_name_are_there(page: str) -> None:
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|md|lock|toml|json)|/))`", (ROOT / page).read_text(encoding="utf-8")))
    assert len(named) > 5
    # A name without a folder may be that of a file which is yet to be written.
    assert [name for name in sorted(named) if "/" in name and not (ROOT / name).exists()] == []
