"""A member of a consumer group in an embedded log."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from adapters.deadline import Deadline
from adapters.log import (
    LogError,
    LogUnavailable,
    Message,
    Polled,
    Position,
    PublishFailed,
    Record,
    TopicPartition,
    check_messages,
    check_positions,
)
from adapters.sqlite import groups, records
from adapters.sqlite.database import connect, publishing, transaction, translate_errors
from adapters.sqlite.retention import OnPruned, Retention, prune_step

RENEW_S: Final = 3.0  # how often a lease is renewed: several times in its length, for each renewal is a write to disk
PRUNE_S: Final = 0.5  # how often a member looks for what need not be kept; while there is more, at every poll
PRUNE_AT_ONCE_S: Final = 0.1  # how long a poll may be held up by that
PAUSE_S: Final = 0.01  # between two looks at the file while nothing comes
POLL_BYTES: Final = 64 * 1024 * 1024  # what one poll brings at most, but for a single larger record


class SqliteMember:
    """Keeps the `Member` protocol. `poll` raises Fenced, too, once another process has the member's name."""

    def __init__(
        self,
        path: Path,
        group: str,
        topics: Sequence[str],
        member: str,
        clock: Callable[[], float],
        retention: Retention,
        on_pruned: OnPruned,
    ) -> None:
        """Join the group. Raises LogError if a topic does not exist."""
        if group == groups.NO_GROUP:
            raise LogError("a group needs a name")
        self._group, self._topics, self._name, self._clock = group, tuple(topics), member, clock
        self._owned: dict[TopicPartition, int] = {}
        self._publishable: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._rewound = False
        self._closed = False
        self._polling = connect(path)
        self._publishing = connect(path)
        with transaction(self._polling):
            for topic in topics:
                records.partition_count(self._polling, topic)
            self._epoch = groups.join(self._polling, group, member, topics, self._now_ms())
        self._renewed_s = clock()
        self._retention, self._on_pruned = retention, on_pruned
        self._prune_at_s = clock() if retention.is_bounded else math.inf

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Wait up to `timeout_s` for records or a change of partitions, and look at least once."""
        # The caller has seen the last poll's report by now, so what was assigned then may be published from here on.
        self._publishable = {} if self._rewound else self._owned
        end = time.monotonic() + timeout_s
        while True:
            self._renew()
            self._prune()
            polled = self._take_changes() or self._read(max_records)
            remaining_s = end - time.monotonic()
            if polled != Polled() or remaining_s <= 0:
                return polled
            time.sleep(min(PAUSE_S, remaining_s))

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Return no records of these partitions until they are resumed."""
        self._paused |= partitions & self._owned.keys()

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """Return records of these partitions again."""
        self._paused -= partitions

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write the messages and move the positions in one transaction of the database."""
        check_messages(messages)
        check_positions(positions.values())
        publishable = self._publishable
        with publishing(self._publishing):
            groups.check_epoch(self._publishing, self._group, self._name, self._epoch)
            assigned = groups.assigned(self._publishing, self._group, self._name)
            for partition, position in positions.items():
                if partition not in publishable or assigned.get(partition) != publishable[partition]:
                    raise PublishFailed("a position is of a partition that is not, or no longer, this member's")
                records.move(self._publishing, self._group, partition, position)
            records.write(self._publishing, messages, self._now_ms())

    def rewind(self) -> None:
        """Go back to the committed positions, at the next poll."""
        self._rewound = True

    def behind(self) -> Mapping[TopicPartition, int]:
        """How many offsets each partition has left to read."""
        with translate_errors("reading offsets"):
            return {p: records.next_offset(self._polling, p) - read_to for p, read_to in self._next.items()}

    def close(self, deadline: Deadline | None = None) -> None:
        """Leave the group at once; how long that may wait for the file is bounded as for every use of it."""
        if self._closed:
            return
        self._closed = True
        try:
            with transaction(self._polling):
                groups.leave(self._polling, self._group, self._name, self._epoch)
        except LogUnavailable:
            pass  # the group finds out when the lease ends
        finally:
            self._polling.close()
            self._publishing.close()

    def _renew(self) -> None:
        if abs(self._clock() - self._renewed_s) < RENEW_S:
            return
        with transaction(self._polling):
            groups.renew(self._polling, self._group, self._name, self._epoch, self._topics, self._now_ms())
        self._renewed_s = self._clock()

    def _prune(self) -> None:
        """Take out what need not be kept, for a moment at each poll, until nothing is left to do for a while."""
        now_s = self._clock()
        if self._prune_at_s - PRUNE_S <= now_s < self._prune_at_s or self._prune_at_s == math.inf:
            return
        end = time.monotonic() + PRUNE_AT_ONCE_S
        while time.monotonic() < end:
            try:
                cuts = prune_step(self._polling, self._retention, self._now_ms())
            except LogUnavailable:
                cuts = ()  # the file is busy, or the disk full: whoever has something to write finds that out
            if not cuts:
                self._prune_at_s = now_s + PRUNE_S
                return
            self._on_pruned(cuts)
        self._prune_at_s = now_s

    def _take_changes(self) -> Polled | None:
        """What has come and gone since the last poll, with the positions to begin from; None if nothing has."""
        with transaction(self._polling, "DEFERRED"):
            groups.check_epoch(self._polling, self._group, self._name, self._epoch)
            now = groups.assigned(self._polling, self._group, self._name)
            before = {} if self._rewound else self._owned
            gained = [partition for partition, since in now.items() if before.get(partition) != since]
            positions = {p: records.position(self._polling, self._group, p) for p in gained}
            starts = {
                p: records.start(self._polling, self._group, p) if position is None else position.offset
                for p, position in positions.items()
            }
        lost = frozenset(p for p, since in self._owned.items() if self._rewound or now.get(p) != since)
        self._owned, self._rewound = now, False
        if not lost and not positions:
            return None
        self._paused -= lost
        for partition in lost:
            del self._next[partition]
        self._next.update(starts)
        # Lost ones at once, gained ones with the next poll: see there.
        self._publishable = {p: since for p, since in now.items() if p not in positions}
        return Polled(revoked=lost, assigned=positions)

    def _read(self, max_records: int) -> Polled:
        """What comes next in each partition, and the offsets before it that are not there any more.

        The file numbers records without gaps: one that is missing was pruned, or was lost with a damaged page.
        """
        found: list[Record] = []
        gone: dict[TopicPartition, range] = {}
        left_bytes = POLL_BYTES
        with transaction(self._polling, "DEFERRED"):  # one state: a record that comes now is not one that was missing
            for partition in list(self._next):
                if partition in self._paused:
                    continue
                if len(found) >= max_records or left_bytes <= 0:
                    break
                start = self._next[partition]
                every = range(start, records.END)
                batch = records.read_some(self._polling, partition, every, max_records - len(found), left_bytes)
                first = batch[0].offset if batch else records.next_offset(self._polling, partition)
                if first > start:
                    gone[partition] = range(start, first)
                batch = [record for n, record in enumerate(batch) if record.offset == first + n]  # up to the next gap
                found += batch
                left_bytes -= sum(len(record.value) for record in batch)
                if first + len(batch) > start:
                    # To the end of the queue: a full partition must not starve the others.
                    del self._next[partition]
                    self._next[partition] = first + len(batch)
        return Polled(tuple(found), gone=gone)

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)
