"""Records between reading and result: in line, being prepared, before the engine, finished. The most urgent first.

What is read ahead waits in line and costs its bytes only. Little of it is begun at once, so that a STAT ECG that comes
in waits for that little and no more.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from adapters.log import Record
from schemas.ecg import Priority
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.engine.question import Answer, Question
from worker.prepared import PreparedEcg
from worker.stream.ledger import PartitionLedger
from worker.urgency import HEAD_START_S, UrgencyQueue, rank


class Preparation(Protocol):
    """Turns records into cases, elsewhere."""

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

    def take(self) -> tuple[Hashable, Answer] | None:
        """An answer that is ready, in any order, or None. Raises if the engine's thread failed."""
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
    """A record in work, and under which ledger it was taken."""

    record: Record
    ledger: PartitionLedger
    priority: Priority
    read_at: float = field(default_factory=time.monotonic)
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

    def __init__(self, stages: Stages, max_in_flight: int) -> None:
        self._stages = stages
        self._max_in_flight = max_in_flight
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
        """What is neither in line nor finished."""
        return len(self._preparing) + len(self._prepared) + len(self._asked)

    @property
    def preparing_since(self) -> float | None:
        """Since when the oldest record that is being prepared has been; None if none is."""
        return self._preparing[0][0].begun_at if self._preparing else None

    def add(self, record: Record, ledger: PartitionLedger) -> TrackedRecord:
        """Put a record in line."""
        work = TrackedRecord(record, ledger, self._stages.priority(record))
        self._queue.add(work.rank, work)
        return work

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
        """Take what no longer counts out of the queue. What was begun is still finished, and has to be looked at then."""
        return self._queue.remove_if(unwanted)

    def _begin(self) -> None:
        while (
            self._queue
            and self.in_flight < self._max_in_flight
            and len(self._preparing) < self._stages.preparation.room
        ):
            work = self._queue.pop()
            work.begun_at = time.monotonic()
            self._preparing.append((work, self._stages.preparation.submit(work.record)))

    def _end_preparations(self) -> None:
        still_preparing = deque[tuple[TrackedRecord, Future[PreparedEcg | Rejection]]]()
        for work, future in self._preparing:
            if not future.done():
                still_preparing.append((work, future))
            elif isinstance(prepared := future.result(), Rejection):
                self._finish(work, prepared)
            else:
                self._prepare_to_ask(work, prepared)
        self._preparing = still_preparing

    def _prepare_to_ask(self, work: TrackedRecord, prepared: PreparedEcg) -> None:
        if prepared.question is None:
            self._finish(work, self._stages.conclude(prepared, None))
            return
        work.prepared = prepared
        # The whole record is known now, and may be more urgent than its first glance was.
        work.priority = max(work.priority, prepared.priority, key=HEAD_START_S.__getitem__)
        self._prepared.add(work.rank, work)

    def _ask(self, work: TrackedRecord) -> bool:
        """Put a case's question to the engine; False if the engine has no room."""
        assert work.prepared is not None and work.prepared.question is not None
        self._tags += 1
        if not self._stages.engine.put(self._tags, work.prepared.question, work.rank):
            return False
        self._asked[self._tags] = work
        return True

    def _take_answers(self) -> None:
        while (answered := self._stages.engine.take()) is not None:
            tag, answer = answered
            work = self._asked.pop(tag)
            assert work.prepared is not None
            self._finish(work, self._stages.conclude(work.prepared, answer))

    def _finish(self, work: TrackedRecord, result: Finding | Rejection) -> None:
        work.result, work.finished_at, work.prepared = result, time.monotonic(), None
        self._finished.append(work)
