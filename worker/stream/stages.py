"""Records between reading and result: queued, being prepared, before the engine, finished. The most urgent first.

What is read ahead waits in the queue and costs its bytes only. Little of it is begun at once, so that a STAT ECG that
comes in waits for that little and no more.
"""

from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from adapters.log import Record
from schemas.ecg import Priority
from schemas.finding import Finding
from schemas.rejection import Rejected, Rejection
from worker.engine.question import Answer, Question
from worker.pipeline import reject
from worker.prepared import PreparedEcg
from worker.stream.ledger import PartitionLedger
from worker.stream.session import Clock, Lease
from worker.urgency import HEAD_START_S, UrgencyQueue, rank


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

    def put(self, tag: Hashable, question: Question, rank: float) -> bool:
        """Hand in a question; False if there is no room."""
        ...

    def take(self) -> tuple[Hashable, Answer | Rejected] | None:
        """An answer that is ready, or why there is none, in any order; or None. Raises if the engine failed."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The work between reading a record and publishing its result, and where results go."""

    preparation: Preparation
    engine: Asking
    conclude: Callable[[PreparedEcg, Answer | None], Finding]
    priority: Callable[[Record], Priority]
    findings_topic: str
    rejections_topic: str


@dataclass(slots=True, eq=False)
class TrackedRecord:
    """A record from reading to result, under which lease it was read, and the ledger of that."""

    record: Record
    lease: Lease
    ledger: PartitionLedger
    priority: Priority
    read_at: float
    begun_at: float = 0.0
    prepared: PreparedEcg | None = None
    result: Finding | Rejection | None = None
    finished_at: float = 0.0

    @property
    def rank(self) -> float:
        """What orders it among others."""
        return rank(self.read_at, self.priority)


class Dispatcher:
    """Moves records through the stages. Not thread-safe; the stages work elsewhere."""

    def __init__(self, stages: Stages, max_in_flight: int, clock: Clock) -> None:
        self._stages = stages
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._queue = UrgencyQueue[TrackedRecord]()
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
        """Put a record in the queue."""
        tracked = TrackedRecord(record, lease, ledger, self._stages.priority(record), self._clock())
        self._queue.add(tracked.rank, tracked)

    def advance(self, *, may_begin: bool) -> list[TrackedRecord]:
        """Move whatever is ready one stage further; what was finished by that."""
        if may_begin:
            self._begin()
        self._end_preparations()
        while self._prepared and self._ask(self._prepared.peek()):
            self._prepared.pop()
        self._take_answers()
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
            tracked = self._queue.pop()
            tracked.begun_at = self._clock()
            self._preparing.append((tracked, self._stages.preparation.submit(tracked.record)))

    def _end_preparations(self) -> None:
        still_preparing = deque[tuple[TrackedRecord, Future[PreparedEcg | Rejection]]]()
        for tracked, future in self._preparing:
            if not future.done():
                still_preparing.append((tracked, future))
            elif isinstance(prepared := future.result(), Rejection):
                self._finish(tracked, prepared)
            else:
                self._prepare_to_ask(tracked, prepared)
        self._preparing = still_preparing

    def _prepare_to_ask(self, tracked: TrackedRecord, prepared: PreparedEcg) -> None:
        if prepared.question is None:
            self._finish(tracked, self._stages.conclude(prepared, None))
            return
        tracked.prepared = prepared
        # The whole record is known now, and may be more urgent than its first glance was.
        tracked.priority = max(tracked.priority, prepared.priority, key=HEAD_START_S.__getitem__)
        self._prepared.add(tracked.rank, tracked)

    def _ask(self, tracked: TrackedRecord) -> bool:
        """Put a prepared ECG's question to the engine; False if the engine has no room."""
        assert tracked.prepared is not None and tracked.prepared.question is not None
        self._tags += 1
        if not self._stages.engine.put(self._tags, tracked.prepared.question, tracked.rank):
            return False
        self._asked[self._tags] = tracked
        return True

    def _take_answers(self) -> None:
        while (answered := self._stages.engine.take()) is not None:
            tag, answer = answered
            tracked = self._asked.pop(tag)
            assert tracked.prepared is not None
            if isinstance(answer, Rejected):
                self._finish(tracked, reject(tracked.record, answer))
            else:
                self._finish(tracked, self._stages.conclude(tracked.prepared, answer))

    def _finish(self, tracked: TrackedRecord, result: Finding | Rejection) -> None:
        tracked.result, tracked.finished_at, tracked.prepared = result, self._clock(), None
        self._finished.append(tracked)
