"""What ends a worker, and by when: the stop, the breaker, the watch on progress, the watchdog."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from adapters.log import TopicPartition
from worker.operations.watchdog import Watchdog
from worker.stream.breaker import LEAST, WINDOW, Breaker, TooManyRejections
from worker.stream.stall import StallDetector, Stalled
from worker.stream.stop import Stop

TP = TopicPartition("ecg.inbound", 0)


def test_the_time_for_the_ending_begins_with_the_first_request_and_no_other() -> None:
    stop = Stop(drain_s=0.2)
    assert not stop.is_set()
    assert stop.deadline.remaining_s > 0.15
    stop.set()
    time.sleep(0.1)
    stop.set()
    assert stop.is_set()
    assert stop.deadline.remaining_s < 0.15


def test_the_breaker_opens_when_more_than_the_share_is_rejected() -> None:
    breaker = Breaker(0.5)
    for _ in range(WINDOW):
        breaker.note(rejected=False)
    for _ in range(WINDOW // 2):
        breaker.note(rejected=True)
    with pytest.raises(TooManyRejections, match="101 of the last 200"):
        breaker.note(rejected=True)


def test_the_breaker_says_for_what_most_were_rejected() -> None:
    breaker = Breaker(0.5)
    for _ in range(10):
        breaker.note(rejected=True, reason="hl7.cut_off")
    with pytest.raises(TooManyRejections, match=r"40 as dicom.malformed, 10 as hl7.cut_off; docs/rejections.md"):
        for _ in range(LEAST):
            breaker.note(rejected=True, reason="dicom.malformed")


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


def test_the_watchdog_says_what_stalled_and_ends_the_process() -> None:
    reasons: list[str] = []
    ended, stalled = threading.Event(), threading.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    Watchdog(lambda: "the loop" if stalled.is_set() else None, end, look_every_s=0.01)
    assert not ended.wait(0.1)
    stalled.set()
    assert ended.wait(10)
    assert reasons == ["the loop"]


def test_a_process_whose_loop_stalls_ends_by_itself_with_an_error() -> None:
    script = (
        "import time\n"
        "from worker.operations import logs\n"
        "from worker.operations.watchdog import Watchdog\n"
        "logs.configure('INFO')\n"
        "Watchdog(lambda: 'the loop has not turned', look_every_s=0.05)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "the loop has not turned" in done.stderr
    assert "time.sleep" not in done.stdout
    assert "Thread" in done.stderr, "where each thread stood"
