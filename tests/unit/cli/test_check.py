"""What `check` says of topics that do not keep what they are given, or that nobody reads; where it says what failed."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
import typer

from adapters.kafka.topic_configs import TopicReport
from adapters.log import LogError, Message, Position, TopicPartition
from adapters.sqlite.log import SqliteLog
from cli import failure
from cli.commands import check
from cli.commands.check import _check_codecs
from cli.settings import Settings, SettingsError

SHORT = "topic ecg.inbound keeps records for 7 days, and 2192 days are asked for; run: kafka-configs.sh"
WARNING = "topic ecg.findings has 1 replica"
STAT = TopicPartition("ecg.inbound.stat", 0)
IN_ORDER = TopicReport(("ecg.inbound",), (), ())


class Inspection:
    """A cluster without transactions, whose topics are as the report says."""

    def __init__(self, report: TopicReport, unread: Mapping[TopicPartition, range]) -> None:
        self._report, self._unread = report, unread
        self.asked: dict[str, float] = {}

    def topics(self, keep_days: dict[str, float]) -> TopicReport:
        self.asked = keep_days
        return self._report

    def missing_rights(self, *_: object) -> tuple[str, ...]:
        return ()

    def unread_elsewhere(self, group: str, topics: tuple[str, ...]) -> Mapping[TopicPartition, range]:
        assert (group, topics) == ("ecg-r1-worker", ("ecg.inbound",))
        return self._unread

    def stuck_transactions(self, _: object) -> tuple[str, ...]:
        return ()


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECG_LOG", f"sqlite://{tmp_path}/log.db")
    monkeypatch.setenv("ECG_ENGINE", "echo")
    monkeypatch.setenv(failure.TERMINATION_LOG, str(tmp_path / "termination-log"))
    return tmp_path / "termination-log"


def checked(
    report: TopicReport, monkeypatch: pytest.MonkeyPatch, unread: Mapping[TopicPartition, range] = MappingProxyType({})
) -> tuple[Inspection, object]:
    """The cluster that was asked, and the exit code."""
    cluster = Inspection(report, unread)

    @contextmanager
    def opened(_: Settings) -> Iterator[Inspection]:
        yield cluster

    monkeypatch.setattr(check, "open_configured_inspection", opened)
    with pytest.raises(typer.Exit) as left:
        check.check()
    return cluster, left.value.exit_code


def retention(said: str) -> list[str]:
    return [line for line in said.splitlines() if " retention: " in line]


def unread(said: str) -> list[str]:
    return [line for line in said.splitlines() if " unread: " in line]


def test_topics_that_keep_every_record_are_named(
    termination_log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECG_AUDIT_KEEP_DAYS", "400")
    cluster, code = checked(TopicReport(("ecg.inbound", "ecg.findings"), (), (WARNING,)), monkeypatch)
    assert code == 0
    assert retention(capsys.readouterr().err) == [
        f"warn  retention: {WARNING}",
        "ok    retention: ecg.inbound, ecg.findings keep every record for 400 days and more (ECG_AUDIT_KEEP_DAYS)",
    ]
    names = ("ecg.inbound", "ecg.findings", "ecg.rejections", "ecg.audit", "ecg.delivery-rejections")
    assert cluster.asked == dict.fromkeys(names, 400)
    assert not termination_log.exists()


def test_a_topic_that_loses_records_fails_the_check_and_is_left_for_kubernetes(
    termination_log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, code = checked(TopicReport(("ecg.inbound", "ecg.findings"), (SHORT,), (WARNING,)), monkeypatch)
    assert code == 1
    assert retention(capsys.readouterr().err) == [f"FAIL  retention: {SHORT}", f"warn  retention: {WARNING}"]
    assert termination_log.read_text() == f"retention: {SHORT}"


def test_what_cannot_be_seen_is_a_warning_and_no_promise(
    termination_log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = "how long records are kept cannot be seen everywhere; grant DescribeConfigs on topic ecg.inbound"
    _, code = checked(TopicReport((), (), (unseen,)), monkeypatch)
    assert code == 0
    assert retention(capsys.readouterr().err) == [f"warn  retention: {unseen}"]


def test_whatever_fails_is_left_for_kubernetes(termination_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_ENGINE", "model")
    monkeypatch.setenv("ECG_MODEL", "/no/such/model")
    _, code = checked(TopicReport((), (SHORT,), ()), monkeypatch)
    assert code == 1
    said = termination_log.read_text()
    assert said.startswith(f"retention: {SHORT}; model: ")
    assert "/no/such/model" in said


def test_the_codecs_that_are_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _check_codecs() == "gzip, snappy, lz4, zstd are read"
    monkeypatch.setitem(sys.modules, "cramjam", None)  # what an import then finds
    with pytest.raises(SettingsError, match="the packages for snappy are missing"):
        _check_codecs()


@pytest.fixture
def log(termination_log: Path, tmp_path: Path) -> Iterator[SqliteLog]:
    """The log that is checked: of five STAT records the worker's group has read two, and another group none."""
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.create_topics({STAT.topic: 1})
        log.append([Message(STAT.topic, None, b"ECG")] * 5)
        read_up_to(2, log)
        with closing(log.join("another", [STAT.topic], "member")) as member:
            member.poll(0, 1)
        yield log


def read_up_to(offset: int, log: SqliteLog) -> None:
    with closing(log.join("ecg-r1-worker", [STAT.topic], "member")) as member:
        for _ in range(2):  # the first says which partitions are ours, and from the second on they may be published
            member.poll(0, 1)
        member.publish([], {STAT: Position(offset)})


def warned(count: int) -> list[str]:
    return [
        f"warn  unread: topic ecg.inbound.stat has {count} unread for group ecg-r1-worker, which has a position there "
        "and reads ecg.inbound only; name it in ECG_INBOUND_TOPICS until it is read"
    ]


def check_alone(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is said of unread records; the check as such is passed."""
    with pytest.raises(typer.Exit) as left:
        check.check()
    assert left.value.exit_code == 0
    return unread(capsys.readouterr().err)


def test_a_topic_that_the_group_has_left_unread_is_a_warning(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_alone(capsys) == warned(3)
    monkeypatch.setenv("ECG_INBOUND_TOPICS", "ecg.inbound.stat")
    assert check_alone(capsys) == []


def test_a_topic_that_the_group_has_read_to_its_end_is_none(log: SqliteLog, capsys: pytest.CaptureFixture[str]) -> None:
    read_up_to(5, log)
    assert check_alone(capsys) == []


def test_so_it_is_where_the_cluster_tells_of_positions(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And offsets without a record are not unread: the last one that a redrive writes is a transaction's marker."""
    assert checked(IN_ORDER, monkeypatch, {STAT: range(1, 5)})[1] == 0
    assert unread(capsys.readouterr().err) == warned(4)
    assert checked(IN_ORDER, monkeypatch, {STAT: range(5, 6)})[1] == 0
    assert unread(capsys.readouterr().err) == []


def test_where_the_topic_may_not_be_read_its_offsets_are_what_is_known(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise LogError("reading: not allowed; grant Read on topic ecg.inbound.stat")

    monkeypatch.setattr(SqliteLog, "read", refused)
    assert checked(IN_ORDER, monkeypatch, {STAT: range(5, 6)})[1] == 0
    assert unread(capsys.readouterr().err) == warned(1)
