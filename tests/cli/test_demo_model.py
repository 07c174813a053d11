"""The demo model in the whole system: what a stranger sees first has to be right."""

import re
from pathlib import Path

import pytest

from cli.wiring.model import DEMO_MODEL
from schemas.finding import Finding
from simulator.edits import invert_t_waves, real_ecg
from simulator.writers.dicom import write_dicom
from tests.cli.command import lines, real_file, run
from worker.model.manifest import read_manifest

LARGEST_BYTES = 12 * 10**6


def test_the_demo_model_is_small_and_says_what_it_is() -> None:
    manifest = read_manifest(DEMO_MODEL)
    assert (manifest.name, manifest.training) == ("ecg-r1-demo", "demo")
    assert sum(file.stat().st_size for file in DEMO_MODEL.glob("*.safetensors")) <= LARGEST_BYTES
    assert "Never use this model for a patient" in (DEMO_MODEL / "README.md").read_text(encoding="utf-8")


@pytest.mark.timeout(600)
def test_the_demo_reads_19_of_20_simulated_ecgs_rightly(tmp_path: Path) -> None:
    done = run("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    summary = re.search(r"(\d+) of (\d+) simulated ECGs read rightly", done.stdout)
    assert summary is not None, done.stdout
    right, known = map(int, summary.groups())
    assert known >= 20
    assert right >= 0.95 * known
    assert "DEMO" in done.stdout


def test_explain_without_a_model_takes_the_demo_model_and_says_so(tmp_path: Path) -> None:
    pasted = tmp_path / "inverted.dcm"
    pasted.write_bytes(write_dicom(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4)))
    done = run("explain", real_file(), pasted)
    assert done.returncode == 0
    assert "DEMO" in done.stderr
    as_it_is, inverted = (Finding.model_validate(line) for line in lines(done))
    assert as_it_is.assessment.verdict == "no_t_wave_inversion"
    assert as_it_is.reasoning is None, "the model was asked without a question"
    # The inversion that was drawn into the real ECG is what the model speaks of, and the waveform bears it out.
    assert inverted.reasoning is not None
    assert inverted.reasoning.grounded
    assert {"V2", "V3", "V4"} <= {c.lead for c in inverted.reasoning.claims if c.stated == "inverted"}
    assert "DEMO MODEL" in inverted.flag.summary
