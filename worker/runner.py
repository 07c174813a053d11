"""The consume-publish loop: keeps polling whatever else happens, and commits results and positions together.

One thread runs the loop. Preparation is done by a pool of processes, the model by the engine's thread, transactions by
a thread beside this one, so that nothing here waits for a GPU or, without bound, for a broker. What is in work is
bounded in number and bytes; when that is full, partitions are paused while polling goes on. If any stage dies, its
exception comes out of `run` and ends the process.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from adapters.log import Member, Message, PublishFailed, Record, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker import metrics
from worker.case import Case
from worker.engine.answer import Answer, Question
from worker.envelope import seal
from worker.health import Progress
from worker.ledger import Ledger, PartitionLedger
from worker.logs import get_logger
from worker.pace import JOIN_S, POLL_BUSY_S, POLL_IDLE_S

log = get_logger()


class Preparation(Protocol):
    """Turns records into cases, elsewhere."""

    def submit(self, record: Record) -> Future[Case | Rejection]:
        """Begin to prepare a record."""
        ...


class Asking(Protocol):
    """The engine's queue, as the loop sees it."""

    def put(self, tag: Hashable, question: Question) -> bool:
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
    conclude: Callable[[Case, Answer | None], Finding]
    findings_topic: str
    rejections_topic: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the loop."""

    in_flight: int = 64
    in_flight_bytes: int = 128 * 1024 * 1024
    publish_records: int = 16
    publish_wait_s: float = 0.2
    drain_s: float = 60.0


@dataclass(slots=True, eq=False)
class _Work:
    """A record in work, and under which ledger it was taken."""

    record: Record
    ledger: PartitionLedger
    case: Case | None = None
    result: Finding | Rejection | None = None
    finished_at: float = 0.0


class Runner:
    """Consumes, lets the stages work, publishes. One instance a process; `run` once."""

    def __init__(self, member: Member, stages: Stages, limits: Limits, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._member = member
        self._stages = stages
        self._limits = limits
        self._clock = time.monotonic
        self._ledger = Ledger()
        self._paused: frozenset[TopicPartition] = frozenset()
        self._preparing: deque[tuple[_Work, Future[Case | Rejection]]] = deque()
        self._waiting: deque[_Work] = deque()  # prepared, no room in the engine's queue yet
        self._asked: dict[Hashable, _Work] = {}
        self._finished: list[_Work] = []
        self._publishing: tuple[list[_Work], Future[float]] | None = None
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._tags = 0

    def run(self, stop: Event, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is published, or until nothing came for `idle_exit_s`."""
        began = last_busy = self._clock()
        stop_by: float | None = None
        try:
            while True:
                self._poll(draining=stop_by is not None)
                self._advance()
                self._publish_if_due(at_once=stop_by is not None)
                now = self._clock()
                self._report(now, draining=stop_by is not None)
                if self._in_flight():
                    last_busy = now
                if stop.is_set() and stop_by is None:
                    stop_by = now + self._limits.drain_s
                if stop_by is not None and (not self._in_flight() or now >= stop_by):
                    return
                if not self._ledger.assigned and now - began < JOIN_S:
                    last_busy = now
                if idle_exit_s is not None and now - last_busy >= idle_exit_s:
                    return
        finally:
            self._publisher.shutdown(wait=False, cancel_futures=True)

    def _poll(self, *, draining: bool) -> None:
        room = 0 if draining else self._limits.in_flight - self._in_flight()
        self._pause_where_full(full=room <= 0)
        polled = self._member.poll(POLL_BUSY_S if self._in_flight() else POLL_IDLE_S, max(room, 1))
        self._ledger.revoke(polled.revoked)
        self._ledger.assign(polled.assigned)
        if polled.revoked or polled.assigned:
            log.info("assignment changed", assigned=len(polled.assigned), revoked=len(polled.revoked))
            self._paused -= polled.revoked | polled.assigned.keys()
        if polled.revoked and self._publishing is not None and self._publishing[1].cancel():
            # Its transaction had not even begun, and would commit positions of partitions that changed hands.
            self._publishing = None
            self._abandon_everything()
        for record in polled.records:
            ledger = self._ledger.take(record)
            if ledger is not None:
                self._preparing.append((_Work(record, ledger), self._stages.preparation.submit(record)))

    def _report(self, now: float, *, draining: bool) -> None:
        progress = self.progress
        progress.assigned_partitions = len(self._ledger.assigned)
        progress.in_flight = self._in_flight()
        progress.draining = draining
        progress.turned_at = now
        metrics.IN_FLIGHT.set(progress.in_flight)
        metrics.ASSIGNED.set(progress.assigned_partitions)

    def _pause_where_full(self, *, full: bool) -> None:
        """Pause everything when too much is in work, else only the partitions with too many open records."""
        full = full or self._in_flight_bytes() >= self._limits.in_flight_bytes
        wanted = self._ledger.assigned if full else self._ledger.crowded()
        if to_pause := wanted - self._paused:
            self._member.pause(to_pause)
        if to_resume := self._paused - wanted:
            self._member.resume(to_resume)
        self._paused = wanted

    def _advance(self) -> None:
        """Move whatever is ready one stage further."""
        still_preparing: deque[tuple[_Work, Future[Case | Rejection]]] = deque()
        for work, future in self._preparing:
            if not future.done():
                still_preparing.append((work, future))
            elif isinstance(prepared := future.result(), Rejection):
                self._finish(work, prepared)
            else:
                work.case = prepared
                self._waiting.append(work)
        self._preparing = still_preparing

        while self._waiting and self._ask(self._waiting[0]):
            self._waiting.popleft()

        while (answered := self._stages.engine.take()) is not None:
            tag, answer = answered
            work = self._asked.pop(tag)
            assert work.case is not None
            self._finish(work, self._stages.conclude(work.case, answer))

    def _ask(self, work: _Work) -> bool:
        """Put a case's question to the engine, or conclude without; False if the engine has no room."""
        assert work.case is not None
        question = work.case.question
        if question is None:
            self._finish(work, self._stages.conclude(work.case, None))
            return True
        self._tags += 1
        if not self._stages.engine.put(self._tags, question):
            return False
        self._asked[self._tags] = work
        return True

    def _finish(self, work: _Work, result: Finding | Rejection) -> None:
        work.result, work.finished_at, work.case = result, self._clock(), None
        self._finished.append(work)

    def _publish_if_due(self, *, at_once: bool) -> None:
        self._end_publish()
        self._drop_void()
        if self._publishing or not self._finished:
            return
        age_s = self._clock() - min(work.finished_at for work in self._finished)
        due = len(self._finished) >= self._limits.publish_records or age_s >= self._limits.publish_wait_s
        if not (due or at_once):
            return
        batch, self._finished = self._finished, []
        for work in batch:
            work.ledger.finish(work.record.offset)
        positions = self._ledger.positions({work.record.topic_partition for work in batch})
        messages = [self._seal(work) for work in batch]

        def publish() -> float:
            began = time.monotonic()
            self._member.publish(messages, positions)
            return time.monotonic() - began

        self._publishing = batch, self._publisher.submit(publish)

    def _end_publish(self) -> None:
        """Take note of a transaction that ended; after a failed one begin again from the committed positions."""
        if self._publishing is None or not self._publishing[1].done():
            return
        batch, future = self._publishing
        self._publishing = None
        try:
            duration_s = future.result()
        except PublishFailed:
            metrics.TRANSACTIONS.labels(outcome="failed").inc()
            log.warning("transaction failed, rewinding", count=len(batch))
            self._abandon_everything()
            return
        metrics.TRANSACTIONS.labels(outcome="committed").inc()
        metrics.COMMIT_SECONDS.observe(duration_s)
        self.progress.committed += len(batch)
        _count(batch)
        log.info("committed", count=len(batch), commit_ms=round(duration_s * 1000, 1), in_flight=self._in_flight())

    def _abandon_everything(self) -> None:
        """Void all work: the committed positions say what has to be done again."""
        self._ledger.revoke(self._ledger.assigned)
        self._paused = frozenset()
        self._member.rewind()

    def _drop_void(self) -> None:
        """Forget results whose partition was taken away since their record was read."""
        kept = [work for work in self._finished if self._ledger.holds(work.record.topic_partition, work.ledger)]
        if dropped := len(self._finished) - len(kept):
            metrics.VOID_RESULTS.inc(dropped)
            log.info("results void after a change of assignment", count=dropped)
        self._finished = kept

    def _seal(self, work: _Work) -> Message:
        assert work.result is not None
        is_finding = isinstance(work.result, Finding)
        topic = self._stages.findings_topic if is_finding else self._stages.rejections_topic
        return seal(work.result, work.record, topic)

    def _works(self) -> list[_Work]:
        publishing = self._publishing[0] if self._publishing else []
        preparing = [work for work, _ in self._preparing]
        return [*preparing, *self._waiting, *self._asked.values(), *self._finished, *publishing]

    def _in_flight(self) -> int:
        publishing = len(self._publishing[0]) if self._publishing else 0
        return len(self._preparing) + len(self._waiting) + len(self._asked) + len(self._finished) + publishing

    def _in_flight_bytes(self) -> int:
        return sum(len(work.record.value) for work in self._works())


def _count(batch: Sequence[_Work]) -> None:
    now_ms = time.time() * 1000
    for work in batch:
        if isinstance(work.result, Finding):
            metrics.FINDINGS.labels(verdict=work.result.assessment.verdict).inc()
            metrics.FLAGS.inc(work.result.flag.raised)
        elif work.result is not None:
            metrics.REJECTIONS.labels(reason=work.result.reason).inc()
        if work.record.timestamp_ms is not None:
            metrics.AGE_SECONDS.observe(max(0.0, now_ms - work.record.timestamp_ms) / 1000)
