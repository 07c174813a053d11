"""Pruning while others prune, write and read, and killed in the middle of it."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message, Position, PublishFailed, TopicPartition
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.member import SqliteMember
from adapters.sqlite.retention import Cut, Retention
from tests.contract.worker import read_all

MEGABYTE = 1024 * 1024
ONE = TopicPartition("inbound", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


PRUNER = """
import sys, time
from contextlib import closing
from pathlib import Path
from adapters.sqlite.database import connect
from adapters.sqlite.retention import Retention, prune_step

with closing(connect(Path(sys.argv[1]))) as connection:
    print("ready", flush=True)
    while True:
        prune_step(connection, Retention(keep_bytes=int(sys.argv[2])), round(time.time() * 1000))
"""


@pytest.mark.slow
def test_kill_9_in_a_prune_loses_nothing_that_is_to_be_kept(path: Path) -> None:
    rng, bound = random.Random(0), 2 * MEGABYTE
    with closing(SqliteLog(path)) as log:
        log.create_topics({"inbound": 1, "findings": 1})
        member = log.join("group", ["inbound"], "worker-0")
        member.poll(0, 1)
        member.poll(0, 1)
        position = 0
        for _ in range(20):
            log.append([Message("inbound", b"k", rng.randbytes(40_000)) for _ in range(60)])
            first, end = log.bounds(ONE)
            position = end - 20  # what of it is read: the last twenty are not, and fit below the bound
            member.publish([Message("findings", b"k", b"%d" % position)], {ONE: Position(position, "note")})
            command = [sys.executable, "-c", PRUNER, str(path), str(bound)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(rng.uniform(0, 0.02))
                process.send_signal(signal.SIGKILL)
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            held = [record.offset for record in read_all(log, "inbound")]
            assert held == list(range(held[0], end))  # from the front, without a gap
            assert first <= held[0] <= position
            assert log.committed("group", ONE) == Position(position, "note")
            assert all(record.unreadable is None for record in read_all(log, "inbound"))
        member.close()
    assert held[0] > 0


def test_two_processes_prune_while_others_write_and_read(path: Path) -> None:
    """Each in a thread with connections of its own, which is what processes are to SQLite."""
    kept = Retention(keep_bytes=2 * MEGABYTE)
    failures: list[Exception] = []
    done = threading.Event()
    cuts: list[Cut] = []

    def member(name: str, topic: str) -> None:
        try:
            with closing(SqliteLog(path, retention=kept, on_pruned=cuts.extend)) as log:
                own: SqliteMember = log.join(name, [topic], name)
                while not done.is_set():
                    polled = own.poll(0.01, 20)
                    after = {record.topic_partition: Position(record.offset + 1) for record in polled.records}
                    messages = [Message("findings", b"k", b"f") for _ in polled.records if topic == "inbound"]
                    own.publish(messages, after)
                    assert not polled.gone or after.keys() <= polled.gone.keys()
                own.close()
        except PublishFailed:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
            failures.append(error)

    def reader() -> None:
        try:
            with closing(SqliteLog(path)) as log:
                while not done.is_set():
                    read = list(log.read({ONE: range(10**9)}))
                    assert all(record.unreadable is None and len(record.value) == 20_000 for record in read)
                    assert [record.offset for record in read] == sorted({record.offset for record in read})
        except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
            failures.append(error)

    with closing(SqliteLog(path)) as log:
        log.create_topics({"inbound": 1, "findings": 1})
        threads = [
            threading.Thread(target=member, args=("run", "inbound")),
            threading.Thread(target=member, args=("deliver", "findings")),
            threading.Thread(target=reader),
        ]
        for thread in threads:
            thread.start()
        for _ in range(100):
            log.append([Message("inbound", b"k", bytes(20_000)) for _ in range(5)])
        time.sleep(0.5)
        done.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sum(cut.records for cut in cuts if cut.partition == ONE) == log.bounds(ONE)[0]
        assert log.bounds(ONE)[1] == 500
