"""Brings flagged findings to a receiver, in order and one at a time, and moves on only when each is settled.

A finding is settled when the receiver took it over, or when a delivery rejection says why it did not. The rejection and
the group's position commit together, after that and never before: a crash in between delivers the finding again, with
the same id. It is a `Work` of a session, so that polling goes on while a receiver keeps it waiting.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from adapters.deadline import run_in_thread
from adapters.log import Message, Position, Record, TopicPartition
from schemas.delivery import DeliveryReason, DeliveryRejection, Undelivered
from schemas.finding import Finding, RecordRef
from worker.delivery.lifetime import Handlings, Lifetimes
from worker.history.interval import Coordinates
from worker.history.results import finding_in
from worker.operations import metrics
from worker.operations.health import LoopProgress
from worker.operations.logs import get_logger
from worker.provenance import VERSION
from worker.stream.envelope import cloud_event
from worker.stream.session import Batch, Lease, Session
from worker.stream.stop import Stop

log = get_logger()

# Findings read ahead while one is being delivered: a few megabytes.
_MAX_WAITING: Final = 200


class Receiver(Protocol):
    """Where findings go."""

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        """Return once the receiver has taken the finding over. Raises Undelivered, in bounded time.

        `late_h` is None for an alert; for a review it is the age of the ECG in whole hours.
        """
        ...


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """A record of the findings topic as it was read, and under which lease. `finding` is None if it holds none."""

    record: Record
    lease: Lease
    finding: Finding | None

    @property
    def coordinates(self) -> Coordinates:
        """Where the record lies."""
        return Coordinates(self.record.topic_partition, self.record.offset)

    @property
    def alert(self) -> Finding | None:
        """The finding, if it is to be delivered."""
        return self.finding if self.finding is not None and self.finding.flag.raised else None


class Deliverer:
    """Delivers the flagged ones of the findings that a session reads. One instance a session."""

    def __init__(
        self,
        session: Session,
        receiver: Receiver,
        group: str,
        rejections_topic: str,
        lifetimes: Lifetimes = Lifetimes(),  # noqa: B008 - a frozen value
        *,
        wall_clock: Callable[[], float] = time.time,
        in_background: Callable[[str, Callable[[], Undelivered | None]], Future[Undelivered | None]] = run_in_thread,
    ) -> None:
        """`wall_clock` tells the time of day in seconds since 1970."""
        self._session = session
        self._receiver = receiver
        self._group = group
        self._rejections_topic = rejections_topic
        self._handlings = Handlings(lifetimes, wall_clock)
        self._in_background = in_background
        self._waiting: deque[PendingAlert] = deque()
        # What became of a record whose position is not committed yet: after a failed transaction it is read again, but
        # must not be sent again.
        self._settled: dict[Coordinates, DeliveryRejection | None] = {}
        self._delivering: tuple[list[PendingAlert], Future[Undelivered | None]] | None = None
        self._ready: list[PendingAlert] = []
        self._handed_over: list[PendingAlert] = []

    def run(self, stop: Stop, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is settled, or until nothing came for `idle_exit_s`.

        A delivery that takes longer than the stop's time is left alone: its position stays uncommitted.
        """
        self._session.run(self, stop, idle_exit_s)

    @property
    def held(self) -> int:
        """Findings read and not settled, as far as they are not being committed."""
        delivering = len(self._delivering[0]) if self._delivering else 0
        return len(self._waiting) + delivering + len(self._ready)

    @property
    def results(self) -> int:
        """Settled findings that wait for a transaction."""
        return len(self._ready)

    @property
    def busy(self) -> bool:
        """Whether a delivery is under way."""
        return self._delivering is not None or bool(self._ready)

    @property
    def preparing_since(self) -> None:
        """A delivery has bounds of its own, which may be long: it never counts as stalled."""
        return None

    def room(self) -> int:
        """What may be read ahead still."""
        return _MAX_WAITING - len(self._waiting)

    def full(self) -> Collection[TopicPartition]:
        """All partitions share one queue."""
        return ()

    def assigned(self, leases: Collection[Lease], lost: Collection[TopicPartition]) -> None:
        """What was settled in a partition that others have now is theirs to find out."""
        lost = frozenset(lost)
        self._settled = {at: outcome for at, outcome in self._settled.items() if at.partition not in lost}
        self._handlings.forget_partitions(lost)

    def drop_stale(self) -> None:
        """Findings that are read again, here or elsewhere."""
        self._waiting = deque(pending for pending in self._waiting if self._session.still_ours(pending.lease))

    def take(self, record: Record, lease: Lease) -> None:
        """Put a finding in the queue."""
        self._waiting.append(PendingAlert(record, lease, finding_in(record.value)))

    def advance(self, *, may_begin: bool) -> None:
        """Take note of a delivery that ended, and begin the next: there is one thing at a time."""
        self._end_delivery()
        if self.busy or self._session.publishing or not self._waiting or not may_begin:
            return
        batch = self._next_alert()
        finding = batch[-1].alert
        if finding is None or batch[-1].coordinates in self._settled:
            self._ready = batch
            return
        at = batch[-1].coordinates
        chosen = self._handlings.decide(at, finding)
        if chosen.kind == "expired":
            self._not_delivered(batch[-1], Undelivered(DeliveryReason.ALERT_EXPIRED, 0))
            self._ready = batch
            return
        self._handlings.sent(at)  # the receiver makes all of its tries with these words
        self._delivering = batch, self._in_background("deliver", lambda: self._deliver(finding, chosen.late_h))

    def next_batch(self, *, at_once: bool) -> Batch | None:
        """What was settled since the last one."""
        batch, self._ready = [pending for pending in self._ready if self._session.still_ours(pending.lease)], []
        if not batch:
            return None
        for pending in batch:
            if pending.finding is None:
                unreadable = Undelivered(DeliveryReason.FINDING_UNREADABLE, 0)
                self._settled[pending.coordinates] = self._reject(pending, unreadable)
        # In order of reading, so that of several offsets of one partition the last counts.
        positions = {pending.record.topic_partition: Position(pending.record.offset + 1) for pending in batch}
        rejected = [(pending, self._settled.get(pending.coordinates)) for pending in batch]
        messages = [self._message(pending, rejection) for pending, rejection in rejected if rejection]
        self._handed_over = batch
        return Batch(len(batch), messages, positions)

    def committed(self) -> None:
        """Count what was settled, and remember it no more."""
        batch, self._handed_over = self._handed_over, []
        for pending in batch:
            if pending.coordinates in self._settled:
                rejection = self._settled.pop(pending.coordinates)
                delivered = self._handlings.settled(pending.coordinates)
                metrics.DELIVERIES.labels(outcome=delivered if rejection is None else rejection.reason).inc()

    def not_committed(self) -> None:
        """Its records are read again; what became of them stays remembered."""
        self._handed_over = []

    def at_rest(self, *, drain_queue: bool) -> bool:
        """No delivery is under way."""
        return not self.busy and not (drain_queue and self._waiting)

    def report(self, progress: LoopProgress) -> None:
        """Everything in hand counts as in flight."""
        progress.in_flight = self.held + self._session.publishing

    def _next_alert(self) -> list[PendingAlert]:
        """Everything up to the next flagged finding: what needs no delivery is passed by with it."""
        batch = [self._waiting.popleft()]
        while self._waiting and batch[-1].alert is None:
            batch.append(self._waiting.popleft())
        return batch

    def _deliver(self, finding: Finding, late_h: int | None) -> Undelivered | None:
        try:
            self._receiver.deliver(finding, late_h)
        except Undelivered as failure:
            return failure
        return None

    def _end_delivery(self) -> None:
        if self._delivering is None or not self._delivering[1].done():
            return
        batch, future = self._delivering
        self._delivering = None
        failure, last = future.result(), batch[-1]
        if failure is None:
            if last.record.topic_partition in self._session.leases:
                self._settled[last.coordinates] = None
            log.info("delivered", partition=last.record.partition, offset=last.record.offset)
        else:
            self._not_delivered(last, failure)
        self._ready = batch

    def _not_delivered(self, pending: PendingAlert, failure: Undelivered) -> None:
        if pending.record.topic_partition in self._session.leases:
            self._settled[pending.coordinates] = self._reject(pending, failure)
        where = {"partition": pending.record.partition, "offset": pending.record.offset}
        log.error("not delivered", reason=failure.reason, attempt=failure.attempts, **where)

    def _reject(self, pending: PendingAlert, failure: Undelivered) -> DeliveryRejection:
        record = pending.record
        return DeliveryRejection(
            reason=failure.reason,
            finding_id=pending.finding.finding_id if pending.finding else None,
            finding=RecordRef(topic=record.topic, partition=record.partition, offset=record.offset),
            attempts=failure.attempts,
            ack_code=failure.ack_code,
            error_code=failure.error_code,
            group=self._group,
            worker_version=VERSION,
        )

    def _message(self, pending: PendingAlert, rejection: DeliveryRejection) -> Message:
        """The rejection with the finding's own key."""
        record = pending.record
        event = f"{self._group}/{record.topic}/{record.partition}/{record.offset}"
        event_id = hashlib.sha256(event.encode()).hexdigest()[:32]
        headers = cloud_event(record, event_id, "ecg-delivery-rejection.v1")
        return Message(self._rejections_topic, record.key, rejection.to_json(), headers)
