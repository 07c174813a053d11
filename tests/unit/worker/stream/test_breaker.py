"""A worker that rejects too much of what it reads stops before it commits more."""

import pytest

from worker.stream.breaker import LEAST, WINDOW, Breaker, TooManyRejections


def test_the_breaker_opens_when_more_than_the_share_is_rejected() -> None:
    breaker = Breaker(0.5)
    for _ in range(WINDOW):
        breaker.note(rejected=False)
    for _ in range(WINDOW // 2):
        breaker.note(rejected=True)
    with pytest.raises(TooManyRejections, match="101 of the last 200"):
        breaker.note(rejected=True)


def test_a_few_rejections_say_nothing() -> None:
    breaker = Breaker(0.5)
    for _ in range(LEAST - 1):
        breaker.note(rejected=True)
    with pytest.raises(TooManyRejections):
        breaker.note(rejected=True)


def test_one_in_a_hundred_never_opens_it_and_a_share_of_one_never_does() -> None:
    scattered, tolerant = Breaker(0.5), Breaker(1.0)
    for number in range(5000):
        scattered.note(rejected=number % 100 == 0)
        tolerant.note(rejected=True)


def test_half_of_the_least_is_not_yet_more_than_half() -> None:
    breaker = Breaker(0.5)
    for number in range(LEAST):
        breaker.note(rejected=number % 2 == 0)
    with pytest.raises(TooManyRejections, match="26 of the last 51"):
        breaker.note(rejected=True)


def test_what_has_left_the_window_no_longer_counts() -> None:
    breaker = Breaker(0.5)
    for number in range(2 * WINDOW):
        breaker.note(rejected=number < LEAST - 1 and number % 2 == 1)
    for _ in range(WINDOW // 2):
        breaker.note(rejected=True)
    with pytest.raises(TooManyRejections):
        breaker.note(rejected=True)


def test_a_share_of_nothing_opens_at_the_first_rejection_once_there_are_enough_results() -> None:
    strict = Breaker(0.0)
    for _ in range(LEAST):
        strict.note(rejected=False)
    with pytest.raises(TooManyRejections, match="1 of the last 51"):
        strict.note(rejected=True)


def test_the_breaker_says_for_what_most_were_rejected() -> None:
    breaker = Breaker(0.5)
    for _ in range(10):
        breaker.note(rejected=True, reason="hl7.cut_off")
    with pytest.raises(TooManyRejections, match=r"40 as dicom.malformed, 10 as hl7.cut_off; docs/rejections.md"):
        for _ in range(LEAST):
            breaker.note(rejected=True, reason="dicom.malformed")
