"""Intervals as a user states them: of a replay, of `read` and of `rejections list`."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.log import Message
from adapters.sqlite.log import SqliteLog
from tests.cli.command import lines, run
from worker.model.manifest import read_manifest
from worker.provenance import VERSION

pytestmark = pytest.mark.timeout(600)

NOW_S = 1_764_268_000
FROM, TO = "2025-11-27T18:21:40Z", "2025-11-27T18:31:40Z"  # five minutes around it
TOPICS = ("ecg.inbound", "ecg.findings", "ecg.rejections", "ecg.audit", "ecg.delivery-rejections")


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Five records, of which the second is from a clock that is 50 minutes ahead."""
    clock_s = 0
    with closing(SqliteLog(tmp_path / "log.db", lambda: clock_s)) as opened:
        opened.create_topics(dict.fromkeys(TOPICS, 1))
        for number in range(5):
            clock_s = NOW_S + number + (3000 if number == 1 else 0)
            opened.append([Message("ecg.inbound", None, b"no ECG")])
    return f"sqlite://{tmp_path}/log.db"


@pytest.mark.parametrize("command", [("replay",), ("read", "ecg.inbound"), ("rejections", "list")])
@pytest.mark.parametrize("ends", [(5, 4), (TO, FROM)], ids=["offsets", "times"])
def test_a_reversed_interval_is_wrong_use(command: tuple[str, ...], ends: tuple[object, object], log: str) -> None:
    done = run(*command, "--from", ends[0], "--to", ends[1], ECG_LOG=log)
    assert done.returncode == 2, done.stderr
    assert "ends before it begins" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("ends", [(3, 3), (5, 9), ("2031-01-01", "2031-01-02")])
def test_a_replay_of_nothing_has_not_passed(
    ends: tuple[object, object], log: str, tiny_model: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    here = {"ECG_LOG": log, "ECG_MODEL": tiny_model}
    done = run("replay", "--from", ends[0], "--to", ends[1], "--report", report, **here)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "not passed: nothing was compared: no record lies in the interval"
    assert "loading the model" not in done.stderr
    written = json.loads(report.read_text())
    assert (written["all_same"], written["exit_status"], written["fingerprint_now"]) == (False, 1, None)
    assert written["model"]["digest"] == read_manifest(tiny_model).digest


def test_a_clock_that_is_ahead_hides_nothing_from_a_replay_nor_from_a_reader(
    log: str, tiny_model: Path, tmp_path: Path
) -> None:
    assert run("run", "--idle-exit", 1, ECG_LOG=log, ECG_ENGINE="echo").returncode == 0
    report = tmp_path / "report.json"
    here: dict[str, Any] = {"ECG_LOG": log, "ECG_MODEL": tiny_model, "ECG_THREADS": 1}
    done = run("replay", "--from", FROM, "--to", TO, "--report", report, **here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 records compared" in done.stdout
    assert "changed: 0 verdicts, 0 flags" in done.stdout
    written = json.loads(report.read_text())
    assert (written["all_same"], written["counts"]["same"]) == (True, 4)
    (partition,) = written["partitions"]
    assert [partition[name] for name in ("from", "to", "first", "last", "records", "outside")] == [0, 5, 0, 4, 4, 1]
    assert written["interval"]["from"] == FROM
    assert written["interval"]["to_time"] == TO
    assert written["log"]["url"] == log
    assert written["worker_version"] == VERSION
    assert len(written["settings_digest"]) == 64
    assert written["fingerprint_now"]

    read = run("read", "ecg.inbound", "--from", FROM, "--to", TO, "--envelope", **here)
    assert [line["offset"] for line in lines(read)] == [0, 2, 3, 4]


def test_rejections_are_listed_by_their_own_time(log: str, tmp_path: Path) -> None:
    assert run("run", "--idle-exit", 1, ECG_LOG=log, ECG_ENGINE="echo").returncode == 0
    clock_s = 0
    with closing(SqliteLog(tmp_path / "log.db", lambda: clock_s)) as opened:
        (record, *_) = opened.read({partition: range(5) for partition in opened.partitions("ecg.rejections")})
        for ahead_s in (0, 3000, 1, 2):
            clock_s = NOW_S + ahead_s
            opened.append([Message("ecg.rejections", None, record.value)])
    for command in (("list",), ("redrive", "--dry-run")):
        done = run("rejections", *command, "--from", FROM, "--to", TO, ECG_LOG=log)
        assert len(lines(done)) == 3, done.stderr
