"""The command that writes synthetic ECGs."""

import json
from pathlib import Path

import pytest

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from cli import output
from cli.commands.simulate import Site as SiteName
from cli.commands.simulate import simulate
from tests.support.command_line import in_process


@pytest.fixture
def written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    simulate(tmp_path / "ecgs", count=12, seed=4, site=SiteName.B)
    summary = json.loads(capsys.readouterr().out)
    assert summary["files"] == sum(summary["verdicts"].values()) == 12
    return tmp_path / "ecgs"


def test_every_file_is_an_ecg_with_a_line_of_truth(written: Path) -> None:
    truths = [json.loads(line) for line in (written / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(path.name for path in written.iterdir() if path.name != "truth.jsonl") == sorted(
        truth["file"] for truth in truths
    )
    assert [truth["form"] for truth in truths[:6]] == [
        "na", "chapter7", "pcd", "ed_dicom", "dicom_12_lead", "dicom_general",
    ]  # fmt: skip
    for truth in truths:
        decoded = decode((written / truth["file"]).read_bytes(), SiteDefaults())
        assert decoded.patient.id == f"PB4-{truth['index']:06d}"
        assert truth["verdict"] in {"ischemic", "non_ischemic", "no_t_wave_inversion"}
        assert (truth["site"], truth["seed"]) == ("B", 4)
        assert set(truth["leads"]) <= set(truth["per_lead"])


def test_a_run_can_be_repeated_byte_by_byte(written: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "again", count=7, seed=4, site=SiteName.B)
    for path in (tmp_path / "again").glob("B4-*"):
        assert path.read_bytes() == (written / path.name).read_bytes()


def test_a_folder_that_is_not_empty_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert in_process(monkeypatch, "simulate", "-o", tmp_path, "-n", 3) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("wrong", [("--site", "C"), ("-n", "0"), ("--seed", "-1")])
def test_wrong_use_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]) -> None:
    assert in_process(monkeypatch, "simulate", "-o", tmp_path / "new", *wrong) == 2
    assert not (tmp_path / "new").exists()


def test_a_terminal_sees_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []

    def track(items: range, doing: str) -> range:
        seen.append((len(items), doing))
        return items

    monkeypatch.setattr(output, "track", track)
    simulate(tmp_path / "ecgs", count=3, seed=0, site=SiteName.A)
    assert seen == [(3, "simulating")]
