"""Commands on files."""

from pathlib import Path

import pytest

from cli.app import main
from schemas.finding import Finding
from schemas.rejection import Rejection
from simulator.edits import invert_t_waves, real_ecg
from simulator.writers.dicom import write_dicom
from tests.cli.command import lines, real_file, run

CANARY = b"DOE^JANE^CANARY"


def in_process(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command that ends before it does any work; its exit code."""
    monkeypatch.setattr("sys.argv", ["ecg-worker", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_code:
        main()
    return int(exit_code.value.code or 0)


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ecgs") / "inverted.dcm"
    path.write_bytes(write_dicom(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4)))
    return path


def test_explain_prints_one_finding_a_file_in_order(tiny_model: Path, inverted: Path) -> None:
    done = run("explain", "--model", tiny_model, inverted, real_file(), inverted)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = (Finding.model_validate(line) for line in lines(done))
    assert second.assessment.verdict == "no_t_wave_inversion"
    assert second.measurements.heart_rate_bpm == pytest.approx(61, abs=1)
    assert second.provenance.engine is None
    assert {"V2", "V3", "V4"} <= set(first.measurements.t_wave_inversion)
    assert first.assessment.probability is not None
    assert first.reasoning is not None
    assert first.provenance.untrained
    assert not first.flag.raised
    # The same ECG in another place of the batch: the same finding, but for where it came from.
    assert third.model_copy(update={"source": first.source}) == first


def test_explain_says_1_when_a_file_is_rejected_and_prints_all_the_same(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.hl7"
    broken.write_bytes(b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1\rPID|1||1^^^H^MR||" + CANARY + b"\rPID|2||2\r")
    done = run("explain", "--model", tiny_model, broken, real_file())
    assert done.returncode == 1
    rejection, finding = lines(done)
    assert Rejection.model_validate(rejection).reason == "hl7.two_patients"
    assert finding["schema"] == "ecg-finding/1"
    assert CANARY.decode() not in done.stdout + done.stderr


def test_measure_needs_no_model(inverted: Path) -> None:
    done = run("measure", inverted)
    assert (done.returncode, done.stderr) == (0, "")
    (measured,) = lines(done)
    assert measured["file"] == "inverted.dcm"
    assert measured["quality"]["usable"]
    assert measured["measurements"]["leads"]["V3"]["t_mv"] == pytest.approx(-0.4, abs=0.05)


@pytest.mark.parametrize(("name", "start"), [("e.png", b"\x89PNG"), ("e.svg", b"<"), ("e.pdf", b"%PDF-")])
def test_render_writes_what_the_name_asks_for(tmp_path: Path, name: str, start: bytes) -> None:
    out = tmp_path / name
    done = run("render", real_file(), "-o", out, "--layout", "6x2", "--gain", "5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert out.read_bytes().startswith(start)


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "missing.dcm"),
        ("render", real_file(), "-o", "ecg.bmp"),
        ("render", real_file(), "-o", "ecg.png", "--layout", "7x7"),
        ("measure",),
        ("run", "--log", "sqlite:///tmp/never.db"),
        ("frobnicate",),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_wrong_use_exits_2_with_a_word_on_stderr(
    arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ECG_MODEL", raising=False)
    assert in_process(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip()


def test_a_model_directory_that_is_none_exits_1_and_says_why(tmp_path: Path) -> None:
    done = run("explain", "--model", tmp_path, real_file())
    assert done.returncode == 1
    assert "ecg-model.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "demo",
        "run",
        "explain",
        "measure",
        "render",
        "submit",
        "read",
        "check",
        "export-vision",
        "deliver",
        "replay",
        "simulate",
    ],
)
def test_help_has_an_example(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(monkeypatch, name, "--help") == 0
    assert f"Example: ecg-worker {name}" in " ".join(capsys.readouterr().out.replace("│", " ").split())
