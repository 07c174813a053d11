"""A hospital's own files, with labels beside them."""

import functools
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from simulator.generate import simulate
from simulator.hospital import A
from simulator.writers.files import write_in_turn
from training.data.recorded import DataError, RecordedExamples
from worker.picture.layout import make_layout
from worker.verdict.grounding import ground

LAYOUT = make_layout("3x4", 448, 196)
DECODE = functools.partial(decode, site=SiteDefaults(ZoneInfo("UTC"), None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve simulated ECGs in every form with their truth, one of them not readable."""
    path = tmp_path_factory.mktemp("recorded")
    with (path / "truth.jsonl").open("w") as truths:
        for at, (ecg, truth) in enumerate(simulate(12, 4, A)):
            written = write_in_turn(ecg, at)
            payload = b"broken" if at == 0 else written.payload
            (path / f"{at}{written.suffix}").write_bytes(payload)
            truths.write(json.dumps({"file": f"{at}{written.suffix}", **json.loads(truth.to_json())}) + "\n")
    return path


def test_simulated_files_become_the_examples_that_the_worker_would_ask_about(folder: Path) -> None:
    recorded = RecordedExamples(folder, DECODE, LAYOUT)
    truths = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    asked = sum(truth["verdict"] != "no_t_wave_inversion" for truth in truths)
    assert len(recorded) + sum(recorded.left_out.values()) == asked
    assert sum(recorded.left_out.values()) >= 1
    for example in recorded:
        assert example.image.shape == (196, 448, 3)
        assert example.reasoning is not None
        assert ground(example.reasoning, example.measured.measurements).grounded
        assert example.facts.clinical_texts
        assert example.inverted is not None


def test_labels_may_bring_texts_and_reasoning_of_their_own(folder: Path, tmp_path: Path) -> None:
    file = next(folder.glob("3.*"))
    labels = tmp_path / "labels.jsonl"
    line = {"file": str(file), "ischemic": True, "text": ["chest pain"], "reasoning": "T is inverted in V2."}
    labels.write_text(json.dumps(line) + "\n")
    (example,) = RecordedExamples(labels, DECODE, LAYOUT)
    assert example.facts.clinical_texts == ("chest pain",)
    assert example.target == "<think>T is inverted in V2.</think><answer>yes</answer>"
    assert example.inverted is None
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({**line, "ischemic": False}) + "\n")
    assert RecordedExamples(other, DECODE, LAYOUT).digest != RecordedExamples(labels, DECODE, LAYOUT).digest


@pytest.mark.parametrize(
    "line",
    ["no json", "[]", "{}", '{"file": "x.dcm"}', '{"file": "x.dcm", "ischemic": "yes"}',
     '{"file": "FILE", "ischemic": true, "text": [1]}'],
)  # fmt: skip
def test_a_wrong_line_is_named_by_its_number_and_not_quoted(folder: Path, tmp_path: Path, line: str) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(line.replace("FILE", str(next(folder.glob("3.*")))))
    with pytest.raises(DataError, match="line 1") as refused:
        RecordedExamples(labels, DECODE, LAYOUT)
    assert line not in str(refused.value)


def test_a_folder_without_labels_and_data_without_an_example_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.jsonl"):
        RecordedExamples(tmp_path, DECODE, LAYOUT)
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"file": str(next(folder.glob("0.*"))), "ischemic": True}) + "\n")
    with pytest.raises(DataError, match="no ECG"):
        RecordedExamples(labels, DECODE, LAYOUT)
