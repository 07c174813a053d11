"""What a person may type where an end of an interval is asked for."""

import time
from collections.abc import Iterator

import pytest
import typer

from cli.options import parse_bound, parse_interval
from worker.history.interval import OPEN, Bound


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


@pytest.mark.parametrize(
    "typed",
    [
        *(str(2**63), "9" * 5000, "-1", "yesterday", "", "1.5"),
        *("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+14:00"),  # a day that UTC does not have
    ],
)
def test_anything_else_is_wrong_use(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_bound(typed)


@pytest.mark.parametrize(
    ("start", "end"), [("5", "4"), ("2026-03-04T00:00:00Z", "2026-03-03"), ("2026-03-03", "2026-03-03T00:00:00+02:00")]
)
def test_an_interval_that_ends_before_it_begins_is_wrong_use(start: str, end: str) -> None:
    with pytest.raises(typer.BadParameter, match="ends before it begins"):
        parse_interval(start, end)


def test_an_end_that_is_not_stated_is_open() -> None:
    assert parse_interval(None, "4") == (OPEN, Bound(offset=4))
    assert parse_interval("4", None) == (Bound(offset=4), OPEN)
    assert parse_interval("4", "4") == (Bound(offset=4), Bound(offset=4))
    assert parse_interval("2026-03-03", "1") == (Bound(timestamp_ms=1_772_496_000_000), Bound(offset=1))
