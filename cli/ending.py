"""How a signal ends a service: at once while it loads, and later by finishing what is in hand."""

import os
import signal
import sys
from types import FrameType

from worker.operations import logs
from worker.stream.stop import Stop


class Ending:
    """Takes SIGTERM and SIGINT. Made once, in the main thread; `stop` is what the loop looks at."""

    def __init__(self, drain_s: float) -> None:
        self.stop = Stop(drain_s)
        self._loading = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def loaded(self) -> None:
        """From now on something may be in hand, and a signal lets it be finished."""
        self._loading = False

    def _end(self, number: int, _: FrameType | None) -> None:
        log = logs.get_logger()
        self.stop.set()
        if self._loading:
            # Loading takes as long as it takes, minutes for a large model; nothing was begun that could be lost. Not
            # by an exception: a module that is just being imported may make another of it.
            log.info("stopping before anything was begun", signal=signal.Signals(number).name)
            sys.stderr.flush()
            os._exit(0)
        log.info("stopping, finishing what is in hand", signal=signal.Signals(number).name)
