"""What a command line says of examples is taken for exactly one thing, or refused."""

import json
from pathlib import Path

import pytest

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from training.data.recorded import DataError, RecordedExamples
from training.data.sources import FORMS, open_data
from training.data.synthetic import Synthetic
from worker.picture.layout import make_layout

LAYOUT = make_layout("3x4", 280, 112)


def read(payload: bytes) -> Ecg:
    return decode(payload, SiteDefaults())


def synthetic(stated: str) -> Synthetic:
    opened = open_data(stated, LAYOUT, read)
    assert isinstance(opened, Synthetic)
    return opened


def test_hospital_seed_and_number_are_those_that_were_stated() -> None:
    found = synthetic("simulated:B:17:23")
    assert len(found) == 23
    assert "hospital B, seed 17, 23 examples" in found.source
    assert found[0].name.startswith("B17-")
    assert found[0].image.shape == (112, 280, 3)


def test_a_number_of_examples_is_not_their_seed() -> None:
    assert synthetic("simulated:A:5:9").source != synthetic("simulated:A:9:5").source


def test_augmentation_is_for_those_that_ask_for_it() -> None:
    served, varied = synthetic("simulated:A:1:40"), synthetic("simulated:A:1:40:varied")
    assert served.source != varied.source
    assert any((one.image != other.image).any() for one, other in zip(served[:8], varied[:8], strict=True))


@pytest.mark.parametrize(
    "stated",
    [
        "simulated:",
        "simulated:A",
        "simulated:A:1",
        "simulated:C:1:5",
        "simulated:a:1:5",
        "simulated:A:-1:5",
        "simulated:A:1:-5",
        "simulated:A:1.5:5",
        "simulated:A:1:5:",
        "simulated:A::5",
        "simulated:A:1:",
        "simulated:A:1:5:striped",
        "simulated:A:1:5:varied:twice",
    ],
)
def test_what_is_stated_otherwise_is_refused_with_the_forms_there_are(stated: str) -> None:
    with pytest.raises(DataError) as refused:
        open_data(stated, LAYOUT, read)
    assert str(refused.value) == f"{stated} is none of: {FORMS}."


def test_anything_else_is_a_place_of_recorded_files(tmp_path: Path) -> None:
    from simulator.edits import invert_t_waves, real_ecg, resample
    from simulator.writers.dicom import write_dicom

    ecg = resample(invert_t_waves(real_ecg(), ["V2", "V3"], depth_mv=0.4), 250)
    (tmp_path / "one.dcm").write_bytes(write_dicom(ecg))
    (tmp_path / "labels.jsonl").write_text(json.dumps({"file": "one.dcm", "ischemic": True}) + "\n")
    opened = open_data(str(tmp_path), LAYOUT, read)
    assert isinstance(opened, RecordedExamples)
    assert [item.ischemic for item in opened] == [True]
    with pytest.raises(DataError):
        open_data(str(tmp_path / "nowhere"), LAYOUT, read)
