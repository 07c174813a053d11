"""The running service, on both logs: submit, run, read, check, stop, kill."""

import contextlib
import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.log import Position, TopicPartition
from adapters.open_log import open_log
from cli.wiring.model import DEMO_MODEL
from simulator.cohort import cohort
from tests.cli.command import command, environment, lines, run

# Each test starts a dozen processes that load torch: a minute here, several on a loaded machine.
pytestmark = pytest.mark.timeout(600)

SUBMITTED = 15


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> dict[str, object]:
    """A log with topics of this test's own, the model, and a group."""
    run_id = uuid4().hex[:8]
    log = f"sqlite://{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka_url")
    return {
        "ECG_LOG": log,
        "ECG_MODEL": tiny_model,
        "ECG_GROUP": f"group-{run_id}",
        "ECG_INBOUND_TOPIC": f"inbound-{run_id}",
        "ECG_FINDINGS_TOPIC": f"findings-{run_id}",
        "ECG_REJECTIONS_TOPIC": f"rejections-{run_id}",
        "ECG_AUDIT_TOPIC": f"audit-{run_id}",
        "ECG_THREADS": 1,
    }


@pytest.fixture(scope="module")
def inbound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inbound")
    for submission in cohort():
        (folder / submission.file_name).write_bytes(submission.payload)
    return folder


TOPICS = ("ECG_INBOUND_TOPIC", "ECG_FINDINGS_TOPIC", "ECG_REJECTIONS_TOPIC", "ECG_AUDIT_TOPIC")


def create_topics(settings: dict[str, Any]) -> None:
    with closing(open_log(settings["ECG_LOG"])) as log:
        log.create_topics({settings[topic]: 3 for topic in TOPICS})


def values(settings: dict[str, Any], *topics: str) -> list[dict[str, Any]]:
    """The committed records of these topics, decoded."""
    with closing(open_log(settings["ECG_LOG"])) as log:
        ranges = {part: range(*log.bounds(part)) for topic in topics for part in log.partitions(settings[topic])}
        return [json.loads(record.value) for record in log.read(ranges)]


def results(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that a reader sees: committed findings and rejections."""
    return values(settings, "ECG_FINDINGS_TOPIC", "ECG_REJECTIONS_TOPIC")


def sources(settings: dict[str, Any]) -> Counter[tuple[int, int]]:
    return Counter((item["source"]["partition"], item["source"]["offset"]) for item in results(settings))


@contextlib.contextmanager
def worker(log_file: Path, *arguments: object, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """`ecg-worker run` in the background; killed at the end if it still runs."""
    with log_file.open("ab") as sink:
        process = subprocess.Popen(command("run", *arguments), env=environment(**settings), stdout=sink, stderr=sink)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def logged(log_file: Path, event: str) -> bool:
    return any(json.loads(line).get("event") == event for line in log_file.read_text().splitlines() if line[:1] == "{")


def wait_for(log_file: Path, event: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not logged(log_file, event):
        assert time.monotonic() < deadline, f"{event!r} never came:\n{log_file.read_text()[-3000:]}"
        time.sleep(0.05)


def test_every_submitted_record_becomes_one_result(settings: dict[str, Any], inbound: Path, tmp_path: Path) -> None:
    assert run("check", "--create-topics", **settings).returncode == 0
    submitted = run("submit", inbound, **settings)
    assert submitted.returncode == 0, submitted.stderr
    done = run("run", "--idle-exit", 1, **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "642341" not in done.stderr, "a patient id in the log"

    found = results(settings)
    places = {(line["partition"], line["offset"]): line["file"] for line in lines(submitted)}
    assert len(found) == len(places) == SUBMITTED
    by_file = {places[item["source"]["partition"], item["source"]["offset"]]: item for item in found}
    assert by_file["broken-two-patients.hl7"]["reason"] == "hl7.two_patients"
    assert by_file["broken-cut-off.dcm"]["reason"] == "dicom.malformed"
    assert by_file["real.dcm"]["assessment"]["verdict"] == "no_t_wave_inversion"
    assert by_file["saturated-v2.dcm"]["assessment"]["verdict"] == "indeterminate"
    asked = [name for name, item in by_file.items() if item.get("reasoning")]
    assert sorted(name for name in by_file if name.startswith("t-inverted")) == sorted(asked)
    assert not any(item["flag"]["raised"] for item in found if "flag" in item), "an untrained model raised a flag"

    read = run("read", settings["ECG_FINDINGS_TOPIC"], **settings)
    assert (read.returncode, read.stderr) == (0, "")
    assert len(lines(read)) == SUBMITTED - 2
    enveloped = lines(run("read", settings["ECG_FINDINGS_TOPIC"], "--envelope", **settings))
    assert all(item["headers"]["ce_id"] == item["key"] == item["value"]["finding_id"] for item in enveloped)


def test_sigterm_finishes_what_is_in_hand_and_exits_0(settings: dict[str, Any], inbound: Path, tmp_path: Path) -> None:
    create_topics(settings)
    log_file = tmp_path / "worker.log"
    with worker(log_file, **settings) as process:
        wait_for(log_file, "assignment changed")
        run("submit", inbound, **settings)
        wait_for(log_file, "committed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert logged(log_file, "stopped")
    before = sources(settings)
    assert set(before.values()) == {1}
    assert run("run", "--idle-exit", 1, **settings).returncode == 0
    after = sources(settings)
    assert (len(after), set(after.values())) == (SUBMITTED, {1})


def test_kill_9_loses_nothing_and_repeats_nothing(settings: dict[str, Any], inbound: Path, tmp_path: Path) -> None:
    create_topics(settings)
    for _ in range(2):
        run("submit", inbound, **settings)
    moments = random.Random(7)
    for attempt in range(3):
        log_file = tmp_path / f"worker-{attempt}.log"
        with worker(log_file, ECG_PUBLISH_RECORDS=1, ECG_PUBLISH_WAIT_S=0, **settings) as process:
            wait_for(log_file, "joined")
            time.sleep(moments.uniform(0, 2))
            process.kill()
    done = run("run", "--idle-exit", 2, **settings)
    assert done.returncode == 0, done.stderr
    counted = sources(settings)
    assert (len(counted), set(counted.values())) == (2 * SUBMITTED, {1})


def test_check_says_what_is_missing(settings: dict[str, Any], tmp_path: Path) -> None:
    without_model = {name: value for name, value in settings.items() if name != "ECG_MODEL"}
    done = run("check", **without_model)
    assert done.returncode == 1
    assert "FAIL  model: no model" in done.stderr
    (effective,) = lines(done)
    assert effective["group"] == settings["ECG_GROUP"]
    if str(settings["ECG_LOG"]).startswith("kafka"):
        assert "FAIL  log:" in done.stderr
        assert "--create-topics" in done.stderr


def test_check_makes_topics_and_says_which(settings: dict[str, Any]) -> None:
    here = {**settings, "ECG_ENGINE": "echo", "ECG_DELIVERY_REJECTIONS_TOPIC": f"{settings['ECG_GROUP']}-delivery"}
    del here["ECG_MODEL"]
    wrong = run("check", "--partitions", 5, **here)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--create-topics" in wrong.stderr

    done = run("check", "--create-topics", "--partitions", 5, "--replicas", 1, **here)
    assert done.returncode == 0, done.stderr
    said = line_of("topics", done.stderr)
    for topic in TOPICS:
        assert f"{here[topic]} (partitions 5, replicas 1)" in said
    assert f"{here['ECG_DELIVERY_REJECTIONS_TOPIC']} (partitions 1, replicas 1); there already: none" in said
    assert f"{here['ECG_INBOUND_TOPIC']} (5 partitions, 0 offsets)" in line_of("log", done.stderr)

    again = run("check", "--create-topics", **here)
    assert again.returncode == 0, again.stderr
    assert line_of("topics", again.stderr).startswith("ok    topics: created none; there already: inbound-")


def line_of(check: str, said: str) -> str:
    (line,) = [line for line in said.splitlines() if line[6:].startswith(f"{check}:")]
    return line


@pytest.mark.parametrize("engine", ["echo", "model"])
def test_the_log_stream_holds_json_lines_and_nothing_else(tmp_path: Path, engine: str) -> None:
    """From the first line to what libraries say when the interpreter takes itself apart."""
    chosen = {"ECG_ENGINE": "echo"} if engine == "echo" else {"ECG_MODEL": DEMO_MODEL}
    done = run("run", "--idle-exit", 1, ECG_LOG=f"sqlite://{tmp_path}/log.db", ECG_THREADS=1, **chosen)
    assert (done.returncode, done.stdout) == (0, "")
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events[-1] == "stopped"
    assert ("loading the model" in events) == (engine == "model")


def standing(settings: dict[str, Any]) -> dict[TopicPartition, Position | None]:
    """Where the live group stands in every partition."""
    with closing(open_log(settings["ECG_LOG"])) as log:
        group, topic = settings["ECG_GROUP"], settings["ECG_INBOUND_TOPIC"]
        return {partition: log.committed(group, partition) for partition in log.partitions(topic)}


def test_a_replay_says_the_same_again_and_moves_nobody(settings: dict[str, Any], inbound: Path, tmp_path: Path) -> None:
    create_topics(settings)
    run("submit", inbound, **settings)
    assert run("run", "--idle-exit", 1, **settings).returncode == 0
    before = standing(settings)
    report = tmp_path / "report.json"
    replayed = run("replay", "--from", "2000-01-01", "--to", 10**6, "--report", report, **settings)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert replayed.stderr.count(f"loading the model {settings['ECG_MODEL']} ...") == 1
    written = json.loads(report.read_text())
    assert (written["all_same"], written["counts"]["same"]) == (True, SUBMITTED)
    assert standing(settings) == before
    audited = values(settings, "ECG_AUDIT_TOPIC")
    assert sorted(map(json.dumps, audited)) == sorted(map(json.dumps, results(settings)))

    # A record that was never read live is missing from the findings, and the replay says so.
    run("submit", inbound / "real.dcm", **settings)
    again = run("replay", "--from", 0, "--to", 10**6, "--report", report, **settings)
    assert again.returncode == 1
    assert json.loads(report.read_text())["counts"]["missing"] == 1
