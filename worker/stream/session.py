"""One member of a consumer group, for as long as it lives: leases, pausing, transactions, one failure path, one ending.

Whoever consumes stands on this: the worker's runner, which asks a model, and delivery, which asks a receiver. What each
does with its records is its `Work`; when to read, when records are stale, how results and positions are committed
together, what follows a failed transaction, and when and by when it all ends, is decided here.

One thread runs the loop and never waits: work goes on elsewhere, and a transaction in a thread beside this one, so that
polling goes on whatever happens. The alternative, callbacks from within the client's rebalance, was not taken: what
they do there delays the group, and what they raise is lost.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from adapters.deadline import run_in_thread
from adapters.log import LogError, Member, Message, Polled, Position, PublishFailed, Record, TopicPartition
from schemas.errors import WorkerError
from worker.operations import metrics
from worker.operations.health import LoopProgress
from worker.operations.logs import get_logger
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop

log = get_logger()

T = TypeVar("T")
Clock = Callable[[], float]
"""Seconds on a clock that only goes forward."""

# Short enough that a finished result is committed at once in human terms, long enough not to spin.
POLL_BUSY_S: Final = 0.01
POLL_IDLE_S: Final = 0.2
# What one poll brings at most, so that a turn of the loop stays short.
POLL_RECORDS: Final = 500
# How long a group may take to give a new member its partitions; only after this is "no partitions" a kind of idleness.
JOIN_S: Final = 60.0
# Kept of the time for the ending, so that the group is always left.
LEAVE_S: Final = 5.0
# How long a transaction may take when the work has ended by an error.
LAST_PUBLISH_S: Final = 10.0
# For those who publish without this loop: a publisher that failed is replaced, and the same is tried again this often.
PUBLISH_ATTEMPTS: Final = 5


@dataclass(slots=True, eq=False)
class Lease:
    """The right to work on a partition, from its assignment to its revocation. `next` is the offset to be read next.

    A partition that is taken away and comes back is another lease: what was read under the old one is stale.
    """

    partition: TopicPartition
    committed: Position | None
    next: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction is to hold, and how many records of the work's it settles."""

    count: int
    messages: Sequence[Message]
    positions: Mapping[TopicPartition, Position]


class Work(Protocol):
    """What is done with the records of a session. All calls come from the session's thread, and none may wait."""

    @property
    def held(self) -> int:
        """Records in hand, without those of a transaction that is under way."""
        ...

    @property
    def results(self) -> int:
        """How many results wait for a transaction."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something may move without a new record, so that the next turn has to come soon."""
        ...

    @property
    def preparing_since(self) -> float | None:
        """Since when the oldest record that is being prepared has been, if any is."""
        ...

    def room(self) -> int:
        """How many more records to read; none or less: everything is paused."""
        ...

    def full(self) -> Collection[TopicPartition]:
        """Partitions to be paused while the others are read."""
        ...

    def assigned(self, leases: Collection[Lease], lost: Collection[TopicPartition]) -> None:
        """New leases began; `lost` partitions went to others, or are other ones now under the same name."""
        ...

    def drop_stale(self) -> None:
        """Let go of whatever is held under a lease that has ended."""
        ...

    def take(self, record: Record, lease: Lease) -> None:
        """A record was read."""
        ...

    def lose(self, offsets: range, lease: Lease) -> None:
        """These were next to be read, and the log no longer holds them."""
        ...

    def advance(self, *, may_begin: bool) -> None:
        """Move on whatever is ready."""
        ...

    def next_batch(self, *, at_once: bool) -> Batch | None:
        """The next transaction, if one is due; `at_once`: whatever there is. Its records count as handed over."""
        ...

    def committed(self) -> None:
        """The transaction handed over last is committed."""
        ...

    def not_committed(self) -> None:
        """It is not, or nobody knows: its records are stale, and will be read again from the committed positions."""
        ...

    def at_rest(self, *, drain_queue: bool) -> bool:
        """Whether nothing is left that will be finished before the end."""
        ...

    def report(self, progress: LoopProgress) -> None:
        """Write down how far it all is."""
        ...


class Session:
    """Reads, and publishes what the work hands over, until told to stop. One instance a process; `run` once."""

    def __init__(
        self,
        member: Member,
        stall: StallDetector,
        *,
        clock: Clock = time.monotonic,
        in_background: Callable[[str, Callable[[], float]], Future[float]] = run_in_thread,
    ) -> None:
        """`in_background` begins a call beside the loop; the clock is also that of `stall` and of the work."""
        self.progress = LoopProgress(turned_at=clock())
        self.clock = clock
        self._member = member
        self._stall = stall
        self._in_background = in_background
        self._leases: dict[TopicPartition, Lease] = {}
        self._paused: frozenset[TopicPartition] = frozenset()
        self._publishing: tuple[Batch, Future[float]] | None = None

    @property
    def leases(self) -> Mapping[TopicPartition, Lease]:
        """The leases that count now."""
        return self._leases

    @property
    def publishing(self) -> int:
        """How many records the transaction that is under way settles."""
        return self._publishing[0].count if self._publishing else 0

    def still_ours(self, lease: Lease) -> bool:
        """Whether what was read under this lease still counts."""
        return self._leases.get(lease.partition) is lease

    def run(self, work: Work, stop: Stop, idle_exit_s: float | None = None) -> None:
        """Until `stop` is set and what is in hand is published, or until nothing came for `idle_exit_s`.

        Raises Stalled if something stands still for too long, Fenced if another process took over, and whatever ends
        the work.
        """
        began = last_busy = self.clock()
        while True:
            stopping = stop.is_set()
            came = self._poll(work, reading=not stopping)
            try:
                work.advance(may_begin=not stopping or stop.drain_queue)
            except WorkerError:
                self._publish_what_is_left(work)
                raise
            self._publish_if_due(work, at_once=stopping)
            self._look_for_a_stall(work)
            now = self.clock()
            self._report(work, now, draining=stopping)
            at_rest = self._publishing is None and work.at_rest(drain_queue=stop.drain_queue)
            if stopping and (at_rest or stop.deadline.remaining_s <= LEAVE_S):
                return
            if came or work.held or self._publishing or (not self._leases and now - began < JOIN_S):
                last_busy = now
            if idle_exit_s is not None and now - last_busy >= idle_exit_s:
                return

    def _poll(self, work: Work, *, reading: bool) -> bool:
        """Take note of what the log has for us; False if that was nothing."""
        room = work.room()
        self._pause(frozenset(self._leases) if room <= 0 or not reading else frozenset(work.full()))
        busy = work.busy or self._publishing is not None
        polled = self._member.poll(POLL_BUSY_S if busy else POLL_IDLE_S, max(min(room, POLL_RECORDS), 1))
        if polled.revoked or polled.assigned:
            self._change_leases(work, polled)
        for partition, offsets in polled.gone.items():
            if (lease := self._leases.get(partition)) is not None:
                name = f"{partition.topic}/{partition.partition}"
                lost = range(max(lease.next, offsets.start), offsets.stop)
                log.error("the log no longer holds what was to be read", partition=name, count=len(lost))
                lease.next = max(lease.next, offsets.stop)
                if lost:
                    work.lose(lost, lease)
        again = 0
        for record in polled.records:
            lease = self._leases.get(record.topic_partition)
            if lease is not None and record.offset < lease.next:
                again += 1
            elif lease is not None:
                lease.next = record.offset + 1
                work.take(record, lease)
        if again:  # a client that went back by itself: they would have two results
            log.warning("records came that were read before, and are passed by", count=again)
        return polled != Polled()

    def _pause(self, wanted: frozenset[TopicPartition]) -> None:
        if to_pause := wanted - self._paused:
            self._member.pause(to_pause)
        if to_resume := self._paused - wanted:
            self._member.resume(to_resume)
        self._paused = wanted

    def _change_leases(self, work: Work, polled: Polled) -> None:
        log.info("assignment changed", assigned=len(polled.assigned), revoked=len(polled.revoked))
        for partition in polled.remade:
            name = f"{partition.topic}/{partition.partition}"
            log.error("a topic was deleted and made again; it is read from its first record", partition=name)
            metrics.TOPICS_REMADE.inc()
        for partition in polled.revoked:
            self._leases.pop(partition, None)
        new = {
            partition: Lease(partition, committed, committed.offset if committed else 0)
            for partition, committed in polled.assigned.items()
        }
        self._leases |= new
        self._paused -= polled.revoked | polled.assigned.keys()
        work.assigned(new.values(), (polled.revoked - polled.assigned.keys()) | polled.remade)
        if polled.revoked:
            self._drop_revoked(work)

    def _drop_revoked(self, work: Work) -> None:
        work.drop_stale()
        if self._publishing is not None and self._publishing[1].cancel():
            # Its transaction had not even begun, and would commit positions of partitions that changed hands.
            self._publishing = None
            work.not_committed()
            self._rewind(work)

    def _rewind(self, work: Work) -> None:
        """Begin again from the committed positions, which say what really happened."""
        self._leases.clear()
        self._paused = frozenset()
        self._member.rewind()
        work.drop_stale()

    def _publish_if_due(self, work: Work, *, at_once: bool) -> None:
        self._end_publish(work)
        if self._publishing is not None or (batch := work.next_batch(at_once=at_once)) is None:
            return

        def publish() -> float:
            began = time.monotonic()
            self._member.publish(batch.messages, batch.positions)
            return time.monotonic() - began

        self._publishing = batch, self._in_background("publish", publish)

    def _publish_what_is_left(self, work: Work) -> None:
        """Commit the results in hand before the end: they are right, and the next process begins further on.

        Else records that end the process each time would do so for ever.
        """
        try:
            self._publish_if_due(work, at_once=True)
            while self._publishing is not None and wait([self._publishing[1]], LAST_PUBLISH_S).done:
                self._publish_if_due(work, at_once=True)
        except LogError as error:  # what ended the work is what is to be told
            log.warning("the last results could not be committed", error_type=type(error).__name__)

    def _end_publish(self, work: Work) -> None:
        """Take note of a transaction that ended."""
        if self._publishing is None or not self._publishing[1].done():
            return
        batch, future = self._publishing
        self._publishing = None
        try:
            duration_s = future.result()
        except PublishFailed:
            metrics.TRANSACTIONS.labels(outcome="failed").inc()
            log.warning("transaction failed, rewinding", count=batch.count)
            work.not_committed()
            self._rewind(work)
            return
        metrics.TRANSACTIONS.labels(outcome="committed").inc()
        metrics.COMMIT_SECONDS.observe(duration_s)
        self.progress.committed += batch.count
        work.committed()
        log.info("committed", count=batch.count, commit_ms=round(duration_s * 1000, 1), in_flight=work.held)

    def _look_for_a_stall(self, work: Work) -> None:
        if not self._stall.due:
            return
        self._stall.check(
            {partition: lease.next for partition, lease in self._leases.items() if partition not in self._paused},
            self._member.behind(),
            committed=self.progress.committed,
            results=work.results + self.publishing,
            preparing_since=work.preparing_since,
        )

    def _report(self, work: Work, now: float, *, draining: bool) -> None:
        progress = self.progress
        progress.assigned_partitions = len(self._leases)
        progress.draining = draining
        progress.turned_at = now
        metrics.ASSIGNED.set(progress.assigned_partitions)
        work.report(progress)
