"""The Log protocol in one file, with nothing but the standard library: for a laptop, a clinic without Kafka, the demo.

Topics, partitions, offsets, groups, members in several processes, fencing and transactions mean here what they mean in
Kafka. It runs on one machine: the file must not lie on a network file system, where SQLite's locks do not hold.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from adapters.log import (
    NO_TOPICS,
    CreatedTopic,
    LogError,
    Message,
    Position,
    Record,
    TopicPartition,
    check_messages,
)
from adapters.sqlite import damage, groups, records
from adapters.sqlite.database import connect, create, publishing, transaction, translate_errors
from adapters.sqlite.member import SqliteMember
from adapters.sqlite.retention import FOR_EVER, OnPruned, Retention, say_nothing


class SqliteLog:
    """Implements the `Log` protocol. May be used from several threads; they take turns."""

    every_offset_is_a_record = True

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        retention: Retention = FOR_EVER,
        on_pruned: OnPruned = say_nothing,
    ) -> None:
        """Open the file, and make it if it is missing. `clock` gives seconds since 1970.

        Members prune what `retention` does not keep, and tell `on_pruned`. Raises LogError; LogDamaged says what can be
        saved.
        """
        self._path, self._clock, self._retention, self._on_pruned = path, clock, retention, on_pruned
        with damage.told(path):
            create(path)
            damage.check_quickly(path)
        self._connection = connect(path)
        self._lock = threading.Lock()

    def create_topics(
        self, partitions: Mapping[str, int], replicas: int | None = None, keep_days: Mapping[str, float] = NO_TOPICS
    ) -> tuple[CreatedTopic, ...]:
        """Create the topics that do not exist yet."""
        if replicas not in (None, 1):
            raise LogError("an embedded log is one file: it keeps 1 replica of a topic")
        created: list[CreatedTopic] = []
        with self._lock, transaction(self._connection):
            for topic, count in partitions.items():
                if count < 1:
                    raise LogError(f"topic {topic} needs at least one partition")
                (found,) = self._connection.execute(
                    "SELECT count(*) FROM partitions WHERE topic = ?", (topic,)
                ).fetchone()
                if not found:
                    self._connection.executemany(
                        "INSERT INTO partitions (topic, partition) VALUES (?, ?)", [(topic, p) for p in range(count)]
                    )
                    created.append(CreatedTopic(topic, count, replicas=1))
        return tuple(created)

    def append(self, messages: Sequence[Message]) -> tuple[tuple[TopicPartition, int], ...]:
        """Write messages, all or none of them."""
        check_messages(messages)
        with self._lock, transaction(self._connection):
            return tuple(records.write(self._connection, messages, round(self._clock() * 1000)))

    def join(self, group: str, topics: Sequence[str], member: str) -> SqliteMember:
        """Join a group. Raises LogError if a topic does not exist."""
        return SqliteMember(self._path, group, topics, member, self._clock, self._retention, self._on_pruned)

    def publisher(self, name: str) -> "SqlitePublisher":
        """A transactional publisher under a name of its own."""
        return SqlitePublisher(self._path, name, self._clock)

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        """The topic's partitions in order. Raises LogError if there is no such topic."""
        with self._lock, translate_errors("describing a topic"):
            count = records.partition_count(self._connection, topic)
        return tuple(TopicPartition(topic, partition) for partition in range(count))

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """First offset held, and the one after the last."""
        with self._lock, transaction(self._connection, "DEFERRED"):
            return records.first_held(self._connection, partition), records.next_offset(self._connection, partition)

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """The first offset whose record's timestamp is at or after this one; None if there is none."""
        with self._lock, transaction(self._connection, "DEFERRED"):
            records.next_offset(self._connection, partition)
            (offset,) = self._connection.execute(
                "SELECT min(offset) FROM records WHERE topic = ? AND partition = ? AND timestamp_ms >= ?",
                (partition.topic, partition.partition, timestamp_ms),
            ).fetchone()
        return offset if offset is None else int(offset)

    def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """Where a group stands in a partition."""
        with self._lock, transaction(self._connection, "DEFERRED"):
            records.next_offset(self._connection, partition)
            return records.position(self._connection, group, partition)

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[Record]:
        """The records of the ranges, up to what is committed when the reading of each begins."""
        with translate_errors("reading"), closing(connect(self._path)) as connection:
            for partition, offsets in ranges.items():
                end = records.next_offset(connection, partition)
                yield from records.read(connection, partition, range(offsets.start, min(offsets.stop, end)))

    def close(self) -> None:
        """Close the file. Members have connections of their own."""
        self._connection.close()


class SqlitePublisher:
    """Keeps the `Publisher` protocol."""

    def __init__(self, path: Path, name: str, clock: Callable[[], float]) -> None:
        """Take the name: whoever had it is fenced."""
        self._name, self._clock = name, clock
        self._connection = connect(path)
        with transaction(self._connection):
            self._epoch = groups.take_publisher_name(self._connection, name, round(clock() * 1000))

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none."""
        check_messages(messages)
        with publishing(self._connection):
            groups.check_epoch(self._connection, groups.NO_GROUP, self._name, self._epoch)
            records.write(self._connection, messages, round(self._clock() * 1000))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
