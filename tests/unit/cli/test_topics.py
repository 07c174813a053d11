"""What `read` prints of a topic, of one record, and of a record that the log could not give."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import typer

from adapters.log import LogError, Message, Record
from adapters.sqlite.log import SqliteLog
from cli.commands import topics
from cli.commands.topics import _enveloped, _value, read

WHY = "offset 7: checksum does not match"
LOST = Record("ecg.inbound", 0, 7, None, None, b"", unreadable=WHY)


def test_a_record_that_cannot_be_read_is_not_shown_as_an_empty_one() -> None:
    shown = _enveloped(LOST)
    assert (shown["offset"], shown["unreadable"]) == (7, WHY)
    assert not {"value", "value_base64"} & shown.keys()
    assert "unreadable" not in _enveloped(Record("ecg.inbound", 0, 7, None, None, json.dumps({}).encode()))


def test_without_an_envelope_the_reading_says_why_it_ends() -> None:
    with pytest.raises(LogError, match=f"ecg.inbound, partition 0: {WHY}; .*--envelope"):
        _value(LOST)


@pytest.fixture
def three_patients(tmp_path: Path) -> str:
    """A log whose findings are one in each of three partitions, all with offset 0; its URL."""
    path = tmp_path / "log.db"
    with closing(SqliteLog(path)) as log:
        log.create_topics({"ecg.findings": 3, "ecg.rejections": 1})
        log.append([Message("ecg.findings", None, json.dumps({"patient": number}).encode()) for number in range(3)])
    return f"sqlite://{path}"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_record_is_read_without_those_of_others_at_the_same_offset(
    three_patients: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    read("ecg.findings", log=three_patients, start="0", end="1", partition=number)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"patient": number}]


def test_without_a_partition_an_offset_is_a_record_in_each(
    three_patients: str, capsys: pytest.CaptureFixture[str]
) -> None:
    read("ecg.findings", log=three_patients, start="0", end="1")
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("topic", "number", "there"),
    [
        ("ecg.findings", 3, "ecg.findings has partitions 0 to 2"),
        ("ecg.findings", -1, "ecg.findings has partitions 0 to 2"),
        ("ecg.rejections", 1, "ecg.rejections has partition 0"),
    ],
)
def test_a_partition_that_there_is_not_is_wrong_use(three_patients: str, topic: str, number: int, there: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"no partition {number}; {there}") as wrong:
        read(topic, log=three_patients, partition=number)
    assert wrong.value.param_hint == "--partition"


def test_only_a_topic_of_the_settings_would_be_made(
    three_patients: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LogError, match=r"^no topic nonesuch; those of the settings are ecg\.inbound, ecg\.findings, "):
        read("nonesuch", log=three_patients)
    # A log that, as Kafka's, is opened without being given its topics.
    monkeypatch.setattr(topics, "open_configured_log", lambda _: closing(SqliteLog(tmp_path / "empty.db")))
    with pytest.raises(LogError, match=r"^no topic ecg\.audit; create it, or let `ecg-worker check --create-topics`"):
        read("ecg.audit", log=three_patients)
