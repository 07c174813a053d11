"""Records in the tables of an embedded log. Every function works inside the caller's transaction, if there is one."""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from adapters.log import Headers, LogError, Message, NoTopic, Position, Record, TopicPartition

END: Final = 2**62  # past any offset

# A long read goes in steps: none keeps the write-ahead log from being checkpointed, or brings more than memory holds.
READ_ROWS: Final = 100
READ_BYTES: Final = 32 * 1024 * 1024


def partition_count(connection: sqlite3.Connection, topic: str) -> int:
    """How many partitions the topic has. Raises LogError if there is no such topic."""
    (count,) = connection.execute("SELECT count(*) FROM partitions WHERE topic = ?", (topic,)).fetchone()
    if not count:
        raise NoTopic(topic)
    return int(count)


def next_offset(connection: sqlite3.Connection, at: TopicPartition) -> int:
    """The offset the partition's next record will have. Raises LogError if there is no such partition."""
    row = connection.execute(
        "SELECT next_offset FROM partitions WHERE topic = ? AND partition = ?", (at.topic, at.partition)
    ).fetchone()
    if row is None:
        raise LogError(f"no partition {at.partition} of topic {at.topic}")
    return int(row[0])


def write(connection: sqlite3.Connection, messages: Sequence[Message], now_ms: int) -> list[tuple[TopicPartition, int]]:
    """Append messages and say where each lies. Raises LogError for a topic that does not exist."""
    return [_write_one(connection, message, now_ms) for message in messages]


def _write_one(connection: sqlite3.Connection, message: Message, now_ms: int) -> tuple[TopicPartition, int]:
    partition = _partition_for(connection, message)
    (following,) = connection.execute(
        "UPDATE partitions SET next_offset = next_offset + 1 WHERE topic = ? AND partition = ? RETURNING next_offset",
        (message.topic, partition),
    ).fetchone()
    headers = _pack(message.headers)
    connection.execute(
        "INSERT INTO records (topic, partition, offset, timestamp_ms, key, headers, value, crc32)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (message.topic, partition, following - 1, now_ms, message.key, headers, message.value,
         checksum(message.key, headers, message.value)),
    )  # fmt: skip
    return TopicPartition(message.topic, partition), following - 1


def _partition_for(connection: sqlite3.Connection, message: Message) -> int:
    """Equal keys always to the same partition; without a key to the shortest."""
    if message.key is not None:
        return zlib.crc32(message.key) % partition_count(connection, message.topic)
    row = connection.execute(
        "SELECT partition FROM partitions WHERE topic = ? ORDER BY next_offset, partition LIMIT 1", (message.topic,)
    ).fetchone()
    if row is None:
        raise NoTopic(message.topic)
    return int(row[0])


def read(connection: sqlite3.Connection, at: TopicPartition, offsets: range) -> Iterator[Record]:
    """Records with these offsets, in order; what is missing is left out."""
    start = offsets.start
    while batch := read_some(connection, at, range(start, offsets.stop), READ_ROWS, READ_BYTES):
        yield from batch
        start = batch[-1].offset + 1


def read_some(
    connection: sqlite3.Connection, at: TopicPartition, offsets: range, max_records: int, max_bytes: int
) -> list[Record]:
    """The first records with these offsets: at least one, if there is any, then more up to the limits."""
    with closing(
        connection.execute(
            "SELECT offset, timestamp_ms, key, headers, value, crc32 FROM records"
            " WHERE topic = ? AND partition = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
            (at.topic, at.partition, offsets.start, offsets.stop, max_records),
        )
    ) as rows:
        records: list[Record] = []
        size = 0
        for row in rows:
            record = _record(at, *row)
            records.append(record)
            size += len(record.value)
            if size >= max_bytes:
                break
    return records


def _record(at: TopicPartition, offset: int, timestamp_ms: int, *content: Any) -> Record:
    """The record; without content if that is not what was written."""
    if is_whole(*content):
        key, headers, value, _ = content
        return Record(at.topic, at.partition, offset, timestamp_ms, key, value, _unpack(headers))
    why = f"offset {offset}: checksum does not match"
    return Record(at.topic, at.partition, offset, timestamp_ms, None, b"", unreadable=why)


def checksum(key: bytes | None, headers: bytes, value: bytes) -> int:
    """What is kept beside a record's content, to tell by later whether it is still the same."""
    return zlib.crc32(value, zlib.crc32(headers, zlib.crc32(key or b"")))


def is_whole(key: Any, headers: Any, value: Any, stated: Any) -> bool:
    """Whether content as it was read is what was written; as far as can be told, if it was written without checksum."""
    if not isinstance(key, bytes | None) or not isinstance(headers, bytes) or not isinstance(value, bytes):
        return False
    if stated is not None:
        return bool(checksum(key, headers, value) == stated)
    try:
        _unpack(headers)
    except (ValueError, TypeError):
        return False
    return True


def first_held(connection: sqlite3.Connection, at: TopicPartition) -> int:
    """The offset of the partition's first record, or that of its next one if it holds none. Raises as `next_offset`."""
    end = next_offset(connection, at)
    (first,) = connection.execute(
        "SELECT min(offset) FROM records WHERE topic = ? AND partition = ?", (at.topic, at.partition)
    ).fetchone()
    return end if first is None else int(first)


def start(connection: sqlite3.Connection, group: str, at: TopicPartition) -> int:
    """Where a group without a position begins: where it first got the partition, whatever was pruned since."""
    row = connection.execute(
        "SELECT offset FROM starts WHERE group_name = ? AND topic = ? AND partition = ?",
        (group, at.topic, at.partition),
    ).fetchone()
    return first_held(connection, at) if row is None else int(row[0])


def note_start(connection: sqlite3.Connection, group: str, at: TopicPartition) -> None:
    """Remember where a group begins that got the partition, unless it has been here before."""
    connection.execute(
        "INSERT OR IGNORE INTO starts (group_name, topic, partition, offset) VALUES (?, ?, ?, ?)",
        (group, at.topic, at.partition, first_held(connection, at)),
    )


def position(connection: sqlite3.Connection, group: str, at: TopicPartition) -> Position | None:
    """Where the group stands in the partition."""
    row = connection.execute(
        "SELECT offset, metadata FROM positions WHERE group_name = ? AND topic = ? AND partition = ?",
        (group, at.topic, at.partition),
    ).fetchone()
    return None if row is None else Position(*row)


def move(connection: sqlite3.Connection, group: str, at: TopicPartition, to: Position) -> None:
    """Put the group there."""
    connection.execute(
        "INSERT OR REPLACE INTO positions (group_name, topic, partition, offset, metadata) VALUES (?, ?, ?, ?, ?)",
        (group, at.topic, at.partition, to.offset, to.metadata),
    )


def _pack(headers: Headers) -> bytes:
    """A JSON list of names and lengths, a newline, then the contents one after the other."""
    index = json.dumps([[name, len(content)] for name, content in headers], separators=(",", ":"))
    return b"\n".join([index.encode(), b"".join(content for _, content in headers)])


def _unpack(packed: bytes) -> Headers:
    index, _, contents = packed.partition(b"\n")
    headers, start = [], 0
    for name, length in json.loads(index):
        headers.append((name, contents[start : start + length]))
        start += length
    return tuple(headers)
