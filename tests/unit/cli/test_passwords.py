"""A password that somebody wrote where none belongs is refused, and printed nowhere: logs are read by many."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import app, failure

PASSWORD = "hunter2"

LOGS = (
    "kafka://user:hunter2@host:9092",
    "KAFKA://user:hunter2@host:9092",
    "Kafka://user:hunter2@host",
    " kafka://user:hunter2@host:9092",
    "kafka://user:hunter2 and more@host:9092",
    "kafka://user name:hunter2@host:9092",
    "kafka://user:hunter2@host:9092 ",
    "kafka://us\ter:hunter2@host:9092",
    "kafka://user:hunter2%40host:9092",
    "kafka://hunter2%40host:9092",
    "kafka://hunter2%40host",
    "kafka://user%3Ahunter2@host:9092",
    "kafka://user:hunter2/more@host:9092",
    "kafka://user:p/hunter2@host:9092",
    "kafka://user:p@hunter2@host:9092",
    "kafka://user:p?hunter2@host:9092",
    "kafka://user:p#hunter2@host:9092",
    "kafka://user:p[hunter2@host:9092",
    "kafka://hunter2@host:9092",
    "kafka://:hunter2@host:9092",
    "kafka://host:9092,user:hunter2@other:9092",
    "kafka://user:hunter2@host:9092,other:9092",
    "kafka://host:9092?sasl.password=hunter2",
    "kafka://host:9092#hunter2",
    "kafka://host:9092/hunter2",
    "kafka://user:hunter2",
    "kafka:user:hunter2@host:9092",
    "kafka:/user:hunter2@host:9092",
    "kafka:///user:hunter2@host:9092",
    "kafka//user:hunter2@host:9092",
    "kafak://user:hunter2@host:9092",
    "user:hunter2@host:9092",
    "sqlite://user:hunter2@host/log.db",
    "sqlite:///log.db?key=hunter2",
)
RECEIVERS = tuple(url.replace("kafka", "mllp").replace("KAFKA", "MLLPS").replace("Kafka", "Mllps") for url in LOGS)

COMMANDS = (
    ["check"],
    ["settings"],
    ["settings", "--json"],
    ["run"],
    ["deliver"],
    ["read", "ecg.findings"],
    ["replay", "--from", "0", "--to", "1"],
    ["rejections", "list"],
    ["rejections", "redrive"],
    ["submit", "."],
)


@pytest.fixture(autouse=True)
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(failure.TERMINATION_LOG, str(tmp_path / "termination-log"))
    monkeypatch.setenv("ECG_ENGINE", "echo")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "termination-log"


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def said(typed: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit code, and every word that the command left behind."""
    monkeypatch.setattr("sys.argv", ["ecg-worker", *typed])
    capfd.readouterr()
    with pytest.raises(SystemExit) as left:
        app.main()
    printed = capfd.readouterr()
    log = Path("termination-log")
    return left.value.code, printed.out + printed.err + (log.read_text() if log.exists() else "")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("where", ["flag", "environment", "file"])
def test_a_password_in_the_log_s_url_is_refused_and_printed_nowhere(
    command: list[str], where: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for url in LOGS:
        typed = list(command)
        if where == "flag":
            typed.append(f"--log={url}")
        elif where == "environment":
            monkeypatch.setenv("ECG_LOG", url)
        else:
            Path("ecg.toml").write_text(f"log = {json.dumps(url)}")
            typed.append("--config=ecg.toml")
        code, words = said(typed, monkeypatch, capfd)
        assert (code, PASSWORD in words) == (2, False), (url, words)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["deliver"], ["check"], ["settings"], ["settings", "--json"]], ids=" ".join)
@pytest.mark.parametrize("where", ["flag", "environment", "file"])
def test_a_password_in_the_receiver_s_url_is_refused_and_printed_nowhere(
    command: list[str], where: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for url in RECEIVERS:
        typed = list(command)
        if where == "flag":
            typed.append(f"--to={url}")  # of commands that have none, too
        elif where == "environment":
            monkeypatch.setenv("ECG_DELIVER_TO", url)
        else:
            Path("ecg.toml").write_text(f"deliver_to = {json.dumps(url)}")
            typed.append("--config=ecg.toml")
        code, words = said(typed, monkeypatch, capfd)
        assert (code, PASSWORD in words) == (2, False), (url, words)


@pytest.mark.parametrize(
    "typed",
    [
        ["check", "URL"],
        ["check", "--lgo", "URL"],
        ["check", "--lgo=URL"],
        ["URL"],
        ["check", "--partitions", "URL"],
        ["check", "--config", "URL"],
        ["check", "--model", "URL"],
        ["check", "--group", "URL"],
        ["run", "--idle-exit", "URL"],
        ["run", "--group", "URL"],
        ["read", "URL"],
        ["read", "ecg.findings", "--from", "URL"],
        ["submit", "URL"],
        ["explain", "URL"],
        ["explain", "--model", "URL", "."],
        ["replay", "--from", "URL", "--to", "URL"],
        ["replay", "--from", "0", "--to", "1", "--report", "URL"],
        ["rejections", "list", "--reason", "URL"],
        ["simulate", "-o", "out", "--site", "URL"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "url", ["kafka://user:hunter2@host:9092", "kafka:/user:p hunter2@host", "kafka://h:1?password=hunter2"]
)
def test_in_the_wrong_place_it_is_printed_nowhere_either(
    typed: list[str], url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, words = said([word.replace("URL", url) for word in typed], monkeypatch, capfd)
    assert PASSWORD not in words, words
    assert code in (1, 2)


@pytest.mark.parametrize("variable", ["ECG_MODEL", "ECG_GROUP", "ECG_PROCESSES", "ECG_KAFKA_CA_FILE", "ECG_CONFIG"])
def test_nor_in_the_variable_of_another_setting(
    variable: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECG_ENGINE", "model")
    monkeypatch.setenv(variable, "kafka://user:hunter2@host:9092")
    for command in ("check", "settings", "run"):
        code, words = said([command], monkeypatch, capfd)
        assert (code, PASSWORD in words) == (2, False), words


def test_a_path_is_shown_as_it_is_whatever_signs_are_in_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with contextlib.suppress(FileExistsError):
        (tmp_path / "a@b").mkdir()
    url = f"sqlite://{tmp_path}/a@b/log.db"
    code, words = said(["settings", "--json", f"--log={url}"], monkeypatch, capfd)
    assert code == 0
    assert json.dumps(url) in words
    _, words = said(["read", "no.such.topic", f"--log={url}"], monkeypatch, capfd)
    assert "no topic no.such.topic" in words
