"""Ends the process when its loop or its engine no longer moves, and says so.

The kubelet would end it too, but knows no reason, and not every worker has a kubelet.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final, NoReturn

from worker.operations.logs import get_logger

log = get_logger()

LOOK_EVERY_S: Final = 5.0


class Watchdog:
    """Asks, in a thread of its own, whether something has stalled."""

    def __init__(
        self,
        stalled: Callable[[], str | None],
        end: Callable[[str], object] | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`stalled` tells what has; then `end` is called, which ends this process."""
        self._stalled = stalled
        self._end = end or end_process
        self._look_every_s = look_every_s
        self._over = Event()
        Thread(target=self._watch, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Watch no more."""
        self._over.set()

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while not self._over.wait(self._look_every_s):
            before, looked_at = looked_at, time.monotonic()
            # If even this thread was late the whole process was frozen, and has yet to show whether it goes on.
            if looked_at - before > 2 * self._look_every_s:
                continue
            if (reason := self._stalled()) is not None:
                self._end(reason)
                return


def end_process(reason: str) -> NoReturn:
    """End at once, whatever other threads hold: they are the ones that do not move."""
    report(reason)
    os._exit(1)


def report(reason: str) -> None:
    """Log what no longer moves, and where each thread stands."""
    log.critical("worker ended by its watchdog", reason=reason)
    faulthandler.dump_traceback(sys.stderr)  # names of files and functions only
