"""Copies of an embedded log: of a whole one while it is written, and of what can be read of a damaged one."""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.log import LogError, TopicPartition
from adapters.sqlite.damage import Remains, SavedRecord, check_fully
from adapters.sqlite.database import connect, create, transaction, translate_errors

_PAGES_AT_ONCE: Final = 2048  # 8 MB
_RECORDS_AT_ONCE: Final = 200

_PLACES: Final = {
    "positions": "INSERT OR IGNORE INTO positions (group_name, topic, partition, offset, metadata)"
    " VALUES (?, ?, ?, ?, ?)",
    "starts": "INSERT OR IGNORE INTO starts (group_name, topic, partition, offset) VALUES (?, ?, ?, ?)",
    "groups": "INSERT OR IGNORE INTO groups (name, generation) VALUES (?, ?)",
    # Nobody is in: whoever goes on joins anew. Epochs stay, so that no process from before is taken for a new one.
    "members": "INSERT OR IGNORE INTO members (group_name, name, epoch, seen_ms) VALUES (?, ?, ?, ?)",
}

OnProgress = Callable[[int, int], None]
"""Told how many of how many pages or records are done."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came over of one topic; `missing` are the offsets that it held and that could not be read.

    If both indexes are damaged too, it cannot be told which offsets came before the first saved record.
    """

    topic: str
    records: int
    missing: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """What came over of a damaged log. `incomplete` are tables of which not every row could be read."""

    topics: tuple[Salvaged, ...]
    positions: int
    incomplete: tuple[str, ...]


def backup(path: Path, target: Path, on_progress: OnProgress) -> int:
    """Copy the log as it is at this moment, while others write to it, and check the copy.

    Returns how many of its records are not what was written: they are not in the log either. Raises LogError if the
    target exists, cannot be written, or the copy is not whole; then nothing is left of it.
    """
    with _new_file(target):
        with (
            translate_errors(f"copying {path} to {target}"),
            closing(connect(path)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            # One state from the first page to the last; without it every commit would begin the copy anew.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM partitions").fetchone()

            def progressed(_: int, remaining: int, total: int) -> None:
                on_progress(total - remaining, total)

            source.backup(copy, pages=_PAGES_AT_ONCE, progress=progressed)
        return check_fully(target)


def salvage(path: Path, target: Path, on_progress: OnProgress) -> Salvage:
    """Copy every record that is what was written, and everybody's place, into a new log. The old file stays as it is.

    Raises LogError if the target exists or cannot be written, or nothing can be read.
    """
    with closing(Remains(path)) as remains, _new_file(target):
        create(target)
        with closing(connect(target)) as connection:
            found: dict[TopicPartition, list[int]] = {}  # first offset, end, how many
            for batch in _batches(remains.records()):
                with transaction(connection):
                    connection.executemany(
                        "INSERT OR IGNORE INTO records"
                        " (topic, partition, offset, timestamp_ms, key, headers, value, crc32)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        [_row(record) for record in batch],
                    )
                for record in batch:
                    seen = found.setdefault(record.partition, [record.offset, record.offset + 1, 0])
                    seen[0], seen[1] = min(seen[0], record.offset), max(seen[1], record.offset + 1)
                    seen[2] += 1
                done = sum(count for *_, count in found.values())
                on_progress(done, done)
            with transaction(connection):
                result = _copy_places(remains, connection, found)
        check_fully(target)
    return result


def _copy_places(remains: Remains, connection: sqlite3.Connection, found: dict[TopicPartition, list[int]]) -> Salvage:
    """Where partitions end and groups stand. No new record gets the number of one that was there."""
    read = {table: remains.rows(table) for table in ("partitions", *_PLACES)}
    ends = {at: end for at, (_, end, _) in found.items()}
    places = (row[1:4] for table in ("positions", "starts") for row in read[table][0])
    for topic, partition, end in [*read["partitions"][0], *places]:
        for number in range(partition + 1):  # those before it were there too
            at = TopicPartition(topic, number)
            ends[at] = max(ends.get(at, 0), end if number == partition else 0)
    connection.executemany(
        "INSERT INTO partitions (topic, partition, next_offset) VALUES (?, ?, ?)",
        [(at.topic, at.partition, end) for at, end in ends.items()],
    )
    for table, statement in _PLACES.items():
        connection.executemany(statement, read[table][0])
    saved, missing = Counter[str](), Counter[str]()
    held_from = remains.first_offsets()
    for at, end in ends.items():
        first, _, count = found.get(at, [end, end, 0])
        saved[at.topic] += count
        missing[at.topic] += end - min(first, held_from.get(at, first)) - count
    topics = tuple(Salvaged(topic, saved[topic], missing[topic]) for topic in sorted({at.topic for at in ends}))
    incomplete = tuple(table for table, (_, whole) in read.items() if not whole)
    return Salvage(topics, len(read["positions"][0]), incomplete)


def _row(record: SavedRecord) -> tuple[Any, ...]:
    at = record.partition
    return (
        at.topic, at.partition, record.offset, record.timestamp_ms, record.key, record.headers, record.value,
        record.crc32,
    )  # fmt: skip


def _batches(saved: Iterator[SavedRecord]) -> Iterator[list[SavedRecord]]:
    batch: list[SavedRecord] = []
    for record in saved:
        batch.append(record)
        if len(batch) == _RECORDS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _new_file(target: Path) -> Iterator[None]:
    """A file that was not there before, for this user only; gone again if what is to be in it fails."""
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise LogError(f"{target} is there already; name a new file") from None
    except OSError as error:
        raise LogError(f"{target} cannot be made: {error.strerror}; name another place") from None
    try:
        yield
    except BaseException:
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                Path(f"{target}{end}").unlink()
        raise
