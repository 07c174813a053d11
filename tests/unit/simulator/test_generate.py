"""Simulated ECGs: limb leads, determinism, and whether what is measured is what the truth says."""

import dataclasses
import json
from collections import Counter
from functools import cache
from itertools import islice

import numpy as np
import pytest

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from schemas.ecg import LEADS, Ecg
from simulator import hospital
from simulator.clinical_text import CONTRADICTORY_RATE, MIXED_RATE, sample_text
from simulator.entities import ENTITIES
from simulator.faults import PROBLEMS, Fault, with_fault
from simulator.generate import BLOCK, simulate
from simulator.hospital import Hospital
from simulator.parameters import RATE_BPM, draw_entities, sample_parameters
from simulator.truth import HeartTruth, Truth, heart_truths
from simulator.waveform import Samples, waveform
from simulator.writers.files import VARIANTS, write_in_turn
from simulator.writers.hl7v2 import CHAPTER7_UV_PER_COUNT
from tests.support.analytic import ecg_of
from worker.verdict.screening import screen
from worker.waveform.measure import Measured, measure

CLEAN = dataclasses.replace(hospital.A, noise_uv=(0, 3), wander_uv=(0, 0), mains_uv=(0, 0), fault_rate=0)
EACH = 8
# A U wave taller than T merges with it: no method tells the two apart in every lead, so T is not compared there.
WITH_TALL_U = "hypokalaemia"


@cache
def clean_ecgs(entity: str, seed: int = 3) -> list[tuple[HeartTruth, Measured]]:
    """ECGs of one entity without noise: the truth and the measurement."""
    rng = np.random.default_rng([seed, list(ENTITIES).index(entity)])
    parameters = draw_entities(rng, np.full(EACH, list(ENTITIES).index(entity)), CLEAN)
    truths = heart_truths(parameters, CLEAN)
    return [
        (truth, measure(ecg_of(samples, 500.0)))
        for truth, samples in zip(truths, waveform(parameters, CLEAN), strict=True)
    ]


def first(n: int, site: Hospital = hospital.A, seed: int = 1) -> list[tuple[Ecg, Truth]]:
    return list(simulate(n, seed, site))


@pytest.mark.parametrize("site", hospital.HOSPITALS.values(), ids=hospital.HOSPITALS)
def test_limb_leads_are_einthovens_and_goldbergers(site: Hospital) -> None:
    always_faulty = dataclasses.replace(site, fault_rate=1.0)
    for ecg, _ in [*first(20, site), *first(20, always_faulty)]:
        assert ecg.samples_uv.shape == (12, 5000)
        assert ecg.samples_uv.dtype == np.float32
        i, ii, iii, avr, avl, avf = ecg.samples_uv[:6]
        half = np.float32(0.5)
        assert np.array_equal(iii, ii - i)
        assert np.array_equal(avr, -half * (i + ii))
        assert np.array_equal(avl, i - half * ii)
        assert np.array_equal(avf, ii - half * i)


def test_the_same_seed_gives_the_same_ecgs_however_many_are_wanted() -> None:
    few, many = first(BLOCK // 2), list(islice(simulate(10_000, 1, hospital.A), BLOCK + 3))
    for (ecg, truth), (again, same) in zip(few, many, strict=False):
        assert np.array_equal(ecg.samples_uv, again.samples_uv)
        assert (ecg.message_id, ecg.patient, ecg.order) == (again.message_id, again.patient, again.order)
        assert (ecg.acquired_at, ecg.filters, ecg.device) == (again.acquired_at, again.filters, again.device)
        assert truth == same
    assert [truth.index for _, truth in many] == list(range(BLOCK + 3))


def test_another_seed_block_or_site_gives_other_ecgs() -> None:
    one = first(BLOCK + 1)
    others = [one[-1], first(1, seed=2)[0], first(1, hospital.B)[0]]
    assert not any(np.array_equal(one[0][0].samples_uv, ecg.samples_uv) for ecg, _ in others)
    ids = {ecg.message_id for ecg, _ in [*one, *others]}
    assert len(ids) == len(one) + 2  # the block's first ECG is in both lists


def test_every_entity_is_produced_and_ischemic_ones_are_neither_rare_nor_most() -> None:
    chosen = sample_parameters(np.random.default_rng(1), 2000, hospital.A).entity
    names = Counter(list(ENTITIES)[place] for place in chosen)
    assert set(names) == set(ENTITIES)
    ischemic = sum(count for name, count in names.items() if ENTITIES[name].ischemic)
    assert 0.25 < ischemic / 2000 < 0.5


@pytest.mark.parametrize("entity", ENTITIES)
def test_what_is_measured_in_a_clean_ecg_is_what_the_truth_says(entity: str) -> None:
    errors_mv: list[float] = []
    agreements: list[bool] = []
    for truth, measured in clean_ecgs(entity):
        found = measured.measurements
        assert truth.entity == entity
        assert measured.quality.usable
        assert found.heart_rate_bpm == pytest.approx(truth.rate_bpm, abs=2)
        assert RATE_BPM[0] - 2 <= truth.rate_bpm <= RATE_BPM[1] + 2
        changed = {*truth.leads, *truth.biphasic}
        for lead in LEADS:
            t_mv = found.leads[lead].t_mv
            assert t_mv is not None
            errors_mv.append(abs(t_mv - truth.per_lead[lead].t_mv))
            if lead != "aVR" and abs(truth.per_lead[lead].t_mv + 0.1) > 0.05:
                agreements.append((lead in changed) == (lead in {*found.t_wave_inversion, *measured.biphasic}))
    if entity != WITH_TALL_U:
        assert np.median(errors_mv) < 0.01
        assert np.percentile(errors_mv, 95) < 0.05
        assert np.mean(agreements) >= 0.95


@pytest.mark.parametrize("entity", sorted(set(ENTITIES) - {WITH_TALL_U, "normal", "digoxin"}))
def test_symmetry_is_what_the_truth_says(entity: str) -> None:
    ratios = [
        found / stated
        for truth, measured in clean_ecgs(entity)
        for lead, known in truth.per_lead.items()
        if lead in truth.leads
        and (stated := known.symmetry) is not None
        and (found := measured.measurements.leads[lead].t_symmetry) is not None
        and abs(known.st_mv) < 0.03  # a tangent from a level ST segment
    ]
    if ratios:
        assert np.median(ratios) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_the_verdict_is_that_of_screening() -> None:
    asked = [
        (screen(ecg, measure(ecg)).verdict is None) == (truth.verdict != "no_t_wave_inversion")
        for ecg, truth in first(3 * BLOCK, CLEAN)
        if truth.entity != WITH_TALL_U
    ]
    assert np.mean(asked) >= 0.98


def test_entities_are_what_their_names_say() -> None:
    def every(entity: str) -> list[HeartTruth]:
        return [truth for truth, _ in clean_ecgs(entity)]

    for truth in every("wellens_b"):
        assert {"V2", "V3", "V4"} <= set(truth.leads)
        assert min(known.t_mv for known in truth.per_lead.values()) <= -0.43
    assert any(truth.biphasic for truth in every("wellens_a"))
    for truth in every("lvh_strain"):
        assert {"V6", "aVL"} <= set(truth.leads)
        assert truth.per_lead["V6"].st_mv < -0.03
    for truth in every("pulmonary_embolism"):
        assert {"III", "V1", "V2"} <= set(truth.leads)
        assert truth.rate_bpm > 95
    for truth in every("lbbb"):
        assert truth.qrs_ms >= 120
        assert truth.per_lead["V2"].t_mv > 0 > truth.per_lead["V6"].t_mv
    for truth in every("takotsubo"):
        assert truth.per_lead["aVR"].t_mv > 0.1
        assert "V1" not in truth.leads
    for truth in every("memory_t"):
        assert truth.per_lead["aVL"].t_mv > 0
        assert truth.qrs_ms < 120
    for truth in every("normal"):
        assert truth.verdict == "no_t_wave_inversion"
        assert set(truth.leads) <= {"III", "aVL", "V1"}  # where a T wave may point either way in health


def test_the_twins_of_memory_and_ischemia_differ_in_their_history_only() -> None:
    def drawn(entity: str) -> Samples:
        place = np.array([list(ENTITIES).index(entity)])
        return waveform(draw_entities(np.random.default_rng(1), place, hospital.A), hospital.A)

    assert np.array_equal(drawn("memory_t"), drawn("nste_acs_wraparound"))
    assert not set(ENTITIES["memory_t"].histories) & set(ENTITIES["nste_acs_wraparound"].histories)


def test_voltages_of_hypertrophy_are_measured() -> None:
    tall = [measured.measurements.sokolow_lyon_mv for _, measured in clean_ecgs("lvh_strain")]
    usual = [measured.measurements.sokolow_lyon_mv for _, measured in clean_ecgs("nste_acs_lateral")]
    assert min(item for item in tall if item is not None) >= 3.0
    assert np.median([item for item in tall if item is not None]) >= 3.5
    assert max(item for item in usual if item is not None) < 3.5


@pytest.mark.parametrize("problem", ["flat", "saturated", "noisy"])
def test_a_fault_is_flagged_on_its_lead(problem: str) -> None:
    faulty = dataclasses.replace(hospital.A, fault_rate=1.0)
    flagged = []
    for ecg, truth in first(3 * BLOCK, faulty):
        (fault,) = truth.faults
        if fault.problem == problem:
            quality = measure(ecg).quality
            flagged.append((fault.lead, problem) in {(flag.lead, flag.problem) for flag in quality.flags})
            # Loud noise in one lead may hide the beats of all: then nothing may be said of the ECG at all.
            assert flagged[-1] or not quality.usable
    assert len(flagged) > 30
    assert np.mean(flagged) >= 0.9


def test_exchanged_arm_electrodes_are_flagged_where_the_heart_points_to_the_left() -> None:
    rng = np.random.default_rng(0)
    swap = Fault("arm_electrodes_swapped", None)
    parameters = draw_entities(rng, np.full(40, list(ENTITIES).index("normal")), hospital.A)
    flagged = []
    for samples in waveform(parameters, hospital.A):
        axis_deg = measure(ecg_of(samples, 500.0)).measurements.axis_deg
        if axis_deg is not None and -10 < axis_deg < 20:  # so that aVL is upright, and aVR once the arms are exchanged
            swapped = measure(ecg_of(with_fault(samples, swap, rng, hospital.A), 500.0))
            flagged.append("lead_reversal_suspected" in {flag.problem for flag in swapped.quality.flags})
    assert len(flagged) > 3
    assert all(flagged)


def test_every_kind_of_fault_occurs() -> None:
    faulty = dataclasses.replace(hospital.A, fault_rate=1.0)
    assert {fault.problem for _, truth in first(BLOCK, faulty) for fault in truth.faults} == set(PROBLEMS)


def test_a_fault_changes_its_lead_and_what_follows_from_it_only() -> None:
    ((ecg, _),) = first(1, CLEAN)
    rng = np.random.default_rng(0)
    flat = with_fault(ecg.samples_uv, Fault("flat", "V3"), rng, CLEAN)
    assert [lead for lead, one, other in zip(LEADS, ecg.samples_uv, flat, strict=True) if (one != other).any()] == [
        "V3"
    ]
    swapped = with_fault(ecg.samples_uv, Fault("arm_electrodes_swapped", None), rng, CLEAN)
    row = LEADS.index
    assert np.array_equal(swapped[row("I")], -ecg.lead_uv("I"))
    for lead, was in {"II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR", "aVF": "aVF"}.items():
        np.testing.assert_allclose(swapped[row(lead)], ecg.lead_uv(was), atol=0.01)
    assert np.array_equal(swapped[6:], ecg.samples_uv[6:])


@pytest.mark.slow
@pytest.mark.parametrize("site", hospital.HOSPITALS.values(), ids=hospital.HOSPITALS)
def test_faults_are_as_frequent_as_stated(site: Hospital) -> None:
    faulty = sum(bool(truth.faults) for _, truth in first(10 * BLOCK, site))
    assert faulty / (10 * BLOCK) == pytest.approx(site.fault_rate, abs=0.04)


@pytest.mark.parametrize("place", range(len(VARIANTS)), ids=VARIANTS)
def test_a_written_ecg_decodes_to_the_same(place: int) -> None:
    half_a_count_uv = {"chapter7": CHAPTER7_UV_PER_COUNT / 2}.get(VARIANTS[place], 0.625)
    for ecg, _ in [*first(3), *first(3, hospital.B)]:
        written = write_in_turn(ecg, place)
        assert written.variant == VARIANTS[place]
        decoded = decode(written.payload, SiteDefaults())
        assert decoded.leads == ecg.leads
        assert np.abs(decoded.samples_uv - ecg.samples_uv).max() <= half_a_count_uv * 1.01
        assert (decoded.patient, decoded.acquired_at) == (ecg.patient, ecg.acquired_at)
        assert decoded.order.priority == ecg.order.priority
        assert " ".join(decoded.order.clinical_texts).split() == " ".join(ecg.order.clinical_texts).split()


@pytest.mark.parametrize("site", hospital.HOSPITALS.values(), ids=hospital.HOSPITALS)
def test_texts_mislead_as_often_as_stated(site: Hospital) -> None:
    rng = np.random.default_rng(1)
    entities = list(ENTITIES.values())
    kinds = Counter(sample_text(rng, entities[at % len(entities)], site).kind for at in range(4000))
    assert kinds["contradictory"] / 4000 == pytest.approx(CONTRADICTORY_RATE, abs=0.02)
    assert kinds["mixed"] / 4000 == pytest.approx(MIXED_RATE, abs=0.02)


def test_every_cue_of_every_entity_has_words_and_none_names_the_answer() -> None:
    rng = np.random.default_rng(2)
    for entity in ENTITIES.values():
        for site in hospital.HOSPITALS.values():
            for _ in range(60):
                words = " ".join(sample_text(rng, entity, site).texts).lower()
                assert words
                assert "ischem" not in words
                assert "t wave" not in words


def test_the_sites_differ_as_stated() -> None:
    a, b = ([ecg for ecg, _ in first(3 * BLOCK, site)] for site in (hospital.A, hospital.B))
    assert np.mean([ecg.patient.age_years for ecg in b]) > np.mean([ecg.patient.age_years for ecg in a])

    def above_60_hz(ecgs: list[Ecg]) -> float:
        power = np.abs(np.fft.rfft(np.stack([ecg.lead_uv("V6") for ecg in ecgs]), axis=1)) ** 2
        share: float = (power[:, 650:].sum(axis=1) / power[:, 1:].sum(axis=1)).mean()
        return share

    assert above_60_hz(b) < above_60_hz(a) / 2
    assert {len(ecg.order.clinical_texts) for ecg in a} == {2}
    assert {len(ecg.order.clinical_texts) for ecg in b} == {1}


def test_the_truth_is_one_line_of_json() -> None:
    ((_, truth),) = first(1)
    line = truth.to_json()
    assert "\n" not in line
    read = json.loads(line)
    assert read["entity"] == truth.entity
    assert set(read["per_lead"]) == set(LEADS)
    assert read["per_lead"]["V2"]["t_mv"] == truth.per_lead["V2"].t_mv
