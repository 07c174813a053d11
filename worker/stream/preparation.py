"""A small pool of processes that decode, measure and render.

Parsers in pure Python hold the interpreter for tens of milliseconds; in processes of their own they cannot hold up the
I/O loop. A process that dies, of a crash in a library or for memory, takes down the pool with all that it has in hand,
and nobody can tell whose fault it was. So a new pool goes on, and what was in hand is tried again one by one: the
record that ends its process once more is rejected. Ending the worker was tried; it read the same record again, for
ever.
"""

import functools
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from typing import Any, Final

from adapters.log import Record
from schemas.ecg import Ecg
from schemas.errors import WorkerError
from schemas.rejection import Reason, Rejected, Rejection
from worker.operations import metrics
from worker.operations.gc_policy import Collector
from worker.operations.logs import get_logger
from worker.picture.layout import Layout
from worker.pipeline import OutOfTime, prepare, reject
from worker.prepared import PreparedEcg

# The slowest real message takes well under a second. Input that needs more is an attack or a defect, and is refused
# before the log takes this worker for dead.
TIME_LIMIT_S: Final = 20.0
# Enough to be busy between two turns of the loop; what is submitted can no longer be overtaken.
SUBMITTED_PER_PROCESS: Final = 8

# Of what one process may allocate: many times what the largest record takes, and less than what a node ends it for.
MEMORY_LIMIT_BYTES: Final = 4 * 1024**3

NO_PROCESS: Final = (
    "no process that prepares records stays alive; what ended it stands in the lines above, or the machine has no "
    "memory for it: give it more, or set fewer ECG_PROCESSES"
)

log = get_logger()
_collector: Final = Collector()  # of a process of the pool

Prepared = PreparedEcg | Rejection


class PreparationFailed(WorkerError):
    """Nothing can be prepared, whatever the record."""


class PreparationPool:
    """Runs `prepare` in processes. Only if no process can be had at all does a result raise PreparationFailed."""

    def __init__(
        self, processes: int, decode: Callable[[bytes], Ecg], layout: Layout, time_limit_s: float = TIME_LIMIT_S
    ) -> None:
        self.room = processes * SUBMITTED_PER_PROCESS
        self._decode = decode
        self._layout = layout
        self._time_limit_s = time_limit_s
        self._processes = processes
        self._pool = _new_pool(processes)
        self._suspects: SimpleQueue[tuple[Record, Future[Prepared]]] = SimpleQueue()
        self._trying = self._closed = False
        self._pool_for_one: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, record: Record) -> Future[Prepared]:
        """Begin to prepare a record. Called from one thread."""
        outcome: Future[Prepared] = Future()
        # Without our lock: in newer Pythons a pool that breaks calls `_hand_on`, which takes it, under a lock of its
        # own, for which this call waits.
        try:
            prepared = self._run(self._pool, record)
        except BrokenProcessPool:
            self._pool = _new_pool(self._processes)
            prepared = self._run(self._pool, record)
        prepared.add_done_callback(functools.partial(self._hand_on, record, outcome))
        return outcome

    def close(self) -> None:
        """End the processes at once. What they have in hand is of no use to anybody by now."""
        with self._lock:
            self._closed = True
        for pool in filter(None, (self._pool, self._pool_for_one)):
            _end(pool)

    def _run(self, pool: ProcessPoolExecutor, record: Record) -> Future[Prepared]:
        return pool.submit(_prepare_in_time, record, self._decode, self._layout, self._time_limit_s)

    def _hand_on(self, record: Record, outcome: Future[Prepared], prepared: Future[Prepared]) -> None:
        """Called in a thread of the pool, when a preparation has ended somehow."""
        if prepared.cancelled():  # the pool was closed
            outcome.cancel()
        elif isinstance(error := prepared.exception(), BrokenProcessPool):
            self._suspect(record, outcome)
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(prepared.result())

    def _suspect(self, record: Record, outcome: Future[Prepared]) -> None:
        """Have it tried again alone."""
        with self._lock:
            self._suspects.put((record, outcome))
            if not self._trying:
                self._trying = True
                log.error("a preparation process died; what was in hand is tried again one by one")
                metrics.PREPARATION_DEATHS.inc()
                threading.Thread(target=self._try_alone, name="suspects", daemon=True).start()

    def _try_alone(self) -> None:
        """One suspect after the other, in a process that was seen to work before."""
        while (suspect := self._next_suspect()) is not None:
            record, outcome = suspect
            pool = self._pool_for_one or _new_pool(1)
            try:
                pool.submit(os.getpid).result()
                self._pool_for_one = pool
            except BrokenProcessPool:  # the machine's fault, not the record's
                outcome.set_exception(PreparationFailed(NO_PROCESS))
                continue
            try:
                outcome.set_result(self._run(pool, record).result())
            except BrokenProcessPool:
                self._pool_for_one = None
                if not self._closed:
                    outcome.set_result(reject(record, Rejected(Reason.PAYLOAD_FATAL, stage="decode")))
            except Exception as error:  # noqa: BLE001 - as from the pool
                outcome.set_exception(error)

    def _next_suspect(self) -> tuple[Record, Future[Prepared]] | None:
        with self._lock:
            if not self._closed and not self._suspects.empty():
                return self._suspects.get()
            self._trying = False
            if self._pool_for_one is not None:
                self._pool_for_one.shutdown(wait=False)
                self._pool_for_one = None
            return None


def _new_pool(processes: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process with threads (torch, the log's client) inherits their locks.
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_set_up_process)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool in the middle of their work.

    Python has no way to say so before 3.14. Its own thread reads what the processes send, and this process cannot end
    before that thread: if one is ended in the middle of sending, the thread waits for the rest for as long as anybody
    could still write it, which is this process itself until it closes its own end of the pipe.
    """
    processes = list((pool._processes or {}).values())  # None: broken
    results: Any = pool._result_queue
    pool.shutdown(wait=False, cancel_futures=True)
    results._writer.close()
    for process in processes:
        process.terminate()


def _set_up_process() -> None:
    # Beyond it memory is refused, which is that record's failure; without it a node may end the worker instead.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
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
