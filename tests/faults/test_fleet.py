"""Workers that end are started again, and it is known which of them were asked to. The worker here is this file."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import procfs
from tests.faults.fleet import Crashing, Fleet

LIMIT_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(2, tmp_path, {"ECG_GROUP": "g"}, ("tests.faults.test_fleet",))
    try:
        assert fleet.wait_until(lambda: began(fleet, 0) and began(fleet, 1), LIMIT_S)
        yield fleet
    finally:
        fleet.close()


def began(fleet: Fleet, worker: int) -> bool:
    return fleet.logged(worker, "began")


def test_a_killed_worker_comes_back_as_another_process(fleet: Fleet) -> None:
    before = fleet.pid(0), fleet.pid(1)
    fleet.kill(0)
    assert fleet.wait_until(lambda: fleet.pid(0) != before[0] and began(fleet, 0), LIMIT_S)
    assert fleet.pid(1) == before[1]
    assert fleet.ended == []


def test_a_worker_that_is_asked_to_end_tells_how(fleet: Fleet) -> None:
    before = fleet.pid(1)
    seconds, code = fleet.terminate(1)
    assert (code, seconds < LIMIT_S) == (0, True)
    assert fleet.wait_until(lambda: fleet.pid(1) != before and began(fleet, 1), LIMIT_S)
    assert fleet.ended == []
    assert fleet.stop() == [0, 0]


def test_a_worker_that_ends_by_itself_is_noted_with_its_last_words(fleet: Fleet) -> None:
    os.kill(fleet.pid(0), signal.SIGUSR1)
    assert fleet.wait_until(lambda: len(fleet.ended) == 1, LIMIT_S)
    (ending,) = fleet.ended
    assert (ending.worker, ending.exit_code) == (0, 3)
    assert ending.last_words == "gave up of worker-0"


def test_a_frozen_worker_neither_ends_nor_moves(fleet: Fleet) -> None:
    fleet.freeze(0)
    os.kill(fleet.pid(0), signal.SIGUSR1)
    time.sleep(0.5)
    assert fleet.ended == []
    assert procfs.threads(fleet.pid(0)) > 0
    fleet.thaw(0)
    assert fleet.wait_until(lambda: len(fleet.ended) == 1, LIMIT_S)


def test_a_worker_that_never_stays_up_is_given_up(tmp_path: Path) -> None:
    fleet = Fleet(1, tmp_path, {}, ("no_such_module",))
    try:
        with pytest.raises(Crashing, match="No module named no_such_module"):
            fleet.wait_until(lambda: False, LIMIT_S)
    finally:
        fleet.close()


def _live() -> None:
    """Until asked to end; SIGUSR1 is its idea of a crash."""

    def say(event: str) -> None:
        sys.stderr.write(json.dumps({"event": event}) + "\n")

    def give_up(*_: object) -> None:
        say(f"gave up of {os.environ['ECG_MEMBER']}")
        os._exit(3)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGUSR1, give_up)
    say("began")
    while True:
        time.sleep(0.05)


if __name__ == "__main__":
    _live()
