"""The request to end, and the one deadline that begins with it."""

import time

from worker.stream.stop import Stop


def test_the_time_for_the_ending_begins_with_the_first_request_and_no_other() -> None:
    stop = Stop(drain_s=0.2)
    assert not stop.is_set()
    assert stop.deadline.remaining_s > 0.15
    stop.set()
    time.sleep(0.1)
    stop.set()
    assert stop.is_set()
    assert stop.deadline.remaining_s < 0.15


def test_whoever_asks_says_whether_what_was_read_is_to_be_finished() -> None:
    assert Stop(drain_s=1, drain_queue=True).drain_queue
    assert not Stop(drain_s=1).drain_queue


def test_until_somebody_asks_the_whole_grace_is_left() -> None:
    stop = Stop(drain_s=0.2)
    time.sleep(0.1)
    assert stop.deadline.remaining_s > 0.15
