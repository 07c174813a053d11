"""What only the embedded log has to show: its file, leases, how partitions are shared out, and that kill -9 is safe."""

import errno
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.log import Fenced, Log, LogError, LogUnavailable, Message, Position, PublishFailed, TopicPartition
from adapters.sqlite.database import _use_wal, translate_errors
from adapters.sqlite.groups import LEASE_MS, share_out
from adapters.sqlite.log import SqliteLog
from tests.contract.worker import joined, read_all

TRANSACTION = 7  # messages in one, so that half of one would show

PUBLISHER = f"""
import sys
from pathlib import Path
from adapters.log import Message, Position
from adapters.sqlite.log import SqliteLog

member = SqliteLog(Path(sys.argv[1])).join("group", ["inbound"], "worker-0")
(partition, position), = member.poll(0, 1).assigned.items()
member.poll(0, 1)
n = position.offset if position else 0
print("ready", flush=True)
while True:
    n += 1
    member.publish([Message("findings", b"%d-%d" % (n, k), b"%d" % n) for k in range({TRANSACTION})],
                   {{partition: Position(n, str(n))}})
"""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(path: Path, clock: Clock) -> Iterator[SqliteLog]:
    with closing(SqliteLog(path, clock)) as log:
        log.create_topics({"inbound": 4, "findings": 2})
        yield log


def test_the_file_is_for_its_owner_only(log: Log, path: Path) -> None:
    log.append([Message("inbound", b"k", b"v")])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_what_was_written_is_there_after_reopening(log: Log, path: Path) -> None:
    log.append([Message("inbound", b"k", b"v")])
    with closing(SqliteLog(path)) as again:
        assert [record.value for record in read_all(again, "inbound")] == [b"v"]


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, whatever its name may be\n" * 100)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    for foreign, cause in (
        (text, "the file is no database"),
        (database, "a database of something else"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(LogError, match=cause) as refused:
            SqliteLog(foreign)
        assert str(foreign) in str(refused.value)
        assert "in ECG_LOG" in str(refused.value)
    assert text.read_text().startswith("not a database")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_folder_that_cannot_be_made_is_named_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "folder" / "log.db"
    with pytest.raises(LogError, match="Not a directory") as refused:
        SqliteLog(path)
    assert f"the folder of {path} cannot be made" in str(refused.value)


def test_a_file_on_a_read_only_disk_is_named_with_the_cause(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LogError, match="opened for reading and writing: Read-only file system") as refused:
        SqliteLog(path)
    assert str(path) in str(refused.value)


def test_a_file_that_may_not_be_written_says_so_at_once(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something (x)")
    began = time.monotonic()
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        pytest.raises(LogUnavailable, match="opening it: the file is read-only; name another"),
        translate_errors("opening it"),
    ):
        _use_wal(connection)
    assert time.monotonic() - began < 8


def test_timestamps_are_the_clock_s(log: Log, clock: Clock) -> None:
    log.append([Message("inbound", b"k", b"0")])
    clock.now_s += 60
    ((partition, _),) = log.append([Message("inbound", b"k", b"1")])
    assert [record.timestamp_ms for record in read_all(log, "inbound")] == [1_700_000_000_000, 1_700_000_060_000]
    assert log.offset_at(partition, 1_700_000_000_001) == 1


def test_records_without_a_key_spread_over_the_partitions(log: Log) -> None:
    where = log.append([Message("inbound", None, b"") for _ in range(8)])
    assert sorted(offset for _, offset in where) == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_member_that_stops_polling_loses_its_partitions_when_its_lease_ends(log: Log, clock: Clock) -> None:
    with joined(log, "group", "inbound", "alive") as alive, joined(log, "group", "inbound", "dead") as dead:
        alive.poll(0)
        dead.poll(0)
        dead.poll(0)
        assert len(alive.owned) == len(dead.owned) == 2
        clock.now_s += LEASE_MS / 1000 - 1
        alive.poll(0)
        assert len(alive.owned) == 2
        clock.now_s += 4
        alive.poll(0)
        assert len(alive.owned) == 4
        with pytest.raises(PublishFailed):
            dead.member.publish([Message("findings", b"k", b"zombie")], {next(iter(dead.owned)): Position(1)})
        assert read_all(log, "findings") == []
        dead.poll(0)
        assert len(dead.owned) == 2
        alive.poll(0)
        assert len(alive.owned) == 2


def test_a_partition_that_came_back_voids_what_was_in_work_before(log: Log, clock: Clock) -> None:
    with joined(log, "group", "inbound", "first") as first:
        first.poll(0)
        first.poll(0)
        with joined(log, "group", "inbound", "second") as second:
            second.poll(0)
        # Taken and given back without the first having looked: its results are of before.
        moved = next(iter(second.owned))
        with pytest.raises(PublishFailed):
            first.member.publish([Message("findings", b"k", b"stale")], {moved: Position(1)})
        first.poll(0)
        assert sorted(first.revoked) == sorted(second.owned)
        assert len(first.owned) == 4


def test_a_member_finds_out_by_polling_that_its_name_was_taken(log: Log) -> None:
    with joined(log, "group", "inbound", "worker-0") as first:
        first.poll(0)
        with joined(log, "group", "inbound", "worker-0"), pytest.raises(Fenced):
            first.poll(0)


def test_a_member_may_read_several_topics(log: Log) -> None:
    member = log.join("group", ["inbound", "findings"], "worker-0")
    assert len(member.poll(0, 1).assigned) == 6
    member.close()


def test_a_full_partition_does_not_starve_the_others(log: Log) -> None:
    log.append([Message("inbound", b"%d" % n, b"") for n in range(100)])
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        for _ in range(4):
            worker.poll(0, max_records=1)
        assert len({record.topic_partition for record in worker.records}) == 4


def test_a_locked_file_fails_the_publish_and_harms_nothing(
    log: Log, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.sqlite.database.BUSY_TIMEOUT_S", 0.05)
    with joined(log, "group", "inbound") as worker, closing(sqlite3.connect(path, isolation_level=None)) as other:
        worker.poll(0)
        worker.poll(0)
        other.execute("BEGIN IMMEDIATE")
        partition = next(iter(worker.owned))
        with pytest.raises(PublishFailed, match="kept the file locked"):
            worker.member.publish([Message("findings", b"k", b"v")], {partition: Position(1)})
        other.execute("ROLLBACK")
        worker.member.publish([Message("findings", b"k", b"v")], {partition: Position(1)})
    assert len(read_all(log, "findings")) == 1


def test_kill_9_leaves_every_transaction_whole(path: Path) -> None:
    rng = random.Random(0)
    with closing(SqliteLog(path)) as log:
        log.create_topics({"inbound": 1, "findings": 2})
        done: list[int] = []
        for _ in range(8):
            with subprocess.Popen([sys.executable, "-c", PUBLISHER, str(path)], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(rng.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
            position = log.committed("group", TopicPartition("inbound", 0)) or Position(0, "0")
            assert position.metadata == str(position.offset)
            keys = sorted(record.key or b"" for record in read_all(log, "findings"))
            whole = [b"%d-%d" % (n, k) for n in range(1, position.offset + 1) for k in range(TRANSACTION)]
            assert keys == sorted(whole)
            done.append(position.offset)
    assert done == sorted(done)
    assert done[-1] > 0


TOPICS = st.sampled_from(["a", "b", "c"])
PARTITIONS = st.lists(st.builds(TopicPartition, TOPICS, st.integers(0, 5)), unique=True)
MEMBERS = st.dictionaries(st.sampled_from("mnop"), st.frozensets(TOPICS, min_size=1))


@given(partitions=PARTITIONS, members=MEMBERS, owners=st.dictionaries(TOPICS, st.sampled_from("mnopx")))
def test_partitions_go_to_members_that_read_them_and_all_that_can_go_do(
    partitions: list[TopicPartition], members: dict[str, frozenset[str]], owners: dict[str, str]
) -> None:
    had = {partition: owners[partition.topic] for partition in partitions if partition.topic in owners}
    shares = share_out(partitions, had, members)
    assert shares == share_out(list(reversed(partitions)), had, dict(reversed(members.items())))
    assert shares.keys() == {p for p in partitions if any(p.topic in topics for topics in members.values())}
    assert all(partition.topic in members[name] for partition, name in shares.items())


@given(count=st.integers(0, 40), members=st.integers(1, 6), joining=st.booleans())
def test_shares_are_even_and_only_what_must_move_moves(count: int, members: int, joining: bool) -> None:
    partitions = [TopicPartition("a", n) for n in range(count)]
    names = {f"member-{n}": frozenset("a") for n in range(members)}
    before = share_out(partitions, {}, names)
    after_names = names | {"one-more": frozenset("a")} if joining else dict(list(names.items())[1:] or names.items())
    after = share_out(partitions, before, after_names)
    sizes = [list(after.values()).count(name) for name in after_names]
    assert max(sizes) - min(sizes) <= 1
    moved = sum(before[p] != after[p] for p in partitions)
    leaver = set(names) - set(after_names)
    must_move = count // len(after_names) if joining else sum(owner in leaver for owner in before.values())
    assert moved == must_move
