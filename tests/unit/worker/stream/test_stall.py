"""What does not move though it could is noticed; what is slow or idle is not."""

from typing import Any

import pytest

from adapters.log import TopicPartition
from worker.stream.stall import LOOK_EVERY_S, StallDetector, Stalled

TP = TopicPartition("ecg.inbound", 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def look(watch: StallDetector, clock: Clock, at: int = 5, behind: int = 0, **more: Any) -> None:
    clock.now += 20
    assert watch.due
    watch.check({TP: at}, {TP: behind}, **{"committed": 0, "results": 0, "preparing_since": None, **more})
    assert not watch.due


def test_a_partition_that_brings_nothing_though_there_is_more_is_stuck(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    for _ in range(3):
        look(watch, clock, behind=7)
    with pytest.raises(Stalled, match="inbound/0 brings no records, though there are some, for 60 s"):
        look(watch, clock, behind=7)


def test_results_that_cannot_be_committed_are_noticed(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    look(watch, clock, committed=3)
    for _ in range(2):
        look(watch, clock, committed=3, results=2)
    with pytest.raises(Stalled, match="nothing is committed"):
        look(watch, clock, committed=3, results=2)


def test_a_record_that_stays_in_preparation_is_noticed(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    for _ in range(3):
        look(watch, clock, preparing_since=0.5)
    with pytest.raises(Stalled, match="being prepared"):
        look(watch, clock, preparing_since=0.5)


def test_what_moves_or_has_nothing_to_do_is_not_stuck(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    for turn in range(20):
        look(watch, clock, at=turn, behind=1000, committed=turn, results=9, preparing_since=clock.now)
    for _ in range(20):
        look(watch, clock)


def test_records_that_wait_for_a_slow_engine_are_not_stuck(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    for _ in range(20):  # everything was read ahead and is paused
        clock.now += 20
        watch.check({}, {TP: 1000}, committed=0, results=0, preparing_since=None)


def test_it_is_time_to_look_only_every_so_often(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    clock.now = LOOK_EVERY_S - 0.01
    assert not watch.due
    clock.now = LOOK_EVERY_S
    assert watch.due


def test_stuck_begins_at_the_limit_and_not_before(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    watch.check({TP: 5}, {TP: 1}, committed=0, results=0, preparing_since=None)
    for now in (30.0, 59.9):
        clock.now = now
        watch.check({TP: 5}, {TP: 1}, committed=0, results=0, preparing_since=None)
    clock.now = 60.0
    with pytest.raises(Stalled):
        watch.check({TP: 5}, {TP: 1}, committed=0, results=0, preparing_since=None)


def test_a_partition_that_comes_back_begins_anew(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    look(watch, clock, behind=7)
    look(watch, clock, behind=7)
    clock.now += 20
    watch.check({}, {TP: 7}, committed=0, results=0, preparing_since=None)
    for _ in range(3):
        look(watch, clock, behind=7)


def test_a_partition_of_which_nothing_is_known_is_not_stuck(clock: Clock) -> None:
    watch = StallDetector(60, clock)
    for _ in range(10):
        clock.now += 20
        watch.check({TP: 5}, {}, committed=0, results=0, preparing_since=None)


def test_one_partition_that_moves_does_not_hide_another_that_does_not(clock: Clock) -> None:
    watch, other = StallDetector(60, clock), TopicPartition("ecg.inbound", 1)
    with pytest.raises(Stalled, match="inbound/1 "):
        for turn in range(10):
            clock.now += 20
            watch.check({TP: turn, other: 5}, {TP: 9, other: 9}, committed=0, results=0, preparing_since=None)
