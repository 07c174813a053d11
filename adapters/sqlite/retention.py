"""What an embedded log no longer has to keep, and taking it out in small steps.

Records go from the front of a partition, by age and by the bytes that the file uses. What a group has not read yet is
never taken for its age; it is taken only where nothing else is left that would bring the file below its bound, and then
it is said: in what a step returns here, and to the group in `Polled.gone`.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final, NamedTuple

from adapters.log import LogError, TopicPartition
from adapters.sqlite.database import transaction

DAY_MS: Final = 24 * 3600 * 1000
# A group is forgotten, and holds nothing back any more, when none of its members was seen for so long; or for as long
# as records are kept, if that is longer. Its positions stay: if it comes back, it is told what is gone.
FORGOTTEN_DAYS: Final = 30
# A step is one transaction, for which everybody else who writes has to wait: about 15 ms.
STEP_RECORDS: Final = 500
STEP_BYTES: Final = 4 * 1024 * 1024
# Beside its content a record takes entries in two indexes.
RECORD_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept (days, None: for ever), and what the file may take (bytes, None: any number)."""

    keep_days: float | None = None
    keep_bytes: int | None = None

    def __post_init__(self) -> None:
        """Raise LogError for a bound that is none."""
        if any(bound is not None and bound <= 0 for bound in (self.keep_days, self.keep_bytes)):
            raise LogError("records are kept for more than 0 days, and in more than 0 bytes")

    @property
    def is_bounded(self) -> bool:
        """Whether there is anything to prune by."""
        return self.keep_days is not None or self.keep_bytes is not None

    @property
    def most_used_bytes(self) -> int | None:
        """What may be in use. A sixteenth stays free for what is written between two steps, so that the file fits."""
        return None if self.keep_bytes is None else self.keep_bytes - self.keep_bytes // 16


@dataclass(frozen=True, slots=True)
class Cut:
    """Records from the front of one partition; `unread` are those that `group` had still to read."""

    partition: TopicPartition
    offsets: range
    records: int
    size_bytes: int
    unread: range = range(0)
    group: str | None = None


OnPruned = Callable[[Sequence[Cut]], None]
FOR_EVER: Final = Retention()


def say_nothing(_: Sequence[Cut]) -> None:
    """What was pruned is nobody's interest: for those who set no bound."""


def prune_step(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> tuple[Cut, ...]:
    """Take out the next few records that need not be kept, in a transaction of its own; none are left if it is empty.

    Raises LogError as every transaction does.
    """
    with transaction(connection):
        cuts = plan(connection, retention, now_ms, STEP_RECORDS, STEP_BYTES)
        for cut in cuts:
            at = cut.partition
            connection.execute(
                "DELETE FROM records WHERE topic = ? AND partition = ? AND offset < ?",
                (at.topic, at.partition, cut.offsets.stop),
            )
    return cuts


def plan(
    connection: sqlite3.Connection,
    retention: Retention,
    now_ms: int,
    max_records: int | None = None,
    max_bytes: int | None = None,
) -> tuple[Cut, ...]:
    """What need not be kept: all of it, or the first of it up to these limits. Works in the caller's transaction."""
    if not retention.is_bounded:
        return ()
    kept_from = _unread_from(connection, retention, now_ms)
    oldest_ms = -1 if retention.keep_days is None else now_ms - round(retention.keep_days * DAY_MS)
    taken = _Taken(max_records, max_bytes)
    with ExitStack() as walks:
        partitions = [
            _Walk(connection, TopicPartition(*row), kept_from.get(TopicPartition(*row)), walks)
            for row in connection.execute("SELECT topic, partition FROM partitions ORDER BY topic, partition")
        ]
        for walk in partitions:
            while (head := walk.head) and head.timestamp_ms < oldest_ms and walk.head_is_read and taken.has_room:
                taken.add(walk.take())
        if retention.most_used_bytes is not None:
            excess_bytes = used_bytes(connection) - retention.most_used_bytes
            _take_oldest(partitions, taken, excess_bytes, even_unread=False)
            _take_oldest(partitions, taken, excess_bytes, even_unread=True)
        return tuple(walk.cut() for walk in partitions if walk.records)


def used_bytes(connection: sqlite3.Connection) -> int:
    """What of the file is in use; the rest of it is free for new records."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def _take_oldest(partitions: Sequence["_Walk"], taken: "_Taken", excess_bytes: int, *, even_unread: bool) -> None:
    """The oldest records of all topics together: what stays is one period, inbound and what was said of it."""

    def may_go(walk: _Walk) -> bool:
        return walk.head is not None and (even_unread or walk.head_is_read)

    queue = [(walk.head.timestamp_ms, n) for n, walk in enumerate(partitions) if walk.head and may_go(walk)]
    heapq.heapify(queue)
    while queue and taken.size_bytes < excess_bytes and taken.has_room:
        _, n = heapq.heappop(queue)
        walk = partitions[n]
        taken.add(walk.take())
        if walk.head is not None and may_go(walk):
            heapq.heappush(queue, (walk.head.timestamp_ms, n))


class _Head(NamedTuple):
    offset: int
    timestamp_ms: int
    size_bytes: int


class _Taken:
    """How much was taken, and whether more may be."""

    def __init__(self, max_records: int | None, max_bytes: int | None) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self.records = self.size_bytes = 0

    @property
    def has_room(self) -> bool:
        few = self._max_records is None or self.records < self._max_records
        return few and (self._max_bytes is None or self.size_bytes < self._max_bytes)

    def add(self, head: _Head) -> None:
        self.records += 1
        self.size_bytes += head.size_bytes


class _Walk:
    """The records of one partition from the front, and how many of them were taken."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        partition: TopicPartition,
        kept_from: tuple[int, str] | None,
        parts: ExitStack,
    ) -> None:
        cursor = parts.enter_context(
            closing(
                connection.execute(
                    "SELECT offset, timestamp_ms, length(value) + length(headers) + coalesce(length(key), 0)"
                    " FROM records WHERE topic = ? AND partition = ? ORDER BY offset",
                    (partition.topic, partition.partition),
                )
            )
        )
        self._rows: Iterator[_Head] = (_Head(offset, at_ms, size + RECORD_BYTES) for offset, at_ms, size in cursor)
        self._partition = partition
        self._unread_from = kept_from[0] if kept_from else None
        self._group = kept_from[1] if kept_from else None
        self.head = next(self._rows, None)
        self._first = self._stop = self.head.offset if self.head else 0
        self.records = self._size_bytes = 0

    @property
    def head_is_read(self) -> bool:
        """Whether no group has the next record still to read."""
        return self.head is not None and (self._unread_from is None or self.head.offset < self._unread_from)

    def take(self) -> _Head:
        assert self.head is not None
        head, self.head = self.head, next(self._rows, None)
        self._stop = head.offset + 1
        self.records += 1
        self._size_bytes += head.size_bytes
        return head

    def cut(self) -> Cut:
        offsets, unread_from = range(self._first, self._stop), self._unread_from
        unread = (
            range(self._stop, self._stop) if unread_from is None else range(max(self._first, unread_from), self._stop)
        )
        return Cut(self._partition, offsets, self.records, self._size_bytes, unread, self._group if unread else None)


def _unread_from(
    connection: sqlite3.Connection, retention: Retention, now_ms: int
) -> dict[TopicPartition, tuple[int, str]]:
    """The first offset that some group has still to read, and the group that is furthest behind.

    A group that has not committed yet has everything to read since it came; one that came with the version before,
    which did not note where, everything there is.
    """
    since_ms = now_ms - round(max(FORGOTTEN_DAYS, retention.keep_days or 0) * DAY_MS)
    rows = connection.execute(
        "SELECT topic, partition, min(offset), group_name FROM ("
        " SELECT group_name, topic, partition, offset FROM positions"
        " UNION ALL SELECT s.group_name, s.topic, s.partition, s.offset FROM starts AS s"
        " LEFT JOIN positions AS p USING (group_name, topic, partition) WHERE p.offset IS NULL"
        " UNION ALL SELECT a.group_name, a.topic, a.partition, 0 FROM assignments AS a"
        " LEFT JOIN positions AS p USING (group_name, topic, partition)"
        " LEFT JOIN starts AS s USING (group_name, topic, partition) WHERE p.offset IS NULL AND s.offset IS NULL"
        ") WHERE group_name IN (SELECT group_name FROM members GROUP BY group_name HAVING max(seen_ms) >= ?)"
        " GROUP BY topic, partition",
        (since_ms,),
    )
    return {TopicPartition(topic, partition): (offset, group) for topic, partition, offset, group in rows}
