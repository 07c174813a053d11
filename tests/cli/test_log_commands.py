"""The file of an embedded log looked after as a user does it."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message, Position, TopicPartition
from adapters.sqlite.log import SqliteLog
from tests.cli.command import lines, run
from tests.contract.worker import joined

DAY_S = 24 * 3600
NOW_S = 1_700_000_000.0  # long ago
ONE = TopicPartition("ecg.inbound", 0)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A log with ten inbound records of 2023, six of them read."""
    path = tmp_path / "log.db"
    with closing(SqliteLog(path, lambda: NOW_S)) as log:
        log.create_topics({"ecg.inbound": 1, "ecg.findings": 1})
        log.append([Message("ecg.inbound", b"key", b"v" * 97) for _ in range(10)])
        with joined(log, "group", "ecg.inbound") as worker:
            worker.poll(0)
            worker.poll(0)
            worker.member.publish([Message("ecg.findings", b"k", b"f")], {ONE: Position(6)})
    # Seen today, or what it has not read would be nobody's.
    with closing(SqliteLog(path)) as log, joined(log, "group", "ecg.inbound"):
        yield path


def records(url: str) -> dict[str, int]:
    """How many each topic holds."""
    return {line["topic"]: line["records"] for line in lines(run("log", "stats", "--log", url)) if "topic" in line}


def test_stats_tell_what_there_is_and_who_has_it_to_read(path: Path) -> None:
    done = run("log", "stats", "--log", f"sqlite://{path}", ECG_LOG_KEEP_DAYS=30)
    assert (done.returncode, done.stderr) == (0, "")
    *topics, file = lines(done)
    inbound = next(topic for topic in topics if topic["topic"] == "ecg.inbound")
    (group,) = inbound.pop("groups")
    assert inbound == {
        "topic": "ecg.inbound", "partitions": 1, "records": 10, "bytes": 1030,
        "oldest": "2023-11-14T22:13:20+00:00", "newest": "2023-11-14T22:13:20+00:00",
    }  # fmt: skip
    assert (group["group"], group["behind"], group["gone"]) == ("group", 4, 0)
    assert group["seen"] > "2024"
    assert [topic["topic"] for topic in topics] == ["ecg.findings", "ecg.inbound"]
    assert file["file"] == str(path)
    assert (file["keep_days"], file["keep_bytes"]) == (30, None)
    assert file["bytes"] == path.stat().st_size > 0


def test_prune_says_what_would_go_and_takes_it_only_then(path: Path) -> None:
    url = f"sqlite://{path}"
    would = {"topic": "ecg.inbound", "records": 6, "bytes": 6 * (103 + 128), "unread": 0}
    dry = run("log", "prune", "--keep-days", "30", "--dry-run", "--log", url)
    assert (dry.returncode, dry.stderr) == (0, "7 records would be pruned, 0 of them unread by a group\n")
    assert lines(dry)[1] == would | {"dry_run": True}
    assert records(url)["ecg.inbound"] == 10
    done = run("log", "prune", "--log", url, ECG_LOG_KEEP_DAYS=30)
    assert lines(done)[1] == would | {"dry_run": False}
    left = records(url)
    assert (left["ecg.inbound"], left["ecg.findings"]) == (4, 0)
    assert lines(run("log", "prune", "--keep-days", "30", "--log", url)) == []


def test_prune_without_a_bound_is_a_wrong_use(path: Path) -> None:
    done = run("log", "prune", "--log", f"sqlite://{path}")
    assert done.returncode == 2
    assert "set ECG_LOG_KEEP_DAYS or ECG_LOG_KEEP_BYTES" in done.stderr
    done = run("log", "prune", "--keep-bytes", "5", "--log", f"sqlite://{path}")
    assert done.returncode == 2
    assert "--keep-bytes: 5 is less than 1e+08" in done.stderr


def test_a_copy_and_a_salvage_are_logs_and_take_nobody_s_place(path: Path, tmp_path: Path) -> None:
    url, copy, new = f"sqlite://{path}", tmp_path / "copy.db", tmp_path / "new.db"
    done = run("log", "backup", copy, "--log", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done) == [{"file": str(copy), "bytes": copy.stat().st_size, "checked": True, "broken_records": 0}]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    again = run("log", "backup", copy, "--log", url)
    assert (again.returncode, again.stdout) == (1, "")
    assert "copy.db is there already; name a new file" in again.stderr
    salvaged = run("log", "salvage", new, "--log", f"sqlite://{copy}")
    assert salvaged.returncode == 0, salvaged.stderr
    assert {"topic": "ecg.inbound", "records": 10, "missing": 0} in lines(salvaged)
    assert lines(salvaged)[-1] == {"file": str(new), "positions": 1, "incomplete": []}
    assert [records(f"sqlite://{file}")["ecg.inbound"] for file in (copy, new)] == [10, 10]


def test_a_record_that_is_not_what_was_written_is_told_of_the_log_and_of_its_copy(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET value = ? WHERE topic = 'ecg.inbound' AND offset = 3", (b"w" * 97,))
    done = run("log", "backup", tmp_path / "copy.db", "--log", f"sqlite://{path}")
    assert (done.returncode, lines(done)[0]["broken_records"]) == (1, 1)
    assert "keep the copies from before" in done.stderr
    assert (tmp_path / "copy.db").exists()
    checked = run("check", "--log", f"sqlite://{path}")
    assert checked.returncode == 1
    assert "1 of its records are not what was written" in checked.stderr


def test_looking_at_a_log_makes_no_topics(path: Path) -> None:
    assert records(f"sqlite://{path}").keys() == {"ecg.inbound", "ecg.findings"}


def test_a_damaged_log_is_told_at_start_and_salvaged(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert run("log", "backup", copy, "--log", f"sqlite://{path}").returncode == 0
    content = bytearray(copy.read_bytes())
    at = content.index(b"v" * 97)
    page = at // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    copy.write_bytes(content)
    for arguments in (["log", "stats"], ["run"], ["check"]):
        done = run(*arguments, "--log", f"sqlite://{copy}", ECG_ENGINE="echo")
        assert done.returncode == 1
        assert "is damaged" in done.stderr
        assert "records can be read" in done.stderr
        assert "`ecg-worker log salvage FILE` saves what can be read" in done.stderr
    done = run("log", "salvage", tmp_path / "new.db", "--log", f"sqlite://{copy}")
    assert done.returncode == 1
    assert {"topic": "ecg.inbound", "records": 0, "missing": 10} in lines(done)
    assert f"move {copy}, {copy}-wal and {copy}-shm elsewhere" in " ".join(done.stderr.split())


def test_check_reads_every_page(path: Path) -> None:
    assert "ok    file: " in run("check", "--log", f"sqlite://{path}", ECG_ENGINE="echo").stderr


@pytest.mark.parametrize(
    ("kept", "code", "said"),
    [
        ({}, 0, "ok    retention: the log keeps every record for ever"),
        ({"ECG_LOG_KEEP_DAYS": 2192}, 0, "ok    retention: the log keeps every record for 2192 days"),
        (
            {"ECG_LOG_KEEP_DAYS": 2191},
            1,
            "FAIL  retention: the log keeps records for 2191 days, and 2192 days are asked",
        ),
        ({"ECG_LOG_KEEP_BYTES": 10**9}, 0, "warn  retention: what does not fit into 1000000000 bytes goes"),
    ],
)
def test_check_holds_retention_to_what_an_audit_asks(path: Path, kept: dict[str, object], code: int, said: str) -> None:
    done = run("check", "--log", f"sqlite://{path}", **{"ECG_ENGINE": "echo", **kept})
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("arguments", [["stats"], ["prune", "--keep-days", "1"], ["backup", "x"], ["salvage", "x"]])
def test_kafka_and_a_file_that_is_not_there_are_a_wrong_use(arguments: list[str], tmp_path: Path) -> None:
    done = run("log", *arguments, "--log", "kafka://127.0.0.1:1")
    assert done.returncode == 2
    assert "is for an embedded log, sqlite:///PATH" in done.stderr
    done = run("log", *arguments, "--log", f"sqlite://{tmp_path}/none.db")
    assert done.returncode == 2
    assert "there is no log at" in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_retention_of_an_embedded_log_is_refused_for_kafka() -> None:
    done = run("submit", __file__, "--log", "kafka://127.0.0.1:1", ECG_LOG_KEEP_DAYS=30)
    assert done.returncode != 0
    assert "each topic has its own retention; unset ECG_LOG_KEEP_DAYS" in done.stderr


@pytest.mark.parametrize("name", ["stats", "prune", "backup", "salvage"])
def test_help_has_an_example(name: str) -> None:
    assert f"Example: ecg-worker log {name}" in run("log", name, "--help").stdout
