"""The consume-publish loop: keeps polling whatever else happens, and commits results and positions together.

One thread runs the loop. Preparation is done by a pool of processes, the model by the engine's thread, transactions by
a thread beside this one, so that nothing here waits for a GPU or, without bound, for a broker. What is read ahead is
bounded in number and bytes; when that is full, partitions are paused while polling goes on. If any stage dies, its
exception comes out of `run` and ends the process.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from adapters.deadline import beside
from adapters.log import Member, Message, Polled, PublishFailed, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.operations import metrics
from worker.operations.health import Progress
from worker.operations.logs import get_logger
from worker.pace import JOIN_S, POLL_BUSY_S, POLL_IDLE_S
from worker.stream.breaker import Breaker
from worker.stream.envelope import seal
from worker.stream.ledger import Ledger
from worker.stream.stages import Stages, Work, Workshop
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop

log = get_logger()

# What one poll brings at most, so that a turn of the loop stays short.
POLL_RECORDS: Final = 500
# A full worker reads on when it has room for this much of what it may hold, not for every single record.
RESUME_AT: Final = 0.8
# Kept of the time for the ending, so that the group is always left.
LEAVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the loop.

    in_flight            records begun and not finished; a STAT one that comes in waits for about so many
    read_ahead(_bytes)   records read and not committed, among which STAT ones are found; each partition has its share
    publish_records      results that make a transaction due; `publish_wait_s`: the age of the oldest that does
    transaction_records  results in one transaction, so that it is over in time
    rejected_share       how much of the last results may be rejections; 1 for any
    stuck_s              how long a partition, a transaction or a preparation may stand still
    """

    in_flight: int = 64
    read_ahead: int = 2000
    read_ahead_bytes: int = 256 * 1024 * 1024
    publish_records: int = 100
    publish_wait_s: float = 0.2
    transaction_records: int = 500
    rejected_share: float = 0.5
    stuck_s: float = 300.0


class Runner:
    """Consumes, lets the stages work, publishes. One instance a process; `run` once."""

    def __init__(self, member: Member, stages: Stages, limits: Limits, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._member = member
        self._stages = stages
        self._limits = limits
        self._clock = time.monotonic
        self._ledger = Ledger()
        self._workshop = Workshop(stages, limits.in_flight)
        self._breaker = Breaker(limits.rejected_share)
        self._watch = StallDetector(limits.stuck_s)
        self._paused: frozenset[TopicPartition] = frozenset()
        self._finished: list[Work] = []
        self._publishing: tuple[list[Work], Future[float]] | None = None
        self._held_bytes = 0
        self._full = False

    def run(self, stop: Stop, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is published, or until nothing came for `idle_exit_s`.

        What was read and not begun by then is left to whoever has the partition next.
        """
        began = last_busy = self._clock()
        while True:
            stopping = stop.is_set()
            came = self._poll(reading=not stopping)
            self._advance(may_begin=not stopping or stop.finish_line)
            self._publish_if_due(at_once=stopping)
            self._watch_progress()
            now = self._clock()
            self._report(now, draining=stopping)
            if stopping and (self._at_rest(stop) or stop.deadline.remaining_s <= LEAVE_S):
                return
            if came or self._in_hand() or (not self._ledger.assigned and now - began < JOIN_S):
                last_busy = now
            if idle_exit_s is not None and now - last_busy >= idle_exit_s:
                return

    def _at_rest(self, stop: Stop) -> bool:
        """Whether nothing is left that will be finished or published before the end."""
        open_work = len(self._workshop) if stop.finish_line else self._workshop.begun
        return open_work == 0 and self._publishing is None

    def _poll(self, *, reading: bool) -> bool:
        """Take note of what the log has for us; False if that was nothing."""
        room = self._limits.read_ahead - self._in_hand()
        self._pause_where_full(reading=reading, room=room)
        busy = bool(self._workshop.begun or self._finished or self._publishing)
        polled = self._member.poll(POLL_BUSY_S if busy else POLL_IDLE_S, max(min(room, POLL_RECORDS), 1))
        if polled.revoked or polled.assigned:
            self._ledger.revoke(polled.revoked)
            self._ledger.assign(polled.assigned)
            self._paused -= polled.revoked | polled.assigned.keys()
            log.info("assignment changed", assigned=len(polled.assigned), revoked=len(polled.revoked))
        if polled.revoked:
            self._give_up_revoked()
        for record in polled.records:
            ledger = self._ledger.take(record)
            if ledger is not None:
                self._workshop.add(record, ledger)
                self._held_bytes += len(record.value)
        return polled != Polled()

    def _pause_where_full(self, *, reading: bool, room: int) -> None:
        """Pause everything when too much is in hand, else only the partitions that have more than their share of it."""
        limits, assigned = self._limits, self._ledger.assigned
        allowed = RESUME_AT if self._full else 1.0
        self._full = (
            limits.read_ahead - room >= allowed * limits.read_ahead
            or self._held_bytes >= allowed * limits.read_ahead_bytes
        )
        if self._full or not reading:
            wanted = assigned
        else:
            share = limits.read_ahead / max(1, len(assigned))
            ledgers = self._ledger.partitions
            wanted = frozenset(p for p, ledger in ledgers.items() if ledger.full or ledger.open >= share)
        if to_pause := wanted - self._paused:
            self._member.pause(to_pause)
        if to_resume := self._paused - wanted:
            self._member.resume(to_resume)
        self._paused = wanted

    def _give_up_revoked(self) -> None:
        """Whoever has the partitions now reads their records again: what is in hand of them is void."""
        self._release(self._workshop.drop(self._is_void), void=True)
        self._keep_valid(())
        if self._publishing is not None and self._publishing[1].cancel():
            # Its transaction had not even begun, and would commit positions of partitions that changed hands.
            self._release(self._publishing[0], void=True)
            self._publishing = None
            self._abandon_everything()

    def _abandon_everything(self) -> None:
        """Void all work: the committed positions say what has to be done again."""
        self._ledger.revoke(self._ledger.assigned)
        self._paused = frozenset()
        self._member.rewind()
        self._give_up_revoked()

    def _advance(self, *, may_begin: bool) -> None:
        finished = self._workshop.advance(may_begin=may_begin)
        self._keep_valid(finished)

    def _keep_valid(self, finished: Sequence[Work]) -> None:
        """Add to what is to be published, and forget what no longer may be."""
        every = [*self._finished, *finished]
        self._finished = [work for work in every if not self._is_void(work)]
        self._release([work for work in every if self._is_void(work)], void=True)
        for work in finished:
            if not self._is_void(work):
                rejection = work.result if isinstance(work.result, Rejection) else None
                self._breaker.note(rejected=rejection is not None, reason=rejection.reason if rejection else "")

    def _is_void(self, work: Work) -> bool:
        """Whether the partition was taken away since the record was read."""
        return not self._ledger.holds(work.record.topic_partition, work.ledger)

    def _release(self, works: Sequence[Work], *, void: bool = False) -> None:
        """Let go of records that are published or void."""
        self._held_bytes -= sum(len(work.record.value) for work in works)
        if void and works:
            metrics.VOID_RECORDS.inc(len(works))
            log.info("records in hand are void", count=len(works))

    def _publish_if_due(self, *, at_once: bool) -> None:
        self._end_publish()
        if self._publishing is not None or not (self._due() or at_once):
            return
        batch = self._next_batch()
        if not batch:
            return
        positions = self._ledger.positions({work.record.topic_partition for work in batch})
        messages = [self._seal(work) for work in batch]

        def publish() -> float:
            began = time.monotonic()
            self._member.publish(messages, positions)
            return time.monotonic() - began

        self._publishing = batch, beside("publish", publish)

    def _due(self) -> bool:
        """Whether a transaction should begin: enough results, an old one, or one that somebody waits for."""
        if len(self._finished) >= self._limits.publish_records:
            return True
        if any(work.priority == "stat" for work in self._finished):
            return True
        oldest = min((work.finished_at for work in self._finished), default=self._clock())
        return self._clock() - oldest >= self._limits.publish_wait_s

    def _next_batch(self) -> list[Work]:
        """The results of the next transaction, noted as done; those whose turn it is not yet stay."""
        chosen = sorted(self._finished, key=lambda work: work.rank)[: self._limits.transaction_records]
        chosen.sort(key=lambda work: work.record.offset)  # so that positions move as far as they can
        batch = [work for work in chosen if work.ledger.finish(work.record.offset)]
        taken = set(map(id, batch))
        self._finished = [work for work in self._finished if id(work) not in taken]
        return batch

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
            self._release(batch, void=True)
            self._abandon_everything()
            return
        self._release(batch)
        metrics.TRANSACTIONS.labels(outcome="committed").inc()
        metrics.COMMIT_SECONDS.observe(duration_s)
        self.progress.committed += len(batch)
        _count(batch)
        log.info("committed", count=len(batch), commit_ms=round(duration_s * 1000, 1), in_flight=self._in_hand())

    def _watch_progress(self) -> None:
        if not self._watch.due:
            return
        reading = {p: ledger.next for p, ledger in self._ledger.partitions.items() if p not in self._paused}
        self._watch.check(
            reading,
            self._member.behind(),
            committed=self.progress.committed,
            results=len(self._finished) + (len(self._publishing[0]) if self._publishing else 0),
            preparing_since=self._workshop.preparing_since,
        )

    def _report(self, now: float, *, draining: bool) -> None:
        progress = self.progress
        progress.assigned_partitions = len(self._ledger.assigned)
        progress.in_flight = self._workshop.begun
        progress.read_ahead = len(self._workshop) - self._workshop.begun
        progress.draining = draining
        progress.turned_at = now
        metrics.IN_FLIGHT.set(progress.in_flight)
        metrics.READ_AHEAD.set(progress.read_ahead)
        metrics.ASSIGNED.set(progress.assigned_partitions)

    def _seal(self, work: Work) -> Message:
        assert work.result is not None
        is_finding = isinstance(work.result, Finding)
        topic = self._stages.findings_topic if is_finding else self._stages.rejections_topic
        return seal(work.result, work.record, topic)

    def _in_hand(self) -> int:
        publishing = len(self._publishing[0]) if self._publishing else 0
        return len(self._workshop) + len(self._finished) + publishing


def _count(batch: Sequence[Work]) -> None:
    now_ms = time.time() * 1000
    for work in batch:
        if isinstance(work.result, Finding):
            metrics.FINDINGS.labels(verdict=work.result.assessment.verdict).inc()
            metrics.FLAGS.inc(work.result.flag.raised)
        elif work.result is not None:
            metrics.REJECTIONS.labels(reason=work.result.reason).inc()
        if work.record.timestamp_ms is not None:
            age_s = max(0.0, now_ms - work.record.timestamp_ms) / 1000
            metrics.AGE_SECONDS.labels(priority=work.priority).observe(age_s)
