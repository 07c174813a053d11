"""The file of an embedded log: its tables, its connections, its transactions."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adapters.log import LogError, LogUnavailable, PublishFailed

APPLICATION_ID: Final = 0x4543474C  # "ECGL" in the file's header: a database of somebody else is not touched
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 10.0  # how long one writer waits for another; a transaction here takes milliseconds
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024  # what the write-ahead log keeps on disk after a checkpoint
WAL_ATTEMPTS: Final = 100  # switching a new file to WAL does not wait for other processes by itself
WAL_PAUSE_S: Final = 0.05

REMEDY: Final = "name another file in ECG_LOG, or give this user the right to it"
SALVAGE: Final = "`ecg-worker log salvage FILE` saves what can be read, or restore a copy that `log backup` made"
# By the kind of error, which is the lowest byte of SQLite's code; by the whole code where that says more. SQLite's own
# texts would quote statements; these do not.
CAUSES: Final = {
    sqlite3.SQLITE_NOTADB: "the file is no database; name another file in ECG_LOG, or restore a copy of the log",
    sqlite3.SQLITE_CORRUPT: f"the file is damaged; {SALVAGE}",
    sqlite3.SQLITE_READONLY: f"the file is read-only; {REMEDY}",
    sqlite3.SQLITE_READONLY_DIRECTORY: f"the file's folder is read-only; {REMEDY}",
    sqlite3.SQLITE_CANTOPEN: f"the file cannot be opened; {REMEDY}",
    sqlite3.SQLITE_PERM: f"the file may not be used; {REMEDY}",
    sqlite3.SQLITE_FULL: "the disk is full; make room, and bound the log with ECG_LOG_KEEP_BYTES",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; look for errors of the disk in this machine's own log, "
    "and copy the log to another disk with `ecg-worker log backup FILE`",
    sqlite3.SQLITE_NOMEM: "there is no memory left; give this process more",
    sqlite3.SQLITE_BUSY: "another process kept the file locked for too long",
    sqlite3.SQLITE_LOCKED: "another process kept the file locked for too long",
    sqlite3.SQLITE_PROTOCOL: "the file's locks do not work; move it to a disk of this machine, and name it in ECG_LOG",
}


class LogDamaged(LogError):
    """The file is not what was written. `flaw` is what SQLite says of it: numbers of pages, names of tables."""

    def __init__(self, message: str, flaw: str = "") -> None:
        super().__init__(message)
        self.flaw = flaw


SCHEMA: Final = """
CREATE TABLE partitions (
    topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE records (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL, key BLOB, headers BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (topic, partition, offset));
CREATE INDEX records_by_time ON records (topic, partition, timestamp_ms, offset);
CREATE TABLE groups (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
-- One row for each name a member ever had. `epoch` counts the processes that took it; `topics` is null if none has it.
CREATE TABLE members (
    group_name TEXT NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL, topics TEXT, seen_ms INTEGER NOT NULL,
    PRIMARY KEY (group_name, name)) WITHOUT ROWID;
-- `since` is the group's generation in which the partition came to this member.
CREATE TABLE assignments (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    member TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, partition)) WITHOUT ROWID;
CREATE TABLE positions (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (group_name, topic, partition)) WITHOUT ROWID;
"""

# What came later. The version before works on a file that has it, so both may be in one group.
LATER: Final = """
-- Where a group that has not committed yet began: what it may not lose without being told.
CREATE TABLE IF NOT EXISTS starts (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, partition)) WITHOUT ROWID;
"""


def create(path: Path) -> None:
    """Make the file if it is missing, readable by this user only: it holds patient data. Raises LogError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LogError(f"the folder of {path} cannot be made: {error.strerror}; {REMEDY}") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise LogError(f"{path} cannot be opened for reading and writing: {error.strerror}; {REMEDY}") from None
    connection = connect(path)
    try:
        with transaction(connection):
            (identity,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if (identity, version, tables) == (0, 0, 0):
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif (identity, version) != (APPLICATION_ID, SCHEMA_VERSION):
                raise LogError(f"{path} is a database of something else, or of another version; {REMEDY}")
            _add_what_came_later(connection)
    finally:
        connection.close()


def _add_what_came_later(connection: sqlite3.Connection) -> None:
    for statement in LATER.split(";\n"):
        connection.execute(statement)
    if "crc32" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(records)")}:
        # Of key, headers and value. SQLite has no checksums: a bit that fell over on the disk would be somebody's ECG.
        connection.execute("ALTER TABLE records ADD COLUMN crc32 INTEGER")


def connect(path: Path) -> sqlite3.Connection:
    """A connection of its own for one thread at a time: durable on commit, patient with other writers."""
    with translate_errors(f"opening {path}"):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        # One bit makes text of a record's bytes. That it is none, its checksum says; it does not end the reading.
        connection.text_factory = _text
        try:
            connection.execute("PRAGMA synchronous = FULL")
            # What is pruned is overwritten, whatever this SQLite was built to do: it was somebody's ECG.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            _use_wal(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _use_wal(connection: sqlite3.Connection) -> None:
    for attempt in range(WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if primary(error) == sqlite3.SQLITE_READONLY or attempt == WAL_ATTEMPTS - 1:
                raise
            time.sleep(WAL_PAUSE_S)
        else:
            return


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of it or nothing. IMMEDIATE is the only writer from its start; DEFERRED reads one unchanging state."""
    with translate_errors("a transaction"):
        connection.execute(f"BEGIN {kind}")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def publishing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction of a publisher: what the file could not do in time is PublishFailed."""
    try:
        with transaction(connection):
            yield
    except LogUnavailable as error:
        raise PublishFailed(f"transaction not committed: {error}") from None


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Raise SQLite's errors as ours, by their kind."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        cause = CAUSES.get(code) or CAUSES.get(primary(error))
        # An extended name tells whoever looks into it which call failed.
        said = f"{cause} ({name})" if cause and code != primary(error) else cause or name
        raise _kind(error)(f"{doing}: {said}") from None


def primary(error: sqlite3.Error) -> int:
    """The kind of an error, without what SQLite says beyond that: SQLITE_IOERR of SQLITE_IOERR_READ."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _kind(error: sqlite3.Error) -> type[LogError]:
    if primary(error) == sqlite3.SQLITE_CORRUPT:
        return LogDamaged
    return LogUnavailable if isinstance(error, sqlite3.OperationalError) else LogError
