"""A call is held to its deadline."""

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from adapters.deadline import Deadline, call_with_deadline, run_in_thread


def test_the_result_of_a_call_in_time_is_returned() -> None:
    assert call_with_deadline(Deadline(10), "quick", lambda: 42) == 42


def test_the_error_of_a_call_in_time_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        call_with_deadline(Deadline(10), "failing", fail)


def test_a_call_that_does_not_end_is_given_up() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        call_with_deadline(Deadline(0.01), "hanging", release.wait)
    release.set()


def test_time_left_is_never_negative() -> None:
    assert Deadline(-1).remaining_s == 0
    assert Deadline(-1).expired
    assert not Deadline(60).expired


def test_a_call_beside_this_thread_does_not_keep_the_process_from_ending() -> None:
    script = "import time; from adapters.deadline import run_in_thread; run_in_thread('stuck', lambda: time.sleep(600))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_a_call_that_was_cancelled_in_time_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Callable[[], None]] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: begun.append(thread.run))
    made: list[str] = []
    outcome = run_in_thread("late", lambda: made.append("call"))
    assert outcome.cancel()
    begun[0]()
    assert made == []
