"""Brings flagged findings to a receiver, in order and one at a time, and moves on only when each is settled.

A finding is settled when the receiver took it over, or when a delivery rejection says why it did not. The rejection and
the group's position commit together, after that and never before: a crash in between delivers the finding again, with
the same id. One thread polls all the while; deliveries and transactions run beside it.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event
from typing import Final, Protocol

from pydantic import ValidationError

from adapters.deadline import run_in_thread
from adapters.log import Member, Message, Polled, Position, PublishFailed, Record, TopicPartition
from schemas.delivery import DeliveryReason, DeliveryRejection, Undelivered
from schemas.finding import Finding, RecordRef
from worker.operations import metrics
from worker.operations.health import Progress
from worker.operations.logs import get_logger
from worker.pace import JOIN_S, POLL_BUSY_S, POLL_IDLE_S
from worker.provenance import VERSION
from worker.stream.envelope import cloud_event

log = get_logger()

# Findings read ahead while one is being delivered: a few megabytes.
_MAX_WAITING: Final = 200


class Receiver(Protocol):
    """Where findings go."""

    def deliver(self, finding: Finding) -> None:
        """Return once the receiver has taken the finding over. Raises Undelivered, in bounded time."""
        ...


@dataclass(frozen=True, slots=True)
class Read:
    """A record as it was read, and the assignment under which that was."""

    record: Record
    assignment: object
    finding: Finding | None  # None if the record is none

    @property
    def place(self) -> tuple[TopicPartition, int]:
        """Where the record lies."""
        return self.record.topic_partition, self.record.offset


class Deliverer:
    """Consumes findings and delivers the flagged ones. One instance a process; `run` once."""

    def __init__(
        self,
        member: Member,
        receiver: Receiver,
        group: str,
        rejections_topic: str,
        drain_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._member = member
        self._receiver = receiver
        self._group = group
        self._rejections_topic = rejections_topic
        self._drain_s = drain_s
        self._clock = clock
        self._assignments: dict[TopicPartition, object] = {}
        self._paused: frozenset[TopicPartition] = frozenset()
        self._waiting: deque[Read] = deque()
        # What became of a record whose position is not committed yet: after a failed transaction it is read again, but
        # must not be sent again.
        self._settled: dict[tuple[TopicPartition, int], DeliveryRejection | None] = {}
        self._delivering: tuple[list[Read], Future[Undelivered | None]] | None = None
        self._publishing: tuple[list[Read], Future[None]] | None = None
        self.progress = Progress()

    def run(self, stop: Event, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is settled, or until nothing came for `idle_exit_s`.

        A delivery that takes longer than `drain_s` after `stop` is left alone: its position stays uncommitted.
        """
        began = last_busy = self._clock()
        stop_by: float | None = None
        while True:
            if stop.is_set() and stop_by is None:
                stop_by = self._clock() + self._drain_s
            came = self._poll()
            self._advance(may_begin=stop_by is None)
            now = self._clock()
            self._report(draining=stop_by is not None)
            if stop_by is not None and (not self._in_hand() or now >= stop_by):
                return
            if came or self._in_hand() or self._waiting or (not self._assignments and now - began < JOIN_S):
                last_busy = now
            if idle_exit_s is not None and now - last_busy >= idle_exit_s:
                return

    def _report(self, *, draining: bool) -> None:
        self.progress.assigned_partitions = len(self._assignments)
        self.progress.in_flight = len(self._waiting) + self._in_hand()
        self.progress.draining = draining
        self.progress.turned_at = time.monotonic()

    def _in_hand(self) -> bool:
        return self._delivering is not None or self._publishing is not None

    def _poll(self) -> bool:
        """Take note of what the log has for us; False if that was nothing."""
        room = _MAX_WAITING - len(self._waiting)
        self._pause(frozenset(self._assignments) if room <= 0 else frozenset())
        polled = self._member.poll(POLL_BUSY_S if self._in_hand() else POLL_IDLE_S, max(room, 1))
        if polled.revoked or polled.assigned:
            self._reassign(polled.revoked, frozenset(polled.assigned))
        for record in polled.records:
            self._waiting.append(Read(record, self._assignments[record.topic_partition], _parse(record)))
        return polled != Polled()

    def _pause(self, wanted: frozenset[TopicPartition]) -> None:
        if to_pause := wanted - self._paused:
            self._member.pause(to_pause)
        if to_resume := self._paused - wanted:
            self._member.resume(to_resume)
        self._paused = wanted

    def _reassign(self, revoked: frozenset[TopicPartition], assigned: frozenset[TopicPartition]) -> None:
        log.info("assignment changed", assigned=len(assigned), revoked=len(revoked))
        for partition in revoked:
            del self._assignments[partition]
        self._assignments |= {partition: object() for partition in assigned}
        self._paused -= revoked | assigned
        self._waiting = deque(read for read in self._waiting if self._is_ours(read))
        self._settled = {place: what for place, what in self._settled.items() if place[0] not in revoked - assigned}

    def _is_ours(self, read: Read) -> bool:
        return self._assignments.get(read.record.topic_partition) is read.assignment

    def _advance(self, *, may_begin: bool) -> None:
        """Take note of what ended beside this thread, and begin what comes next: there is one thing at a time."""
        self._end_delivery()
        self._end_publish()
        if self._in_hand() or not self._waiting or not may_begin:
            return
        batch = self._next_batch()
        finding = _flagged(batch[-1])
        if finding is None or batch[-1].place in self._settled:
            self._publish(batch)
        else:
            self._delivering = batch, run_in_thread("deliver", lambda: self._deliver(finding))

    def _next_batch(self) -> list[Read]:
        """Everything up to the next flagged finding: what needs no delivery is passed by with it."""
        batch = [self._waiting.popleft()]
        while self._waiting and _flagged(batch[-1]) is None:
            batch.append(self._waiting.popleft())
        return batch

    def _deliver(self, finding: Finding) -> Undelivered | None:
        try:
            self._receiver.deliver(finding)
        except Undelivered as failure:
            return failure
        return None

    def _end_delivery(self) -> None:
        if self._delivering is None or not self._delivering[1].done():
            return
        batch, future = self._delivering
        self._delivering = None
        failure = future.result()
        if batch[-1].record.topic_partition in self._assignments:
            self._settled[batch[-1].place] = None if failure is None else self._reject(batch[-1], failure)
        where = {"partition": batch[-1].record.partition, "offset": batch[-1].record.offset}
        if failure is None:
            log.info("delivered", **where)
        else:
            log.error("not delivered", reason=failure.reason, attempt=failure.attempts, **where)
        self._publish(batch)

    def _publish(self, batch: list[Read]) -> None:
        ours = [read for read in batch if self._is_ours(read)]
        if not ours:  # whoever has the partition now will deliver it again
            return
        for read in ours:
            if read.finding is None:
                self._settled[read.place] = self._reject(read, Undelivered(DeliveryReason.FINDING_UNREADABLE, 0))
        # In order of reading, so that of several offsets of one partition the last counts.
        positions = {read.record.topic_partition: Position(read.record.offset + 1) for read in ours}
        messages = [self._seal(read, rejection) for read in ours if (rejection := self._settled.get(read.place))]
        self._publishing = ours, run_in_thread("publish", lambda: self._member.publish(messages, positions))

    def _end_publish(self) -> None:
        """Take note of a transaction that ended; after a failed one begin again from the committed positions."""
        if self._publishing is None or not self._publishing[1].done():
            return
        batch, future = self._publishing
        self._publishing = None
        try:
            future.result()
        except PublishFailed:
            log.warning("transaction failed, rewinding", count=len(batch))
            self._waiting.clear()
            self._member.rewind()
            return
        self.progress.committed += len(batch)
        for read in batch:
            if read.place in self._settled:
                self._count(self._settled.pop(read.place))

    def _count(self, rejection: DeliveryRejection | None) -> None:
        metrics.DELIVERIES.labels(outcome="delivered" if rejection is None else rejection.reason).inc()

    def _reject(self, read: Read, failure: Undelivered) -> DeliveryRejection:
        record = read.record
        return DeliveryRejection(
            reason=failure.reason,
            finding_id=read.finding.finding_id if read.finding else None,
            finding=RecordRef(topic=record.topic, partition=record.partition, offset=record.offset),
            attempts=failure.attempts,
            ack_code=failure.ack_code,
            error_code=failure.error_code,
            group=self._group,
            worker_version=VERSION,
        )

    def _seal(self, read: Read, rejection: DeliveryRejection) -> Message:
        """The rejection with the finding's own key."""
        record = read.record
        event = f"{self._group}/{record.topic}/{record.partition}/{record.offset}"
        event_id = hashlib.sha256(event.encode()).hexdigest()[:32]
        headers = cloud_event(record, event_id, "ecg-delivery-rejection.v1")
        return Message(self._rejections_topic, record.key, rejection.to_json(), headers)


def _parse(record: Record) -> Finding | None:
    try:
        return Finding.model_validate_json(record.value)
    except ValidationError:  # its text would repeat the record
        return None


def _flagged(read: Read) -> Finding | None:
    return read.finding if read.finding is not None and read.finding.flag.raised else None
