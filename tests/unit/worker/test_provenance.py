"""The same ECG is the same ECG, whichever message brought it."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from schemas.ecg import INDEPENDENT_LEADS, LEADS, Ecg, Filters, Order, Patient
from schemas.finding import QualityFlag
from worker.provenance import ecg_digest, finding_id, fingerprint, recording_digest


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


def with_one_other_sample() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    samples_uv = np.zeros((12, 5000), np.float32)
    samples_uv[3, 7] = 1
    return samples_uv


OTHERS: dict[str, dict[str, Any]] = {
    "patient": {"patient": Patient("p2")},
    "assigner": {"patient": Patient("p1", assigner="HOSP")},
    "age": {"patient": Patient("p1", age_years=60.0)},
    "sex": {"patient": Patient("p1", sex="female")},
    "encounter": {"order": Order(encounter="x")},
    "placer": {"order": Order(placer="x")},
    "filler": {"order": Order(filler="x")},
    "clinical text": {"order": Order(clinical_texts=("chest pain",))},
    "clinical texts": {"order": Order(clinical_texts=("chest", "pain"))},
    "time": {"acquired_at": datetime(2026, 3, 3, 0, 0, 0, 1, tzinfo=UTC)},
    "leads": {"leads": (*LEADS[:10], "V6", "V5")},
    "derived leads": {"derived_leads": ("III", "aVR", "aVL", "aVF")},
    "rate": {"sampling_hz": 500.1},
    "sample": {"samples_uv": with_one_other_sample()},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_an_ecg_that_differs_in_one_fact_is_another_ecg(other: dict[str, Any]) -> None:
    assert ecg_digest(dataclasses.replace(an_ecg(), **other)) != ecg_digest(an_ecg())


def test_no_two_facts_are_taken_for_one_another() -> None:
    digests = {ecg_digest(dataclasses.replace(an_ecg(), **other)) for other in OTHERS.values()}
    assert len(digests) == len(OTHERS)


def test_priority_device_filters_and_notes_do_not_make_another_ecg() -> None:
    same = dataclasses.replace(
        an_ecg(),
        order=Order(priority="stat"),
        device="other",
        filters=Filters(high_pass_hz=0.05),
        notes=(QualityFlag(lead=None, problem="time_zone_assumed"),),
    )
    assert ecg_digest(same) == ecg_digest(an_ecg())


RECORDED = np.random.default_rng(1).normal(0, 300, (12, 500)).astype(np.float32)


def recorded(samples_uv: np.ndarray[tuple[int, ...], Any] = RECORDED, **changes: Any) -> str:
    return recording_digest(dataclasses.replace(an_ecg(), samples_uv=np.asarray(samples_uv, np.float32), **changes))


def test_a_recording_is_its_samples_whatever_is_said_of_it() -> None:
    for name, other in OTHERS.items():
        if name not in ("sample", "leads"):
            assert recorded(**other) == recorded(), name
    derived = RECORDED.copy()
    derived[2:6] += 7
    assert recorded(derived) == recorded()
    assert recorded(RECORDED[[0, 1, *range(6, 12)]], leads=INDEPENDENT_LEADS) == recorded()


def test_what_two_formats_round_differently_is_one_recording() -> None:
    whole = np.rint(RECORDED)
    assert recorded(whole + 0.4) == recorded(whole - 0.4) == recorded(whole)
    assert recorded(np.zeros_like(RECORDED)) == recorded(-np.zeros_like(RECORDED))


def test_another_recording_is_another_one() -> None:
    changed, shorter, padded = RECORDED.copy(), RECORDED[:, :-1], RECORDED.copy()
    changed[11, 499] += 1
    padded[7, 3] = np.nan
    swapped = RECORDED[[1, 0, *range(2, 12)]]
    fewer = recorded(RECORDED[:11], leads=LEADS[:11])
    found = [recorded(), *map(recorded, (changed, shorter, padded, swapped)), fewer]
    assert len(set(found)) == len(found)
    other_padding = padded.copy()
    other_padding.view(np.uint32)[7, 3] ^= 1
    assert np.isnan(other_padding[7, 3])
    assert recorded(other_padding) == recorded(padded)


def test_another_model_makes_another_finding() -> None:
    assert finding_id("e", "m1") == finding_id("e", "m1") != finding_id("e", "m2")
    assert finding_id("e2", "m1") != finding_id("e", "m1")


def test_a_fingerprint_is_that_of_the_parts_in_any_order() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2}}) == fingerprint({"b": {"c": 2}, "a": 1})
    changed: list[dict[str, object]] = [{"a": 2, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, {"a": 1}]
    assert len({fingerprint(parts) for parts in ({"a": 1, "b": {"c": 2}}, *changed)}) == 4
