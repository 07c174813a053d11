"""Whatever ends a command: one last line on stderr, one exit code, the same sentence for Kubernetes."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from adapters.log import Fenced, LogError, LogUnavailable, PublishFailed
from adapters.mllp.framing import FramingError
from adapters.outbound import ReceiverError
from cli import failure
from cli.settings import Settings, SettingsError
from schemas.delivery import Refused, Unanswered, Unsendable
from schemas.errors import WorkerError
from schemas.rejection import Rejected
from worker.delivery.redelivery import ReceiverAway
from worker.model.errors import BundleError, EngineError
from worker.stream.stall import Stalled

CANARY = "DOE^JANE 642341"
SENTENCE = "the log is away; start it again"
FOR_PEOPLE = (LogError, LogUnavailable, PublishFailed, Fenced, ReceiverError, BundleError, EngineError,
              ReceiverAway, Stalled)  # fmt: skip


@pytest.fixture(autouse=True)
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "termination-log"
    monkeypatch.setenv(failure.TERMINATION_LOG, str(file))
    return file


def raising(error: BaseException) -> Callable[..., None]:
    def command(**_: object) -> None:
        raise error

    return command


def ended(app: Callable[[], object]) -> object:
    with pytest.raises(SystemExit) as left:
        failure.run_command("ecg-worker", app)
    return left.value.code


@pytest.mark.parametrize("kind", FOR_PEOPLE)
def test_an_error_for_people_is_the_last_line_and_exits_1(
    kind: type[WorkerError], capsys: pytest.CaptureFixture[str], termination_log: Path
) -> None:
    assert ended(raising(kind(SENTENCE))) == 1
    assert capsys.readouterr().err == f"ecg-worker: {SENTENCE}\n"
    assert termination_log.read_text() == SENTENCE


def test_a_name_in_it_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    ended(raising(LogError("\x1b[2Jwiped\x07.db: no database, t\u00e9l\u00e9")))
    assert capsys.readouterr().err == "ecg-worker: \\x1b[2Jwiped\\x07.db: no database, t\u00e9l\u00e9\n"


def test_wrong_settings_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(SettingsError(SENTENCE))) == 2
    assert capsys.readouterr().err == f"ecg-worker: {SENTENCE}\n"


def command_line() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def explain(path: Path) -> None: ...

    @app.command()
    def run(status: int = 0) -> None:
        raise typer.Exit(status)

    return app


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["explain"], "ecg-worker: Missing argument 'path'; `ecg-worker explain --help` says what it takes"),
        (["run", "--lgo", "x"], "ecg-worker: No such option: --lgo; `ecg-worker run --help` says what it takes"),
        (["rnu"], "ecg-worker: No such command 'rnu'. Did you mean 'run'?; `ecg-worker --help` says what it takes"),
    ],
)
def test_a_command_line_that_cannot_be_taken_is_one_line_too(
    typed: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    termination_log: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["ecg-worker", *typed])
    assert ended(command_line()) == 2
    assert capsys.readouterr().err == f"{said}\n"
    assert termination_log.read_text() == said.removeprefix("ecg-worker: ")


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_that_says_how_it_ended_ends_so(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ecg-worker", "run", "--status", str(code)])
    assert ended(command_line()) == code


def test_a_disk_that_is_full_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/report.json"))) == 1
    assert capsys.readouterr().err.startswith("ecg-worker: /data/report.json: No space left on device; ")


def test_no_library_may_speak_to_the_network_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str | None] = {}
    for name in ("HF_HUB_OFFLINE", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    ended(lambda **_: seen.update(os.environ))
    assert (seen["HF_HUB_OFFLINE"], seen["ORT_DISABLE_TELEMETRY"]) == ("1", "1")


def test_what_ends_a_record_is_no_error_for_people() -> None:
    assert not any(issubclass(kind, WorkerError) for kind in (Rejected, Unanswered, Refused, Unsendable, FramingError))


def test_training_s_errors_are_for_people() -> None:
    pytest.importorskip("trl")
    from training.data.recorded import DataError
    from training.evaluation.calibration import CalibrationError
    from training.methods.run_directory import RunError

    assert all(issubclass(kind, WorkerError) for kind in (DataError, CalibrationError, RunError))


def test_a_service_logs_the_sentence_before_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(failure.service(raising(Stalled(SENTENCE)))) == 1
    logged, said = capsys.readouterr().err.splitlines()
    assert said == f"ecg-worker: {SENTENCE}"
    line = json.loads(logged)
    assert (line["message"], line["error_type"], line["level"]) == (SENTENCE, "Stalled", "error")


def test_a_defect_is_named_without_its_text(capsys: pytest.CaptureFixture[str], termination_log: Path) -> None:
    assert ended(failure.service(raising(ValueError(CANARY)))) == 1
    captured = capsys.readouterr().err
    logged, said = captured.splitlines()
    assert said.startswith("ecg-worker: ValueError: this is a defect")
    assert json.loads(logged)["error_type"] == "ValueError"
    assert "test_failure.py" in json.dumps(json.loads(logged)["frames"])
    assert CANARY not in captured + termination_log.read_text()


def test_an_interrupted_command_exits_130_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""


def test_the_termination_log_holds_one_line_of_at_most_4096_bytes(termination_log: Path) -> None:
    ended(raising(LogError("one\ntwo! " + "é" * 4096)))  # the limit falls in the middle of a letter
    written = termination_log.read_bytes()
    assert written.startswith(b"one two! ")
    assert 4090 < len(written) <= 4096
    written.decode()


def test_a_termination_log_that_cannot_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(failure.TERMINATION_LOG, str(tmp_path / "no" / "such" / "folder"))
    assert ended(raising(LogError(SENTENCE))) == 1
    assert capsys.readouterr().err == f"ecg-worker: {SENTENCE}\n"


def test_without_one_named_only_kubernetes_own_is_written_and_only_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failure.TERMINATION_LOG, "")
    absent, present = tmp_path / "absent", tmp_path / "present"
    present.touch()
    for file in (absent, present):
        monkeypatch.setattr(failure, "_KUBERNETES_LOG", file)
        ended(raising(LogError(SENTENCE)))
    assert (absent.exists(), present.read_text()) == (False, SENTENCE)


def test_the_termination_log_is_no_setting_and_not_refused() -> None:
    Settings.load()


def test_a_process_that_stalls_says_so_last(tmp_path: Path) -> None:
    script = "from cli import failure\nfailure.end_stalled('the loop has not turned for 60 s')\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ecg-worker: the loop has not turned for 60 s; start")
    assert (tmp_path / "termination-log").read_text().startswith("the loop has not turned for 60 s")
