"""The same ECG is the same ECG, whichever message brought it."""

import dataclasses
from datetime import UTC, datetime

import numpy as np

from schemas.ecg import LEADS, Ecg, Order, Patient
from worker.provenance import ecg_digest, finding_id


def an_ecg() -> Ecg:
    return Ecg(
        format="dicom",
        message_id="1",
        leads=LEADS,
        samples_uv=np.zeros((12, 5000), np.float32),
        sampling_hz=500.0,
        acquired_at=datetime(2026, 3, 3, tzinfo=UTC),
        patient=Patient("p1"),
    )


def test_a_retransmission_is_the_same_ecg() -> None:
    again = dataclasses.replace(an_ecg(), message_id="2", format="hl7v2")
    assert ecg_digest(again) == ecg_digest(an_ecg())


def test_another_patient_time_order_or_sample_is_another_ecg() -> None:
    samples_uv = np.zeros((12, 5000), np.float32)
    samples_uv[3, 7] = 1
    others = [
        dataclasses.replace(an_ecg(), patient=Patient("p2")),
        dataclasses.replace(an_ecg(), acquired_at=datetime(2026, 3, 4, tzinfo=UTC)),
        dataclasses.replace(an_ecg(), order=Order(filler="f2")),
        dataclasses.replace(an_ecg(), order=Order(clinical_texts=("chest pain",))),
        dataclasses.replace(an_ecg(), samples_uv=samples_uv),
    ]
    digests = {ecg_digest(ecg) for ecg in [an_ecg(), *others]}
    assert len(digests) == len(others) + 1


def test_another_model_makes_another_finding() -> None:
    assert finding_id("e", "m1") == finding_id("e", "m1") != finding_id("e", "m2")
