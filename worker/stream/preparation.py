"""A small pool of processes that decode, measure and render.

Parsers in pure Python hold the interpreter for tens of milliseconds; in processes of their own they cannot hold up the
I/O loop, and one that dies takes no answer with it: the pool breaks, and with it the worker.
"""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any, Final

from adapters.log import Record
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected, Rejection
from worker.operations.gc_policy import Collector
from worker.picture.layout import Layout
from worker.pipeline import OutOfTime, prepare, reject
from worker.prepared import PreparedEcg

# The slowest real message takes well under a second. Input that needs more is an attack or a defect, and is refused
# before the log takes this worker for dead.
TIME_LIMIT_S: Final = 20.0
# Enough to be busy between two turns of the loop; what is submitted can no longer be overtaken.
SUBMITTED_PER_PROCESS: Final = 8

_collector: Final = Collector()  # of a process of the pool


class PreparationPool:
    """Runs `prepare` in processes. A process that dies breaks the pool: every later result raises BrokenProcessPool."""

    def __init__(
        self, processes: int, decode: Callable[[bytes], Ecg], layout: Layout, time_limit_s: float = TIME_LIMIT_S
    ) -> None:
        self.room = processes * SUBMITTED_PER_PROCESS
        self._decode = decode
        self._layout = layout
        self._time_limit_s = time_limit_s
        # Spawned, not forked: a fork of a process with threads (torch, the log's client) inherits their locks.
        self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_set_up_process)

    def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
        """Begin to prepare a record."""
        return self._pool.submit(_prepare_in_time, record, self._decode, self._layout, self._time_limit_s)

    def close(self) -> None:
        """End the processes at once. What they have in hand is of no use to anybody by now.

        Python has no way to say so before 3.14. Its own thread reads what the processes send, and this process cannot
        end before that thread: if one is ended in the middle of sending, the thread waits for the rest for as long as
        anybody could still write it, which is this process itself until it closes its own end of the pipe.
        """
        processes = list(self._pool._processes.values())
        results: Any = self._pool._result_queue
        self._pool.shutdown(wait=False, cancel_futures=True)
        results._writer.close()
        for process in processes:
            process.terminate()


def _set_up_process() -> None:
    # A terminal's Ctrl-C reaches the whole process group; the parent drains, so its children have to stay.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _out_of_time)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed closes no queue: without this its children would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare_in_time(
    record: Record, decode: Callable[[bytes], Ecg], layout: Layout, time_limit_s: float
) -> PreparedEcg | Rejection:
    """Prepare, and let no alarm out: it is armed, rings and is disarmed inside, at the worst between two stages."""
    try:
        try:
            _Alarm.armed = True
            signal.setitimer(signal.ITIMER_REAL, time_limit_s)
            return prepare(record, decode, layout)
        finally:
            _Alarm.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except OutOfTime:
        _Alarm.armed = False  # it may have rung on the way to the line above that says so
        return reject(record, Rejected(Reason.PAYLOAD_TOO_SLOW, stage="assemble"))
    finally:
        _collector.collect()


class _Alarm:
    """Whether the time limit counts. An alarm that Python delivers after the timer was taken back is none."""

    armed = False


def _out_of_time(_: int, __: object) -> None:
    if _Alarm.armed:
        _Alarm.armed = False
        raise OutOfTime
