"""Records between reading and result: queued, being prepared, before the engine, finished. The most urgent first.

What is read ahead waits in the queue and costs its bytes only. Little of it is begun at once, so that a STAT ECG that
comes in waits for that little and no more.
"""

import functools
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from adapters.log import Record
from schemas.errors import WorkerError
from schemas.finding import Finding
from schemas.rejection import Reason, Rejected, Rejection
from worker.engine.question import Answer, Question
from worker.pipeline import refusal
from worker.prepared import PreparedEcg
from worker.stream.breaker import Breaker
from worker.stream.fence import Fence, Sealed
from worker.stream.ledger import PartitionLedger
from worker.stream.limits import Limits
from worker.stream.session import Clock, Lease
from worker.urgency import TwoLanes, Urgency, UrgencyQueue, rank


class Preparation(Protocol):
    """Prepares records, elsewhere."""

    @property
    def room(self) -> int:
        """How many records it takes at once to be always busy."""
        ...

    def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
        """Begin to prepare a record."""
        ...


class Asking(Protocol):
    """The engine's queue, as the loop sees it."""

    def put(self, tag: Hashable, question: Question, rank: float, *, waited_for: bool) -> bool:
        """Hand in a question, and whether somebody waits for its answer; False if there is no room."""
        ...

    def take(self) -> tuple[Hashable, Answer | Rejected] | None:
        """An answer that is ready, or why there is none, in any order; or None. Raises if the engine itself failed."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The work between reading a record and publishing its result."""

    preparation: Preparation
    engine: Asking
    conclude: Callable[[PreparedEcg, Answer | None], Finding]
    fence: Fence
    triage: Callable[[Record], Urgency]


@dataclass(slots=True, eq=False)
class TrackedRecord:
    """A record from reading to result, under which lease it was read, and the ledger of that.

    `gone` are the offsets that it stands for, if the log no longer holds them.
    """

    record: Record
    lease: Lease
    ledger: PartitionLedger
    urgency: Urgency
    read_at: float
    begun_at: float | None = None
    prepared: PreparedEcg | None = None
    sealed: Sealed | None = None
    finished_at: float = 0.0
    gone: range = range(0)

    @property
    def rank(self) -> float:
        """What orders it among others. What was read hours ago is begun now like any other."""
        return rank(self.read_at if self.begun_at is None else self.begun_at, self.urgency)


class Dispatcher:
    """Moves records through the stages. Not thread-safe; the stages work elsewhere."""

    def __init__(self, stages: Stages, breaker: Breaker, limits: Limits, clock: Clock) -> None:
        self._stages = stages
        self._breaker = breaker
        self._max_in_flight = limits.in_flight
        self._clock = clock
        self._queue = TwoLanes[TrackedRecord](limits.routine_share)
        self._preparing = deque[tuple[TrackedRecord, Future[PreparedEcg | Rejection]]]()
        self._prepared = UrgencyQueue[TrackedRecord]()  # no room in the engine's queue yet
        self._asked: dict[Hashable, TrackedRecord] = {}
        self._tags = 0
        self._finished: list[TrackedRecord] = []

    def __len__(self) -> int:
        """Everything that is not finished."""
        return len(self._queue) + self.in_flight

    @property
    def in_flight(self) -> int:
        """What is neither in the queue nor finished."""
        return len(self._preparing) + len(self._prepared) + len(self._asked)

    @property
    def preparing_since(self) -> float | None:
        """Since when the oldest record that is being prepared has been; None if none is."""
        return self._preparing[0][0].begun_at if self._preparing else None

    def add(self, record: Record, lease: Lease, ledger: PartitionLedger) -> None:
        """Put a record in the queue; one that is not worth a look is rejected at once, which costs nobody any time."""
        tracked = TrackedRecord(record, lease, ledger, self._stages.triage(record), self._clock())
        if (refused := refusal(record)) is not None:
            self._reject(tracked, refused)
            return
        self._queue.add(tracked.rank, tracked, waited_for=tracked.urgency.waited_for)

    def lose(self, lost: range, lease: Lease, ledger: PartitionLedger) -> None:
        """What the log no longer holds is rejected under its first offset."""
        at = lease.partition
        stand_in = Record(at.topic, at.partition, lost.start, None, None, b"")
        tracked = TrackedRecord(stand_in, lease, ledger, Urgency(), self._clock(), gone=lost)
        detail = f"offsets {lost.start} to {lost.stop - 1}"
        self._reject(tracked, Rejected(Reason.LOG_RECORDS_GONE, detail, "read"))

    def advance(self, *, may_begin: bool) -> None:
        """Move whatever is ready one stage further."""
        if may_begin:
            self._begin()
        self._end_preparations()
        while self._prepared and self._ask(self._prepared.peek()):
            self._prepared.pop()
        self._take_answers()

    def take_finished(self) -> list[TrackedRecord]:
        """What was finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def drop(self, unwanted: Callable[[TrackedRecord], bool]) -> list[TrackedRecord]:
        """Take out of the queue what no longer counts. What was begun is finished all the same, and looked at then."""
        return self._queue.remove_if(unwanted)

    def _begin(self) -> None:
        while (
            self._queue
            and self.in_flight < self._max_in_flight
            and len(self._preparing) < self._stages.preparation.room
        ):
            if (taken := self._queue.pop(others_too=not self._breaker.holds_back)) is None:
                return
            tracked, by_its_share = taken
            tracked.begun_at = self._clock()
            if by_its_share:
                tracked.urgency = tracked.urgency.promoted()
            if not tracked.urgency.waited_for:
                self._breaker.begun()
            self._preparing.append((tracked, self._stages.preparation.submit(tracked.record)))

    def _end_preparations(self) -> None:
        still_preparing = deque[tuple[TrackedRecord, Future[PreparedEcg | Rejection]]]()
        for tracked, future in self._preparing:
            if future.done():
                self._end_preparation(tracked, future)
            else:
                still_preparing.append((tracked, future))
        self._preparing = still_preparing

    def _end_preparation(self, tracked: TrackedRecord, future: Future[PreparedEcg | Rejection]) -> None:
        try:
            prepared = future.result()
        except WorkerError:  # not the record's fault
            raise
        except Exception as error:  # noqa: BLE001 - one record must not stop the worker
            self._reject(tracked, Rejected(Reason.INTERNAL, type(error).__name__, "assemble"))
            return
        if isinstance(prepared, Rejection):
            self._finish(tracked, lambda: prepared)
        else:
            self._prepare_to_ask(tracked, prepared)

    def _prepare_to_ask(self, tracked: TrackedRecord, prepared: PreparedEcg) -> None:
        if prepared.question is None:
            self._finish(tracked, lambda: self._stages.conclude(prepared, None))
            return
        tracked.prepared = prepared
        tracked.urgency = tracked.urgency.at_least(prepared.priority)
        self._prepared.add(tracked.rank, tracked)

    def _ask(self, tracked: TrackedRecord) -> bool:
        """Put a prepared ECG's question to the engine; False if the engine has no room."""
        assert tracked.prepared is not None and tracked.prepared.question is not None
        self._tags += 1
        question, waited_for = tracked.prepared.question, tracked.urgency.waited_for
        if not self._stages.engine.put(self._tags, question, tracked.rank, waited_for=waited_for):
            return False
        self._asked[self._tags] = tracked
        return True

    def _take_answers(self) -> None:
        while (answered := self._stages.engine.take()) is not None:
            tag, answer = answered
            tracked = self._asked.pop(tag)
            if isinstance(answer, Rejected):
                self._reject(tracked, answer)
            else:
                self._finish(tracked, functools.partial(self._conclude, tracked, answer))

    def _conclude(self, tracked: TrackedRecord, answer: Answer) -> Finding:
        assert tracked.prepared is not None
        return self._stages.conclude(tracked.prepared, answer)

    def _finish(self, tracked: TrackedRecord, make: Callable[[], Finding | Rejection]) -> None:
        self._end(tracked, self._stages.fence.seal(tracked.record, make))

    def _reject(self, tracked: TrackedRecord, why: Rejected) -> None:
        self._end(tracked, self._stages.fence.reject(tracked.record, why))

    def _end(self, tracked: TrackedRecord, sealed: Sealed) -> None:
        tracked.sealed, tracked.finished_at, tracked.prepared = sealed, self._clock(), None
        self._finished.append(tracked)
