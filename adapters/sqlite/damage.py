"""A damaged file: how it is recognised, and what of it can still be read.

SQLite finds a page that is no page, and pages that contradict each other; it does not look at what is in a record.
That a record is still what was written is told by its checksum (`adapters.sqlite.records`).
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.log import LogError, TopicPartition
from adapters.sqlite import records
from adapters.sqlite.database import SALVAGE, LogDamaged, connect, translate_errors

# Up to this size the whole file is checked when it is opened (0.1 s); of a larger one the tables that say where
# everybody stands, which are small. `ecg-worker check` checks all of any.
CHECKED_AT_OPEN_BYTES: Final = 64 * 1024 * 1024
SMALL_TABLES: Final = ("partitions", "positions", "starts", "groups", "members", "assignments")
# How long a start that fails may look for what can be saved, to say it.
SURVEY_S: Final = 10.0
_ROWS_AT_ONCE: Final = 100

_RECORDS: Final = (
    "SELECT topic, partition, offset, timestamp_ms, key, headers, value, crc32 FROM records NOT INDEXED"
    " WHERE rowid >= ? AND rowid < ?"
)
_RECORDS_BEFORE_CHECKSUMS: Final = _RECORDS.replace("crc32", "NULL")
_FIRSTS: Final = tuple(
    f"SELECT topic, partition, min(offset) FROM records INDEXED BY {index} GROUP BY topic, partition"  # noqa: S608
    for index in ("sqlite_autoindex_records_1", "records_by_time")
)
# The small tables that say where everybody stands: what is read of each, and its key.
_PLACE: Final = ("group_name", "topic", "partition")
_SMALL: Final = {
    "partitions": (("topic", "partition", "next_offset"), ("topic", "partition")),
    "positions": ((*_PLACE, "offset", "metadata"), _PLACE),
    "starts": ((*_PLACE, "offset"), _PLACE),
    "groups": (("name", "generation"), ("name",)),
    "members": (("group_name", "name", "epoch", "seen_ms"), ("group_name", "name")),
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say of a file that turns out to be damaged what can be saved of it, as LogDamaged."""
    try:
        yield
    except LogDamaged as error:
        flaw = f" ({error.flaw})" if error.flaw else ""
        raise LogDamaged(f"{path} is damaged{flaw}; {_what_can_be_read(path)}; {SALVAGE}") from None


def check_quickly(path: Path) -> None:
    """Look for damage, for a fraction of a second. Raises LogDamaged."""
    with closing(connect(path)) as connection:
        if path.stat().st_size <= CHECKED_AT_OPEN_BYTES:
            _check(connection, "PRAGMA quick_check(1)")
        else:
            for table in SMALL_TABLES:
                _check(connection, f"PRAGMA quick_check({table})")


def check_fully(path: Path) -> int:
    """Check every page, indexes against what they are of, and every record: about two seconds a GB, by the disk.

    Returns how many records are not what was written. Raises LogDamaged with what can be saved, and LogError.
    """
    with told(path), closing(connect(path)) as connection:
        _check(connection, "PRAGMA integrity_check(1)")
        with translate_errors("checking the records"):
            contents = connection.execute("SELECT key, headers, value, crc32 FROM records NOT INDEXED")
            return sum(not records.is_whole(*content) for content in contents)


def _check(connection: sqlite3.Connection, pragma: str) -> None:
    with translate_errors("checking the file"):
        found = connection.execute(pragma).fetchone()
    if found != ("ok",):
        # Numbers of pages and cells, and names of tables: nothing that a record holds.
        flaw = " ".join(str(found and found[0]).split()).removeprefix("*** in database main *** ")
        raise LogDamaged("the file is damaged", flaw=flaw)


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record of a damaged file that is what was written, as it lies there."""

    partition: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: bytes
    value: bytes
    crc32: int | None


class Remains:
    """What of a damaged file can be read. Nothing is written to it. To be closed."""

    def __init__(self, path: Path) -> None:
        """Raises LogError if nothing at all can be read: then only a copy helps."""
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            # So that a file which lost its end is read up to there.
            self._connection.execute("PRAGMA writable_schema = ON")
            self._connection.execute("BEGIN")
            self._tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
            columns = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(records)")}
        except sqlite3.Error:
            self._connection.close()
            raise LogDamaged(f"nothing of {path} can be read; restore a copy that `log backup` made") from None
        if "records" not in self._tables:
            self._connection.close()
            raise LogError(f"{path} is no log, or not even the names of its tables can be read")
        self._select = _RECORDS if "crc32" in columns else _RECORDS_BEFORE_CHECKSUMS

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, table: str) -> tuple[list[tuple[Any, ...]], bool]:
        """What one of the small tables holds, and whether that is all."""
        if table not in self._tables:
            return [], True
        found: dict[tuple[Any, ...], None] = {}
        columns, key = _SMALL[table]
        for order in (key, [f"{name} DESC" for name in key]):
            query = " ".join(("SELECT", ", ".join(columns), "FROM", table, "ORDER BY", ", ".join(order)))
            try:
                for row in self._connection.execute(query):
                    found.setdefault(row)
            except sqlite3.Error:
                continue  # from the other end then, as far as that goes
            return list(found), True
        return list(found), False

    def records(self, is_over: Callable[[], bool] = lambda: False) -> Iterator[SavedRecord]:
        """Every record that can be read and is what was written, in the order of writing, until it is over."""
        first, last = self._numbers()
        for start in range(first, last + 1, _ROWS_AT_ONCE):
            if is_over():
                return
            yield from self._some(start, min(start + _ROWS_AT_ONCE, last + 1))

    def first_offsets(self) -> dict[TopicPartition, int]:
        """The first offset that each partition held, as far as one of the two indexes still says."""
        for query in _FIRSTS:
            with suppress(sqlite3.Error):
                return {TopicPartition(topic, at): first for topic, at, first in self._connection.execute(query)}
        return {}

    def _numbers(self) -> tuple[int, int]:
        """The first and the last number that a row may have. Rows are numbered as they are written."""
        first, last = 1, None
        with suppress(sqlite3.Error):
            first = self._connection.execute("SELECT min(rowid) FROM records NOT INDEXED").fetchone()[0] or 1
        with suppress(sqlite3.Error):
            last = self._connection.execute("SELECT max(rowid) FROM records NOT INDEXED").fetchone()[0] or 0
        if last is None:
            partitions, _ = self.rows("partitions")
            last = sum(offset for _, _, offset in partitions if isinstance(offset, int))
        return first, last

    def _some(self, start: int, stop: int) -> Iterator[SavedRecord]:
        """The rows with these numbers: together, or half and half again where that runs into damage."""
        try:
            rows = self._connection.execute(self._select, (start, stop)).fetchall()
        except sqlite3.Error:
            if stop - start > 1:
                middle = (start + stop) // 2
                yield from self._some(start, middle)
                yield from self._some(middle, stop)
            return
        for row in rows:
            if (saved := _saved(*row)) is not None:
                yield saved


def _saved(topic: Any, partition: Any, offset: Any, timestamp_ms: Any, *content: Any) -> SavedRecord | None:
    numbers = all(isinstance(number, int) and number >= 0 for number in (partition, offset, timestamp_ms))
    if not isinstance(topic, str) or not numbers or not records.is_whole(*content):
        return None
    return SavedRecord(TopicPartition(topic, partition), offset, timestamp_ms, *content)


def _what_can_be_read(path: Path) -> str:
    """In words, for whoever has to decide what to do; after a while what was found until then."""
    until_s = time.monotonic() + SURVEY_S
    try:
        remains = Remains(path)
    except LogError:
        return "nothing of it can be read"
    with closing(remains):
        found = Counter(record.partition.topic for record in remains.records(lambda: time.monotonic() > until_s))
        known, _ = remains.rows("positions")
    least = "at least " if time.monotonic() > until_s else ""
    listed = ", ".join(f"{topic} {count}" for topic, count in sorted(found.items())) or "none"
    return f"{least}{found.total()} records can be read ({listed}), and {len(known)} positions of groups"
