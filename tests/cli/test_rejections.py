"""Rejections listed and redriven as a user does it, on both logs."""

import json
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.log import Message
from adapters.open_log import open_log
from schemas.rejection import Reason, Rejected
from tests.cli.command import command as arguments_of
from tests.cli.command import environment, lines, real_file, run
from worker.pipeline import reject
from worker.redrive.redriver import MAX_REDRIVES
from worker.redrive_headers import COUNT_HEADER, OF_HEADER
from worker.stream.envelope import result_message

# Each test starts two dozen processes.
pytestmark = pytest.mark.timeout(600)

CANARY = "DOE^JANE^CANARY"
UNKNOWN, TWO_PATIENTS = "payload.unknown_format", "hl7.two_patients"
TOPICS = ("INBOUND", "FINDINGS", "REJECTIONS")


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """A log with topics of this test's own, and a worker without a model that rejects without end."""
    run_id = uuid4().hex[:8]
    log = f"sqlite://{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka_url")
    chosen = {f"ECG_{topic}_TOPIC": f"{topic.lower()}-{run_id}" for topic in TOPICS}
    with closing(open_log(log)) as opened:
        opened.create_topics(dict.fromkeys(chosen.values(), 3))
    return {**chosen, "ECG_LOG": log, "ECG_GROUP": f"group-{run_id}", "ECG_ENGINE": "echo", "ECG_REJECTED_SHARE": 1}


@pytest.fixture
def submitted(settings: dict[str, Any], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A good ECG and two broken records, read by the worker: where each lies."""
    folder = tmp_path / "inbound"
    folder.mkdir()
    (folder / "good.dcm").write_bytes(real_file().read_bytes())
    (folder / "unknown.txt").write_text(f"{CANARY} is no ECG")
    header = "MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1"
    (folder / "two.hl7").write_text(f"{header}\rPID|1||1^^^H^MR||{CANARY}\rPID|2||2\r")
    done = run("submit", folder, folder / "unknown.txt", **settings)
    work(settings)
    return {line.pop("file"): line for line in lines(done)}


def work(settings: dict[str, Any]) -> None:
    done = run("run", "--idle-exit", 1, **settings)
    assert done.returncode == 0, done.stderr


def inbound(settings: dict[str, Any]) -> list[dict[str, Any]]:
    return lines(run("read", settings["ECG_INBOUND_TOPIC"], "--envelope", **settings))


def command(settings: dict[str, Any], *arguments: object, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """What `ecg-worker rejections ...` says on stdout and on stderr."""
    done = run("rejections", *arguments, **settings)
    assert done.returncode == code, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return lines(done), done.stderr


def test_list_prints_rejections_as_published(settings: dict[str, Any], submitted: dict[str, dict[str, Any]]) -> None:
    listed, said = command(settings, "list")
    published = lines(run("read", settings["ECG_REJECTIONS_TOPIC"], **settings))
    assert said == ""
    assert [item.pop("open") for item in listed] == [True, True]
    assert listed == published
    assert sorted(item["reason"] for item in listed) == [TWO_PATIENTS, UNKNOWN]
    (unknown,), _ = command(settings, "list", "--reason", UNKNOWN)
    assert {name: unknown["source"][name] for name in submitted["unknown.txt"]} == submitted["unknown.txt"]
    assert "redrive" not in unknown["source"]
    assert command(settings, "list", "--to", "2000-01-01")[0] == []
    counted, _ = command(settings, "list", "--count", "--reason", UNKNOWN, "--reason", TWO_PATIENTS)
    assert sorted(map(json.dumps, counted)) == [
        json.dumps({"reason": TWO_PATIENTS, "count": 1, "open": 1}),
        json.dumps({"reason": UNKNOWN, "count": 1, "open": 1}),
    ]


def test_list_shows_first_what_is_open(settings: dict[str, Any], submitted: dict[str, dict[str, Any]]) -> None:
    # Whichever lies first in the log: once one of the two is settled, the other comes first.
    command(settings, "redrive", "--give-up", "--reason", UNKNOWN)
    assert shown(settings) == [(True, TWO_PATIENTS), (False, UNKNOWN)]
    counted, _ = command(settings, "list", "--count")
    assert counted == [
        {"reason": TWO_PATIENTS, "count": 1, "open": 1},
        {"reason": UNKNOWN, "count": 1, "open": 0},
    ]
    # The group remembers; another group has settled nothing.
    other, _ = command(settings, "list", "--group", "another")
    assert [item["open"] for item in other] == [True, True]
    command(settings, "redrive", "--reason", TWO_PATIENTS)
    assert [is_open for is_open, _ in shown(settings)] == [False, False]
    work(settings)
    assert [is_open for is_open, _ in shown(settings)] == [True, False, False]


def shown(settings: dict[str, Any]) -> list[tuple[bool, str]]:
    return [(item["open"], item["reason"]) for item in command(settings, "list")[0]]


def test_redriven_again_and_again_until_the_limit(
    settings: dict[str, Any], submitted: dict[str, dict[str, Any]]
) -> None:
    first = submitted["unknown.txt"]
    before = inbound(settings)
    (would,), said = command(settings, "redrive", "--reason", UNKNOWN, "--dry-run")
    assert (would["record"], would["redrive"]) == (first, {"of": first, "count": 1})
    assert "1 would be redriven, 0 refused" in said
    assert inbound(settings) == before

    for count in range(1, MAX_REDRIVES + 1):
        (done,), _ = command(settings, "redrive", "--reason", UNKNOWN)
        assert done["redrive"] == {"of": first, "count": count}
        assert command(settings, "redrive", "--reason", UNKNOWN)[0] == []
        work(settings)
        listed, _ = command(settings, "list", "--reason", UNKNOWN)
        assert len(listed) == 1 + count
        (again,) = [item for item in listed if item["source"].get("redrive", {}).get("count") == count]
        assert again["source"]["redrive"]["of"] == first
    back = [item for item in inbound(settings) if OF_HEADER in item["headers"]]
    of = f"{first['topic']}/{first['partition']}/{first['offset']}"
    assert {item["headers"][OF_HEADER] for item in back} == {of}
    assert sorted(item["headers"][COUNT_HEADER] for item in back) == ["1", "2", "3"]
    assert {item["value_base64"] for item in back} < {item["value_base64"] for item in before}

    none, said = command(settings, "redrive", "--reason", UNKNOWN, code=1)
    assert none == []
    assert "redrive.limit" in said
    (given_up,), _ = command(settings, "redrive", "--reason", UNKNOWN, "--give-up")
    assert given_up["outcome"] == "given_up"
    assert command(settings, "redrive", "--reason", UNKNOWN)[0] == []
    (other,), _ = command(settings, "redrive")
    assert other["reason"] == TWO_PATIENTS
    assert len(inbound(settings)) == len(before) + MAX_REDRIVES + 1


def test_killed_in_the_middle_loses_nothing_and_repeats_nothing(settings: dict[str, Any]) -> None:
    count = 450  # several transactions
    with closing(open_log(settings["ECG_LOG"])) as log:
        topic = settings["ECG_INBOUND_TOPIC"]
        places = log.append([Message(topic, b"%d" % number, b"no ECG %d" % number) for number in range(count)])
        records = list(log.read({partition: range(*log.bounds(partition)) for partition in log.partitions(topic)}))
        assert len(places) == len(records) == count
        refusal = Rejected(Reason.PAYLOAD_UNKNOWN_FORMAT)
        log.append(
            [result_message(reject(record, refusal), record, settings["ECG_REJECTIONS_TOPIC"]) for record in records]
        )
    arguments = arguments_of("rejections", "redrive")
    with subprocess.Popen(arguments, env=environment(**settings), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
    done = run("rejections", "redrive", **settings)
    assert done.returncode == 0, done.stderr
    assert 0 < len(lines(done)) < count
    back = Counter(item["headers"][OF_HEADER] for item in inbound(settings) if OF_HEADER in item["headers"])
    assert (len(back), set(back.values())) == (count, {1})
    assert command(settings, "redrive")[0] == []


def test_wrong_use_is_said(tmp_path: Path) -> None:
    log = {"ECG_LOG": f"sqlite://{tmp_path}/log.db"}
    for name in ("list", "redrive"):
        wrong = run("rejections", name, "--reason", "payload.nonsense", **log)
        assert wrong.returncode == 2
        assert "docs/rejections.md" in wrong.stderr
        shown = run("rejections", name, "--help", **log)
        assert (shown.returncode, f"Example: ecg-worker rejections {name}" in shown.stdout) == (0, True)
