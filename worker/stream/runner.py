"""The worker's own work on a session: records go through the stages, results into transactions, the most urgent first.

Preparation is done by a pool of processes, the model by the engine's thread. What is read ahead is bounded in number
and bytes; when that is full, partitions are paused while polling goes on. If any stage dies, its exception comes out of
`run` and ends the process.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from adapters.log import Position, Record, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.operations import metrics
from worker.operations.health import LoopProgress
from worker.operations.logs import get_logger
from worker.stream.breaker import Breaker
from worker.stream.ledger import PartitionLedger
from worker.stream.limits import Limits
from worker.stream.read_ahead import Held, ReadAhead
from worker.stream.session import Batch, Lease, Session
from worker.stream.stages import Dispatcher, Stages, TrackedRecord
from worker.stream.stop import Stop

log = get_logger()


class Runner:
    """The worker's `Work`. One instance a session."""

    def __init__(
        self,
        session: Session,
        stages: Stages,
        breaker: Breaker,
        limits: Limits,
        topics: Sequence[str],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`topics` are those that are read, in their order of precedence; `wall_clock` gives seconds since 1970."""
        self._session = session
        self._breaker = breaker
        self._limits = limits
        self._wall_clock = wall_clock
        self._dispatcher = Dispatcher(stages, breaker, limits, session.clock)
        self._ledgers: dict[TopicPartition, PartitionLedger] = {}
        self._finished: list[TrackedRecord] = []
        self._handed_over: list[TrackedRecord] = []
        self._held = defaultdict[str, Held](Held)  # by topic
        self._read_ahead = ReadAhead(limits, topics)

    def run(self, stop: Stop, idle_exit_s: float | None = None) -> None:
        """Work until `stop` is set and what is in hand is published, or until nothing came for `idle_exit_s`.

        What was read and not begun by then is left to the partition's next owner.
        """
        self._session.run(self, stop, idle_exit_s)

    @property
    def held(self) -> int:
        """Records in the stages, and results."""
        return len(self._dispatcher) + len(self._finished)

    @property
    def results(self) -> int:
        """Results that wait for a transaction."""
        return len(self._finished)

    @property
    def busy(self) -> bool:
        """Whether a stage has work, or results wait."""
        return bool(self._dispatcher.in_flight or self._finished)

    @property
    def preparing_since(self) -> float | None:
        """Since when the oldest record that is being prepared has been."""
        return self._dispatcher.preparing_since

    def room(self) -> int:
        """What may be read ahead still."""
        self._read_ahead.look(self._held)
        return self._read_ahead.room

    def full(self) -> Collection[TopicPartition]:
        """Partitions of topics that are full, with more than their share, or as much as a position can note."""
        share, full_topics = self._limits.read_ahead / max(1, len(self._ledgers)), self._read_ahead.full_topics
        return [
            partition
            for partition, ledger in self._ledgers.items()
            if partition.topic in full_topics or ledger.full or ledger.open >= share
        ]

    def assigned(self, leases: Collection[Lease], lost: Collection[TopicPartition]) -> None:
        """A ledger for each new lease, beginning with what the group committed last; `drop_stale` ends the others'."""
        for lease in leases:
            self._ledgers[lease.partition] = PartitionLedger(lease.committed)

    def drop_stale(self) -> None:
        """The partitions' new owners read their records again: what is in hand of them is stale."""
        self._ledgers = {p: ledger for p, ledger in self._ledgers.items() if p in self._session.leases}
        self._release(self._dispatcher.drop(self._is_stale), stale=True)
        self._keep_current(())

    def take(self, record: Record, lease: Lease) -> None:
        """Put a record in the queue, unless it was done before."""
        ledger = self._ledgers[lease.partition]
        if ledger.take(record.offset):
            self._dispatcher.add(record, lease, ledger)
            self._held[record.topic].add(1, record.size_bytes)

    def lose(self, offsets: range, lease: Lease) -> None:
        """What the log no longer holds, and was not done before, is a result too."""
        ledger = self._ledgers[lease.partition]
        for lost in ledger.lose(offsets):
            self._dispatcher.lose(lost, lease, ledger)
            self._held[lease.partition.topic].add(1, 0)

    def advance(self, *, may_begin: bool) -> None:
        """Move records through the stages."""
        try:
            self._dispatcher.advance(may_begin=may_begin)
        finally:  # what was finished before a stage died counts
            self._keep_current(self._dispatcher.take_finished())

    def next_batch(self, *, at_once: bool) -> Batch | None:
        """The most urgent results that a position can note; those whose turn it is not yet stay."""
        if not (self._due() or at_once):
            return None
        chosen = sorted(self._finished, key=lambda tracked: tracked.rank)[: self._limits.transaction_records]
        chosen.sort(key=lambda tracked: tracked.record.offset)  # so that positions move as far as they can
        batch = [tracked for tracked in chosen if tracked.ledger.finish(tracked.record.offset)]
        if not batch:
            return None
        taken = set(map(id, batch))
        self._finished = [tracked for tracked in self._finished if id(tracked) not in taken]
        self._handed_over = batch
        messages = [tracked.sealed.message for tracked in batch if tracked.sealed is not None]
        return Batch(len(batch), messages, self._positions(batch))

    def committed(self) -> None:
        """Count what went out."""
        batch, self._handed_over = self._handed_over, []
        self._release(batch)
        now_s = self._wall_clock()
        for tracked in batch:
            _count(tracked, now_s)

    def not_committed(self) -> None:
        """Its records will be read again."""
        batch, self._handed_over = self._handed_over, []
        self._release(batch, stale=True)

    def at_rest(self, *, drain_queue: bool) -> bool:
        """Nothing is in a stage any more nor, if the queue is to be drained, in the queue."""
        return (len(self._dispatcher) if drain_queue else self._dispatcher.in_flight) == 0

    def report(self, progress: LoopProgress) -> None:
        """What is in the stages, what waits before them, and what somebody has to look at."""
        progress.trouble = self._breaker.trouble
        progress.in_flight = self._dispatcher.in_flight
        progress.read_ahead = len(self._dispatcher) - self._dispatcher.in_flight
        metrics.IN_FLIGHT.set(progress.in_flight)
        metrics.READ_AHEAD.set(progress.read_ahead)

    def _keep_current(self, finished: Sequence[TrackedRecord]) -> None:
        """Add to what is to be published, and forget what no longer may be."""
        everything = [*self._finished, *finished]
        self._finished = [tracked for tracked in everything if not self._is_stale(tracked)]
        self._release([tracked for tracked in everything if self._is_stale(tracked)], stale=True)
        for tracked in finished:
            if not self._is_stale(tracked) and tracked.sealed is not None:
                result = tracked.sealed.result
                self._breaker.note(result.reason if isinstance(result, Rejection) else None)

    def _is_stale(self, tracked: TrackedRecord) -> bool:
        return not self._session.still_ours(tracked.lease)

    def _release(self, records: Sequence[TrackedRecord], *, stale: bool = False) -> None:
        """Let go of records that are published or stale."""
        for tracked in records:
            self._held[tracked.record.topic].add(-1, -tracked.record.size_bytes)
        if stale and records:
            metrics.VOID_RECORDS.inc(len(records))
            log.info("records in hand are stale", count=len(records))

    def _due(self) -> bool:
        """Whether a transaction should begin: enough results, an old one, or one that somebody waits for."""
        if len(self._finished) >= self._limits.publish_records:
            return True
        if any(tracked.urgency.waited_for for tracked in self._finished):
            return True
        now = self._session.clock()
        oldest = min((tracked.finished_at for tracked in self._finished), default=now)
        return now - oldest >= self._limits.publish_wait_s

    def _positions(self, batch: Sequence[TrackedRecord]) -> dict[TopicPartition, Position]:
        partitions = {tracked.record.topic_partition for tracked in batch}
        return {partition: self._ledgers[partition].position() for partition in partitions}


def _count(tracked: TrackedRecord, now_s: float) -> None:
    assert tracked.sealed is not None
    result = tracked.sealed.result
    if isinstance(result, Finding):
        metrics.FINDINGS.labels(verdict=result.assessment.verdict).inc()
        metrics.FLAGS.inc(result.flag.raised)
    else:
        metrics.REJECTIONS.labels(reason=result.reason).inc()
    metrics.RECORDS_GONE.inc(len(tracked.gone))
    if tracked.record.timestamp_ms is not None:
        age_s = max(0.0, now_s - tracked.record.timestamp_ms / 1000)
        metrics.AGE_SECONDS.labels(priority=tracked.urgency.priority).observe(age_s)
