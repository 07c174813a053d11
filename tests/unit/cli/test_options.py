"""What a person may type where an end of an interval is asked for."""

import time
from collections.abc import Iterator

import pytest
import typer

from cli.options import parse_bound
from worker.history.interval import Bound


@pytest.fixture(autouse=True)
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("typed", "bound"),
    [
        ("0", Bound(offset=0)),
        (str(2**63 - 1), Bound(offset=2**63 - 1)),
        ("0" * 30 + "5", Bound(offset=5)),
        ("2026-03-03T00:00:00", Bound(timestamp_ms=1_772_496_000_000)),  # UTC, wherever this is typed
        ("2026-03-03T00:00:00+01:00", Bound(timestamp_ms=1_772_492_400_000)),
        ("2026-03-03T00:00:00.250Z", Bound(timestamp_ms=1_772_496_000_250)),
    ],
)
def test_an_offset_or_a_time(typed: str, bound: Bound) -> None:
    assert parse_bound(typed) == bound


@pytest.mark.parametrize("typed", [str(2**63), "9" * 5000, "-1", "yesterday", "", "1.5"])
def test_anything_else_is_wrong_use(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_bound(typed)
