"""Copies of an embedded log while it is written, damage recognised, and what is saved of a damaged file."""

import os
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import LogError, LogUnavailable, Message, Position, TopicPartition
from adapters.sqlite import damage
from adapters.sqlite.copies import Salvage, backup, salvage
from adapters.sqlite.damage import check_fully
from adapters.sqlite.database import LogDamaged, translate_errors
from adapters.sqlite.log import SqliteLog
from tests.contract.worker import joined, read_all

PAGE_BYTES = 4096
ONE = TopicPartition("inbound", 0)


def no_progress(_: int, __: int) -> None: ...


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A log of 60 inbound records of 20 KB and 60 small findings, of which a group has read 40, closed in order."""
    rng = random.Random(0)
    path = tmp_path / "log.db"
    with closing(SqliteLog(path)) as log:
        log.create_topics({"inbound": 1, "findings": 2})
        for n in range(60):
            log.append([Message("inbound", b"%d" % n, rng.randbytes(20_000)), Message("findings", b"%d" % n, b"{}")])
        with joined(log, "group", "inbound") as worker:
            worker.poll(0)
            worker.poll(0)
            worker.member.publish([], {ONE: Position(40, "note")})
    yield path


def overwrite(path: Path, page: int, content: bytes = b"\xa5" * PAGE_BYTES) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(content)


def pages_of(path: Path, name: str, kind: str) -> list[int]:
    """The pages of a table or an index that are of this kind: internal, leaf, overflow."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ?", (name, kind)).fetchall()
    return [page for (page,) in rows]


def saved(path: Path, target: Path) -> tuple[Salvage, dict[str, list[int]]]:
    """What the salvage says, and which records the new log gives."""
    said = salvage(path, target, no_progress)
    with closing(SqliteLog(target)) as log:
        read = {topic: read_all(log, topic) for topic in ("inbound", "findings")}
    assert all(record.unreadable is None for records in read.values() for record in records)
    return said, {topic: sorted(record.offset for record in records) for topic, records in read.items()}


def test_a_copy_is_one_moment_of_a_log_that_is_written(path: Path, tmp_path: Path) -> None:
    target, done, steps = tmp_path / "copy.db", threading.Event(), list[int]()
    with closing(SqliteLog(path)) as log:
        log.append([Message("inbound", b"k", bytes(1_000_000)) for _ in range(40)])

        def write() -> None:
            with closing(SqliteLog(path)) as other:
                while not done.is_set():
                    other.append([Message("inbound", b"k", b"v"), Message("findings", b"k", b"v")])

        writing = threading.Thread(target=write)
        writing.start()
        try:
            backup(path, target, lambda pages, _: steps.append(pages))
        finally:
            done.set()
            writing.join()
        end = log.bounds(ONE)[1]
    assert len(steps) > 3  # in steps, and none of them taken twice
    assert steps == sorted(set(steps))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("copy")] == ["copy.db"]
    with closing(SqliteLog(target)) as copy:
        inbound, findings = len(read_all(copy, "inbound")), len(read_all(copy, "findings"))
        assert inbound - 40 == findings  # both halves of each transaction
        assert 100 <= inbound <= end
        assert copy.committed("group", ONE) == Position(40, "note")


def test_a_copy_takes_nobody_s_place(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("mine")
    for copying in (backup, salvage):
        with pytest.raises(LogError, match=r"copy\.db is there already; name a new file"):
            copying(path, target, no_progress)
    assert target.read_text() == "mine"
    with pytest.raises(LogError, match="No such file or directory; name another place"):
        backup(path, tmp_path / "nowhere" / "copy.db", no_progress)


def test_a_copy_that_fails_leaves_nothing(path: Path, tmp_path: Path) -> None:
    overwrite(path, pages_of(path, "records", "leaf")[0])
    with pytest.raises(LogDamaged):
        backup(path, tmp_path / "copy.db", no_progress)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith("copy")]


@pytest.mark.parametrize(
    ("table", "kind"),
    [("records", "leaf"), ("records", "internal"), ("records", "overflow"), ("sqlite_autoindex_records_1", "leaf"),
     ("records_by_time", "leaf"), ("partitions", "leaf"), ("positions", "leaf")],
)  # fmt: skip
def test_damage_is_seen_at_start_and_told_with_what_can_be_saved(
    path: Path, tmp_path: Path, table: str, kind: str
) -> None:
    page = pages_of(path, table, kind)[0]
    # An overflow page begins with the number of the next one: that is what SQLite can tell by.
    overwrite(path, page)
    with pytest.raises(LogDamaged, match=r"is damaged .*records can be read .*log salvage FILE") as told:
        SqliteLog(path)
    assert str(path) in str(told.value)
    before = path.read_bytes()
    said, offsets = saved(path, tmp_path / "new.db")
    assert path.read_bytes() == before
    counts = {topic.topic: topic.records for topic in said.topics}
    assert counts == {topic: len(held) for topic, held in offsets.items()}
    for topic, count in counts.items():
        assert (f"{topic} {count}" in str(told.value)) is (count > 0)
    lost = 120 - sum(counts.values())
    assert sum(topic.missing for topic in said.topics) == lost
    with closing(SqliteLog(tmp_path / "new.db")) as log:
        check_fully(tmp_path / "new.db")
        assert log.bounds(ONE)[1] == 60
        assert log.committed("group", ONE) == (None if table == "positions" else Position(40, "note"))
        assert said.incomplete == ((table,) if table in ("partitions", "positions") else ())
        log.append([Message("inbound", b"k", b"new")])
        assert read_all(log, "inbound")[-1].offset == 60
    if table == "records" and kind != "internal":
        assert 0 < lost < 60
    elif table != "records":
        assert lost == 0


def test_a_start_that_fails_does_not_look_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "SURVEY_S", 0.0)
    overwrite(path, pages_of(path, "records", "leaf")[0])
    with pytest.raises(LogDamaged, match=r"at least 0 records can be read \(none\), and 1 positions"):
        SqliteLog(path)


def test_a_group_is_told_what_a_salvage_could_not_save(path: Path, tmp_path: Path) -> None:
    overwrite(path, pages_of(path, "records", "overflow")[-1])
    _, offsets = saved(path, tmp_path / "new.db")
    (lost,) = set(range(60)) - set(offsets["inbound"])
    with closing(SqliteLog(tmp_path / "new.db")) as log:
        member = log.join("new", ["inbound"], "worker-0")
        gone: list[range] = []
        read: list[int] = []
        for _ in range(4):
            polled = member.poll(0, 100)
            gone += polled.gone.values()
            read += [record.offset for record in polled.records]
        member.close()
    assert gone == [range(lost, lost + 1)]
    assert sorted([*read, lost]) == list(range(60))


def test_a_file_that_lost_its_end_is_recognised_and_read_up_to_there(path: Path, tmp_path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(LogDamaged, match="records can be read"):
        SqliteLog(path)
    said, offsets = saved(path, tmp_path / "new.db")
    assert 20 <= len(offsets["inbound"]) < 40
    assert offsets["inbound"] == list(range(len(offsets["inbound"])))
    assert {topic.topic: topic.missing for topic in said.topics}["inbound"] == 60 - len(offsets["inbound"])


def test_what_was_written_last_is_saved_too(path: Path, tmp_path: Path) -> None:
    """After kill -9 it lies in the write-ahead log alone."""
    copy = tmp_path / "killed" / "log.db"
    copy.parent.mkdir()
    with closing(SqliteLog(path)) as log:
        log.append([Message("inbound", b"k", b"last")])
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{copy}{end}")
    overwrite(copy, pages_of(path, "records", "overflow")[-1])
    assert Path(f"{copy}-wal").stat().st_size > 0
    _, offsets = saved(copy, tmp_path / "new.db")
    assert (len(offsets["inbound"]), offsets["inbound"][-1]) == (60, 60)
    with pytest.raises(LogDamaged, match=r"is damaged \(.* page .*\); 120 records can be read"):
        SqliteLog(copy)


def test_a_file_without_a_first_page_is_no_log_any_more(path: Path, tmp_path: Path) -> None:
    overwrite(path, 1)
    with pytest.raises(LogError, match="restore a copy"):
        SqliteLog(path)
    with pytest.raises(LogError, match=r"nothing of .* can be read; restore a copy"):
        salvage(path, tmp_path / "new.db", no_progress)
    assert not (tmp_path / "new.db").exists()


def test_another_database_is_not_salvaged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(LogError, match="is no log"):
        salvage(tmp_path / "other.db", tmp_path / "new.db", no_progress)


def test_a_large_file_is_checked_in_part_at_start_and_in_full_when_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "CHECKED_AT_OPEN_BYTES", 1000)
    overwrite(path, pages_of(path, "records_by_time", "leaf")[0])
    SqliteLog(path).close()
    with pytest.raises(LogDamaged, match="120 records can be read"):
        check_fully(path)
    overwrite(path, pages_of(path, "positions", "leaf")[0])
    with pytest.raises(LogDamaged, match="120 records can be read"):
        SqliteLog(path)


def test_damage_that_is_met_while_reading_ends_the_reading_with_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "CHECKED_AT_OPEN_BYTES", 1000)
    overwrite(path, pages_of(path, "records", "leaf")[0])
    with closing(SqliteLog(path)) as log, pytest.raises(LogDamaged, match="the file is damaged; `ecg-worker log salv"):
        read_all(log, "inbound")


def test_a_bit_that_fell_over_is_told_of_its_record_and_of_no_other(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute("SELECT value FROM records WHERE topic = 'inbound' AND offset = 5").fetchone()
    content = path.read_bytes()
    at = content.index(value[8000:8100])
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with closing(SqliteLog(path)) as log:
        assert check_fully(path) == 1  # to SQLite all is well
        assert backup(path, tmp_path / "copy.db", no_progress) == 1
        read = {record.offset: record for record in read_all(log, "inbound")}
        with joined(log, "new", "inbound") as worker:
            worker.poll(0)
            assert worker.poll(0)[5] == read[5]
    assert [offset for offset, record in read.items() if record.unreadable] == [5]
    assert (read[5].unreadable, read[5].value) == ("offset 5: checksum does not match", b"")
    assert read[5].key is None
    said, offsets = saved(path, tmp_path / "new.db")
    assert offsets["inbound"] == [n for n in range(60) if n != 5]
    assert [topic.missing for topic in said.topics if topic.topic == "inbound"] == [1]


def test_a_bit_that_makes_text_of_a_value_costs_that_record_alone(path: Path) -> None:
    """SQLite has a record's types in front of it, and reads text as UTF-8, which an ECG is not."""
    content, types = path.read_bytes(), b"\x82\xb8\x4c\x05inbound"  # 20,000 bytes, a number, and the topic
    at = content.index(types) + 2
    path.write_bytes(content[:at] + b"\x4d" + content[at + 1 :])
    with closing(SqliteLog(path)) as log:
        assert check_fully(path) == 1  # to SQLite all is well
        read = read_all(log, "inbound")
        with joined(log, "new", "inbound") as worker:
            worker.poll(0)
            assert list(worker.poll(0)) == read
    assert [record.unreadable is None for record in read].count(False) == 1
    assert len(read) == 60


def test_no_new_record_gets_a_number_that_a_group_has_passed_if_the_ends_of_partitions_are_lost(
    path: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM records")
    with closing(SqliteLog(path)) as log, joined(log, "new", "inbound"):
        pass  # it begins at 60
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM positions")
        connection.execute("DELETE FROM partitions")
    salvage(path, tmp_path / "new.db", no_progress)
    with closing(SqliteLog(tmp_path / "new.db")) as log:
        assert log.bounds(ONE) == (60, 60)


def test_a_record_of_the_version_before_has_no_checksum_and_is_read(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET crc32 = NULL")
        connection.execute("UPDATE records SET headers = x'ff' WHERE topic = 'inbound' AND offset = 3")
    with closing(SqliteLog(path)) as log:
        assert [record.offset for record in read_all(log, "inbound") if record.unreadable] == [3]


def test_a_file_of_the_version_before_gets_what_it_lacks(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE records DROP COLUMN crc32")
        connection.execute("DROP TABLE starts")
    assert len(saved(path, tmp_path / "new.db")[1]["inbound"]) == 60
    for _ in range(2):
        with closing(SqliteLog(path)) as log:
            log.append([Message("inbound", b"k", b"v")])
    with closing(sqlite3.connect(path)) as connection:
        stated = connection.execute("SELECT count(crc32), count(*) FROM records WHERE topic = 'inbound'").fetchone()
    assert stated == (2, 62)


@pytest.mark.parametrize(
    ("code", "name", "kind", "words"),
    [
        (sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ", LogUnavailable, "the disk failed .*SQLITE_IOERR_READ"),
        (sqlite3.SQLITE_IOERR, "SQLITE_IOERR", LogUnavailable, "the disk failed"),
        (sqlite3.SQLITE_FULL, "SQLITE_FULL", LogUnavailable, "the disk is full; make room"),
        (sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", LogDamaged, "damaged; `ecg-worker log salvage FILE`"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "SQLITE_CORRUPT_INDEX", LogDamaged, "salvage.*SQLITE_CORRUPT_INDEX"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT", LogUnavailable, "kept the file locked"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "SQLITE_CANTOPEN_ISDIR", LogUnavailable, "cannot be opened; name another"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "SQLITE_READONLY_DBMOVED", LogUnavailable, "read-only; name another"),
    ],
)
def test_every_kind_of_error_has_a_cause_and_a_remedy(code: int, name: str, kind: type[LogError], words: str) -> None:
    error = sqlite3.OperationalError("INSERT INTO records VALUES ('SMITH')")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    with pytest.raises(kind, match=f"writing: .*{words}") as told, translate_errors("writing"):
        raise error
    assert "SMITH" not in str(told.value)
