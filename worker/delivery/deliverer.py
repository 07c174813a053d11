"""Brings flagged findings to a receiver, in order and one at a time, and moves on only when each is settled.

A finding is settled when the receiver took it over, or when a delivery rejection says why it did not. The rejection and
the group's position commit together, after that and never before: a crash in between delivers the finding again, with
the same id. It is a `Work` of a session, so that polling goes on while a receiver keeps it waiting.

A receiver that is away settles nothing: it is waited for. `worker/delivery/patience.py` tells that from a message that
the receiver cannot take.
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Final

from adapters.deadline import run_in_thread
from adapters.log import Position, Record, TopicPartition
from schemas.delivery import DeliveryReason, DeliveryRejection, Refused, Unanswered, Unsendable
from worker.delivery.lifetime import Handlings, Lifetimes
from worker.delivery.patience import Patience
from worker.delivery.pending import Pending, RejectionWriter
from worker.delivery.receiver import Outcome, Receiver, offer
from worker.delivery.retry import RetryPolicy
from worker.history.interval import Coordinates
from worker.history.results import finding_in, newer_finding_in
from worker.operations import metrics
from worker.operations.health import LoopProgress
from worker.operations.logs import get_logger
from worker.stream.session import Batch, Lease, Session
from worker.stream.stop import Stop

log = get_logger()

# Alerts and what is to be rejected, read ahead while one is being delivered, with what lies between: a few megabytes.
_MAX_WAITING: Final = 200


class Deliverer:
    """Delivers the flagged ones of the findings that a session reads. One instance a session."""

    def __init__(
        self,
        session: Session,
        receiver: Receiver,
        group: str,
        rejections_topic: str,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        lifetimes: Lifetimes = Lifetimes(),  # noqa: B008 - a frozen value
        *,
        wall_clock: Callable[[], float] = time.time,
        in_background: Callable[[str, Callable[[], Outcome]], Future[Outcome]] = run_in_thread,
    ) -> None:
        """`wall_clock` tells the time of day in seconds, as the log's timestamps do."""
        self._session = session
        self._receiver = receiver
        self._writer = RejectionWriter(group, rejections_topic)
        self._patience = Patience(retry, session.clock)
        self._handlings = Handlings(lifetimes, wall_clock)
        self._wall_clock = wall_clock
        self._in_background = in_background
        self._waiting: deque[Pending] = deque()
        # What became of a record whose position is not committed yet: after a failed transaction it is read again, but
        # must not be sent again.
        self._settled: dict[Coordinates, DeliveryRejection | None] = {}
        # A finding of a newer version, and after it nothing of its partition: only another program can say what it is.
        self._unknown: dict[TopicPartition, tuple[Pending, str]] = {}
        self._trying: tuple[Pending, Future[Outcome]] | None = None
        self._of_another = False  # the try is of a record of a topic that was made again since
        self._ready: list[Pending] = []
        self._handed_over: list[Pending] = []

    def run(self, stop: Stop, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is settled, or until nothing came for `idle_exit_s`.

        A try that takes longer than the stop's time is left alone: its position stays uncommitted.
        """
        self._session.run(self, stop, idle_exit_s)

    @property
    def held(self) -> int:
        """Findings read and not settled, as far as they are not being committed."""
        return sum(pending.count for pending in (*self._waiting, *self._ready)) + len(self._unknown)

    @property
    def results(self) -> int:
        """Settled findings that wait for a transaction."""
        return len(self._ready)

    @property
    def busy(self) -> bool:
        """Whether a try is under way."""
        return self._trying is not None or bool(self._ready)

    @property
    def preparing_since(self) -> None:
        """A receiver may be away for as long as it is: that never counts as stalled."""
        return None

    def room(self) -> int:
        """What may be read ahead still."""
        return _MAX_WAITING - len(self._waiting)

    def full(self) -> Collection[TopicPartition]:
        """All partitions share one queue; those that a newer version has to read are read no further."""
        return tuple(self._unknown)

    def assigned(self, leases: Collection[Lease], lost: Collection[TopicPartition]) -> None:
        """What was settled in a partition that others have now is theirs to find out.

        In one that was made again other findings lie at the same coordinates: what came of the old ones says nothing of
        them, nor will what comes of a try that is under way.
        """
        lost = frozenset(lost)
        if self._trying is not None and self._trying[0].partition in lost.intersection(self._session.leases):
            self._of_another = True
        self._settled = {at: outcome for at, outcome in self._settled.items() if at.partition not in lost}
        self._patience.forget_partitions(lost)
        self._handlings.forget_partitions(lost)

    def drop_stale(self) -> None:
        """Findings that are read again, here or elsewhere."""
        self._waiting = deque(pending for pending in self._waiting if self._session.still_ours(pending.lease))
        self._unknown = {
            partition: unknown
            for partition, unknown in self._unknown.items()
            if self._session.still_ours(unknown[0].lease)
        }

    def take(self, record: Record, lease: Lease) -> None:
        """Put a finding in the queue."""
        if lease.partition in self._unknown:  # it came with the same poll
            return
        pending = Pending(record, lease, finding_in(record.value), record.offset + 1)
        newer = newer_finding_in(record.value) if pending.finding is None else None
        if newer is not None:
            self._unknown[lease.partition] = pending, newer
            log.error("a finding of a newer version waits, upgrade deliver", version=newer, **_where(pending))
            return
        if pending.passed_by and self._joins_the_last(pending):
            return
        self._waiting.append(pending)
        if pending.finding is None:
            self._reject(pending, DeliveryReason.FINDING_UNREADABLE)

    def lose(self, offsets: range, lease: Lease) -> None:
        """The log no longer holds what was to be read next: nobody can say whether it was an alert."""
        if lease.partition in self._unknown or not offsets:
            return
        nothing = Record(lease.partition.topic, lease.partition.partition, offsets.start, None, None, b"")
        pending = Pending(nothing, lease, None, offsets.stop)
        self._waiting.append(pending)
        self._reject(pending, DeliveryReason.FINDINGS_GONE)

    def _joins_the_last(self, pending: Pending) -> bool:
        """Let the last one of its partition stand for this one too, if neither needs a delivery.

        They take no room then: behind an alert that is never acknowledged the next one is read, however far it lies.
        """
        for place in reversed(range(len(self._waiting))):
            last = self._waiting[place]
            if last.partition == pending.partition:
                joins = last.passed_by and last.lease is pending.lease
                if joins:
                    self._waiting[place] = last.with_next(pending)
                return joins
        return False

    def advance(self, *, may_begin: bool) -> None:
        """Take note of a try that ended, and begin the next: there is one thing at a time."""
        self._end_try()
        self._collect()
        if may_begin and not self.busy and not self._session.publishing:
            self._begin_try()

    def next_batch(self, *, at_once: bool) -> Batch | None:
        """What was settled since the last one."""
        batch, self._ready = [pending for pending in self._ready if self._session.still_ours(pending.lease)], []
        if not batch:
            return None
        # In order of reading, so that of several offsets of one partition the last counts.
        positions = {pending.partition: Position(pending.next_offset) for pending in batch}
        rejected = [(pending, self._settled.get(pending.coordinates)) for pending in batch]
        messages = [self._writer.message(pending, rejection) for pending, rejection in rejected if rejection]
        self._handed_over = batch
        return Batch(sum(pending.count for pending in batch), messages, positions)

    def committed(self) -> None:
        """Count what was settled, and remember it no more."""
        batch, self._handed_over = self._handed_over, []
        for pending in batch:
            self._patience.forget(pending.coordinates)
            if pending.coordinates in self._settled:
                rejection = self._settled.pop(pending.coordinates)
                delivered = self._handlings.settled(pending.coordinates)
                metrics.DELIVERIES.labels(outcome=delivered if rejection is None else rejection.reason).inc()

    def not_committed(self) -> None:
        """Its records are read again; what became of them stays remembered."""
        self._handed_over = []

    def at_rest(self, *, drain_queue: bool) -> bool:
        """No try is under way."""
        return not self.busy and not (drain_queue and self._waiting)

    def report(self, progress: LoopProgress) -> None:
        """Everything in hand counts as in flight."""
        progress.in_flight = self.held + self._session.publishing
        contact, oldest_s = self._patience.contact, self._oldest_s()
        metrics.RECEIVER_AWAY.set(contact.away_s)
        metrics.OLDEST_ALERT.set(oldest_s)
        troubles = [f"{contact.trouble}; oldest alert {oldest_s:.0f} s"] if contact.away else []
        if self._unknown:
            newest = max((newer for _, newer in self._unknown.values()), key=lambda schema: (len(schema), schema))
            troubles.append(f"a finding of a newer version ({newest}) waits; upgrade deliver")
        progress.trouble = "; ".join(troubles) or None

    def _open_alerts(self) -> list[Pending]:
        return [pending for pending in self._waiting if pending.alert and pending.coordinates not in self._settled]

    def _oldest_s(self) -> float:
        """The age of the oldest finding that waits, of those that were read; 0 if none does."""
        waiting = [*self._open_alerts(), *(pending for pending, _ in self._unknown.values())]
        written_ms = [at for pending in waiting if (at := pending.record.timestamp_ms) is not None and at >= 0]
        return max(0.0, self._wall_clock() - min(written_ms) / 1000) if written_ms else 0.0

    def _begin_try(self) -> None:
        alerts = {pending.coordinates: pending for pending in self._open_alerts()}
        chosen = self._patience.choose(list(alerts))
        finding = alerts[chosen].alert if chosen is not None else None
        if chosen is None or finding is None:
            return
        handling = self._handlings.decide(chosen, finding)
        if handling.kind == "expired":
            self._reject(alerts[chosen], DeliveryReason.ALERT_EXPIRED)
            return
        call = functools.partial(offer, self._receiver, finding, handling.late_h)
        self._trying = alerts[chosen], self._in_background("deliver", call)

    def _end_try(self) -> None:
        if self._trying is None or not self._trying[1].done():
            return
        pending, future = self._trying
        self._trying = None
        if self._of_another:
            self._of_another = False
            return
        outcome, at, unacknowledged = future.result(), pending.coordinates, None
        if isinstance(outcome, Refused) or (isinstance(outcome, Unanswered) and outcome.sent):
            self._handlings.sent(at)
        if outcome is None:
            unacknowledged = self._patience.taken_over(at)
            self._settle(pending, None)
            log.info("delivered", **_where(pending))
        elif isinstance(outcome, Unanswered):
            if reason := self._patience.unanswered(at, outcome):
                self._reject(pending, reason)
        elif isinstance(outcome, Unsendable):
            log.error("no message can be made of a finding", exc_info=outcome.__cause__, **_where(pending))
            self._reject(pending, DeliveryReason.FINDING_UNSENDABLE)
        else:
            reason, unacknowledged = self._patience.refused(at, outcome)
            if reason:
                self._reject(pending, reason, outcome)
        for other in self._waiting:
            if other.coordinates == unacknowledged:
                self._reject(other, DeliveryReason.RECEIVER_NO_ACK)
        if pending.partition not in self._session.leases:
            self._patience.forget(at)

    def _settle(self, pending: Pending, rejection: DeliveryRejection | None) -> None:
        """What became of it, to be committed; unless its partition is somebody else's by now."""
        if pending.partition in self._session.leases:
            self._settled[pending.coordinates] = rejection

    def _reject(self, pending: Pending, reason: DeliveryReason, answer: Refused | None = None) -> None:
        sends = self._patience.sends(pending.coordinates)
        self._settle(pending, self._writer.rejection(pending, reason, sends, answer))
        count = pending.next_offset - pending.record.offset
        more = {"count": count} if count > 1 else {}
        log.error("not delivered", reason=reason, attempt=sends, **_where(pending), **more)

    def _collect(self) -> None:
        """Move on what is settled, with what needs no delivery, up to the first alert that still waits."""
        if self.busy:
            return
        done: list[Pending] = []
        for pending in self._waiting:
            if pending.alert and pending.coordinates not in self._settled:
                break
            done.append(pending)
        # What needs no delivery is passed by together with the next alert, if one waits behind it.
        if len(done) == len(self._waiting) or any(pending.coordinates in self._settled for pending in done):
            self._ready = done
            for _ in done:
                self._waiting.popleft()


def _where(pending: Pending) -> dict[str, int]:
    return {"partition": pending.record.partition, "offset": pending.record.offset}
