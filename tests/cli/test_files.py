"""Commands on files."""

import re
from pathlib import Path

import pytest

from schemas.finding import Finding
from schemas.rejection import Rejection
from simulator.edits import invert_t_waves, real_ecg
from simulator.writers.dicom import write_dicom
from tests.cli.command import lines, real_file, run
from tests.support.command_line import in_process

CANARY = b"DOE^JANE^CANARY"


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ecgs") / "inverted.dcm"
    path.write_bytes(write_dicom(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4)))
    return path


def test_explain_prints_one_finding_a_file_in_order(tiny_model: Path, inverted: Path) -> None:
    done = run("explain", "--model", tiny_model, inverted, real_file(), inverted)
    assert done.returncode == 0
    begun, loaded = done.stderr.splitlines()
    assert begun == f"loading the model {tiny_model} ..."
    assert re.fullmatch(r"the model is loaded, after [\d.]+ s", loaded)
    first, second, third = (Finding.model_validate(line) for line in lines(done))
    assert second.assessment.verdict == "no_t_wave_inversion"
    assert second.measurements.heart_rate_bpm == pytest.approx(61, abs=1)
    assert second.provenance.engine is None
    assert {"V2", "V3", "V4"} <= set(first.measurements.t_wave_inversion)
    assert first.assessment.probability is not None
    assert first.reasoning is not None
    assert first.provenance.untrained
    assert not first.flag.raised
    named = [(line["source"]["topic"], line["source"]["offset"]) for line in lines(done)]
    assert named == [(str(inverted), 0), (str(real_file()), 1), (str(inverted), 2)]
    # The same ECG in another place of the batch: the same finding, but for where it came from.
    assert third.model_copy(update={"source": first.source}) == first


def test_explain_says_1_when_a_file_is_rejected_and_prints_all_the_same(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.hl7"
    broken.write_bytes(b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1\rPID|1||1^^^H^MR||" + CANARY + b"\rPID|2||2\r")
    done = run("explain", "--model", tiny_model, broken, real_file())
    assert done.returncode == 1
    rejection, finding = lines(done)
    assert Rejection.model_validate(rejection).reason == "hl7.two_patients"
    assert rejection["source"]["topic"] == str(broken)
    assert finding["schema"] == "ecg-finding/1"
    assert CANARY.decode() not in done.stdout + done.stderr


def test_measure_needs_no_model(inverted: Path) -> None:
    done = run("measure", inverted)
    assert (done.returncode, done.stderr) == (0, "")
    (measured,) = lines(done)
    assert measured["file"] == str(inverted)
    assert measured["quality"]["usable"]
    assert measured["measurements"]["leads"]["V3"]["t_mv"] == pytest.approx(-0.4, abs=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two ECGs, one in a folder within, under names that say nothing; a rejected one; and what is none."""
    within = tmp_path / "mine" / "within"
    within.mkdir(parents=True)
    (within / "ecg.txt").write_bytes(real_file().read_bytes())
    (within.parent / "zz").write_bytes(real_file().read_bytes())
    (within.parent / "lab").write_bytes(b"\x0bMSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1\rPID|1||1\r\x1c\r")
    for name in ("note.dcm", "b.csv", "c.csv", "d.csv"):
        (within.parent / name).write_text("no ECG")
    (within.parent / "empty.hl7").write_bytes(b"")
    return within.parent


def test_of_a_folder_the_ecg_files_are_measured(folder: Path) -> None:
    done = run("measure", folder)
    assert done.returncode == 1
    first, second, third = lines(done)
    assert first["source"]["topic"] == str(folder / "lab")
    assert first["reason"].startswith("hl7.")
    assert [second["file"], third["file"]] == [str(folder / "within" / "ecg.txt"), str(folder / "zz")]
    (said,) = done.stderr.splitlines()
    named = ", ".join(str(folder / name) for name in ("b.csv", "c.csv", "d.csv"))
    assert said == f"left out 5 files that begin like no ECG: {named}, ..."


def test_a_folder_without_an_ecg_is_a_failure_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no ECG")
    for command in ("measure", "explain", "submit"):
        done = run(command, tmp_path, ECG_LOG=f"sqlite://{tmp_path.parent}/none.db")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{tmp_path}: no ECG file in this folder (1 file in all)\n"


def test_a_file_that_cannot_be_read_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked, opened = tmp_path / "locked.dcm", real_file()
    locked.write_bytes(b"")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert in_process(monkeypatch, "measure", locked, opened) == 1
    said = capsys.readouterr()
    assert said.err == f"{locked}: cannot be read: Permission denied\n"
    assert f'"file":"{opened}"' in said.out


def test_submit_takes_of_a_folder_its_ecgs_and_of_named_files_all(folder: Path, tmp_path: Path) -> None:
    log = {"ECG_LOG": f"sqlite://{tmp_path}/log.db"}
    done = run("submit", folder, folder / "note.dcm", **log)
    assert done.returncode == 0, done.stderr
    assert [line["file"] for line in lines(done)] == ["lab", "ecg.txt", "zz", "note.dcm"]
    assert "left out 5 files" in done.stderr


def test_submit_marks_a_backfill_and_names_one_of_several_topics(folder: Path, tmp_path: Path) -> None:
    log = {"ECG_LOG": f"sqlite://{tmp_path}/log.db", "ECG_INBOUND_TOPICS": "ecg.stat,ecg.inbound"}
    assert run("submit", "--backfill", "--topic", "ecg.stat", folder / "note.dcm", **log).returncode == 0
    assert run("submit", folder / "note.dcm", **log).returncode == 0
    headers = [lines(run("read", topic, "--envelope", **log))[0]["headers"] for topic in ("ecg.stat", "ecg.inbound")]
    assert headers == [{"ecg-backfill": "1"}, {}]
    refused = run("submit", "--topic", "ecg.findings", folder / "note.dcm", **log)
    assert refused.returncode == 2
    assert "ecg.findings is no inbound topic; those are ecg.stat, ecg.inbound" in refused.stderr


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
