"""The thread that ends a process which no longer moves."""

import os
import subprocess
import sys
import threading

from worker.operations.watchdog import Watchdog


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


def test_a_watchdog_that_is_closed_asks_no_more() -> None:
    asked = threading.Event()
    looked: list[str] = []

    def stalled() -> str | None:
        asked.set()
        return None if not over.is_set() else "too late"

    over = threading.Event()
    watchdog = Watchdog(stalled, looked.append, look_every_s=0.01)
    assert asked.wait(10)
    watchdog.close()
    threading.Event().wait(0.1)  # for a look that had begun
    over.set()
    threading.Event().wait(0.1)
    assert looked == []
