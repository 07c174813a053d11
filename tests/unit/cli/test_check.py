"""What `check` says of topics that do not keep what they are given, and where else it says what failed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from adapters.kafka.topic_configs import TopicReport
from cli import failure
from cli.commands import check
from cli.commands.check import _check_codecs
from cli.settings import Settings, SettingsError

SHORT = "topic ecg.inbound keeps records for 7 days, and 2192 days are asked for; run: kafka-configs.sh"
WARNING = "topic ecg.findings has 1 replica"


class Inspection:
    """A cluster without transactions, whose topics are as the report says."""

    def __init__(self, report: TopicReport) -> None:
        self._report = report
        self.asked: dict[str, float] = {}

    def topics(self, keep_days: dict[str, float]) -> TopicReport:
        self.asked = keep_days
        return self._report

    def missing_rights(self, *_: object) -> tuple[str, ...]:
        return ()

    def stuck_transactions(self, _: object) -> tuple[str, ...]:
        return ()


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECG_LOG", f"sqlite://{tmp_path}/log.db")
    monkeypatch.setenv("ECG_ENGINE", "echo")
    monkeypatch.setenv(failure.TERMINATION_LOG, str(tmp_path / "termination-log"))
    return tmp_path / "termination-log"


def checked(report: TopicReport, monkeypatch: pytest.MonkeyPatch) -> tuple[Inspection, object]:
    """The cluster that was asked, and the exit code."""
    cluster = Inspection(report)

    @contextmanager
    def opened(_: Settings) -> Iterator[Inspection]:
        yield cluster

    monkeypatch.setattr(check, "open_configured_inspection", opened)
    with pytest.raises(typer.Exit) as left:
        check.check()
    return cluster, left.value.exit_code


def retention(said: str) -> list[str]:
    return [line for line in said.splitlines() if " retention: " in line]


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


@pytest.mark.parametrize(
    ("settings", "failed", "said"),
    [
        ({}, 0, "ok    retention: records are kept for ever"),
        ({"log_keep_days": 3000}, 0, "ok    retention: records are kept for 3000 days"),
        ({"log_keep_days": 30}, 1, "FAIL  retention: ECG_LOG_KEEP_DAYS is 30, and ECG_AUDIT_KEEP_DAYS 2192"),
        ({"log_keep_bytes": 1_000_000_000}, 0, "warn  retention: ECG_LOG_KEEP_BYTES may take records before"),
    ],
)
def test_an_embedded_log_has_to_keep_what_an_audit_asks_for_too(
    capsys: pytest.CaptureFixture[str], settings: dict[str, int], failed: int, said: str
) -> None:
    found = check._report_on_embedded_retention(Settings(**settings))  # type: ignore[arg-type]
    assert len(found) == failed
    assert said in capsys.readouterr().err
