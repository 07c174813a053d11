"""A worker that rejects too much of what it reads goes on slowly, and says why."""

import pytest
from prometheus_client import REGISTRY

from tests.support.scripted import Clock
from worker.stream.breaker import LEAST, WINDOW, Breaker


def breaker(share: float = 0.5, clock: Clock | None = None) -> Breaker:
    return Breaker(share, pace_s=2.0, clock=clock or Clock())


def note(at: Breaker, count: int, rejected: str | None = "payload.unknown_format") -> Breaker:
    for _ in range(count):
        at.note(rejected)
    return at


def test_it_opens_when_more_than_the_share_is_rejected() -> None:
    busy = note(note(breaker(), WINDOW, None), WINDOW // 2)
    assert (busy.trouble or "") == ""
    assert "101 of the last 200" in (note(busy, 1).trouble or "")


def test_a_few_rejections_say_nothing() -> None:
    quiet = note(breaker(), LEAST - 1)
    assert quiet.trouble is None
    assert note(quiet, 1).trouble is not None


@pytest.mark.parametrize(("share", "every"), [(0.5, 100), (1.0, 1)])
def test_one_in_a_hundred_never_opens_it_and_a_share_of_one_never_does(share: float, every: int) -> None:
    tolerant = breaker(share)
    for number in range(5000):
        tolerant.note("internal.error" if number % every == 0 else None)
        assert tolerant.trouble is None


def test_half_of_the_least_is_not_yet_more_than_half() -> None:
    even = breaker()
    for number in range(LEAST):
        even.note("internal.error" if number % 2 == 0 else None)
    assert even.trouble is None
    assert "26 of the last 51" in (note(even, 1).trouble or "")


def test_what_has_left_the_window_no_longer_counts() -> None:
    late = breaker()
    for number in range(2 * WINDOW):
        late.note("internal.error" if number < LEAST - 1 and number % 2 == 1 else None)
    assert note(late, WINDOW // 2).trouble is None
    assert note(late, 1).trouble is not None


def test_it_says_for_what_most_were_rejected_and_keeps_count() -> None:
    mixed = note(note(breaker(), 10, "hl7.cut_off"), 40, "dicom.malformed")
    assert "40 as dicom.malformed, 10 as hl7.cut_off; docs/rejections.md" in (mixed.trouble or "")
    assert "60 of the last 60" in (note(mixed, 10).trouble or "")


def test_while_it_is_open_records_are_begun_at_its_pace() -> None:
    clock = Clock()
    slow = breaker(clock=clock)
    seen = []
    for event in (slow.begun, lambda: note(slow, LEAST), lambda: clock.wait(1.9), lambda: clock.wait(0.1), slow.begun):
        event()
        seen.append(slow.holds_back)
    assert seen == [False, True, True, False, True]


def test_it_closes_by_itself_when_enough_is_good_again() -> None:
    healed = note(note(breaker(), WINDOW), LEAST // 2 - 1, None)
    assert (healed.trouble or "") != ""
    assert note(healed, 1, None).trouble is None
    healed.begun()
    assert not healed.holds_back
    assert note(healed, 1, None).trouble is None, "what lies before is over"
    assert note(healed, WINDOW).trouble is not None


def test_a_metric_says_whether_it_is_open() -> None:
    seen = []
    slow = note(breaker(), LEAST)
    seen.append(REGISTRY.get_sample_value("ecg_slowed_by_rejections"))
    note(slow, LEAST, None)
    seen.append(REGISTRY.get_sample_value("ecg_slowed_by_rejections"))
    assert seen == [1.0, 0.0]
