"""Signal problems are found where they are, and take measurements away only there."""

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.ecg import LEADS, Ecg
from schemas.finding import LeadMeasurements, QualityFlag
from simulator.edits import add_noise, flatten, real_ecg, resample, saturate
from tests.support.analytic import analytic_ecg, ecg_of, plus
from worker.waveform.measure import measure
from worker.waveform.quality import PROBLEMS

UNMEASURED = LeadMeasurements(t_mv=None, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)
LIMB_FOLLOWERS = {"III", "aVR", "aVL", "aVF"}


def flagged(ecg: Ecg) -> set[tuple[str | None, str]]:
    own = {(flag.lead, flag.problem) for flag in measure(ecg).quality.flags if flag not in ecg.notes}
    assert {problem for _, problem in own} <= set(PROBLEMS)
    return own


def measured_leads(ecg: Ecg) -> set[str]:
    return {lead for lead, its in measure(ecg).measurements.leads.items() if its != UNMEASURED}


@pytest.mark.parametrize("bpm", [45, 60, 100, 140])
@pytest.mark.parametrize("hz", [250, 500, 1000])
def test_a_clean_ecg_has_no_flags(bpm: int, hz: int) -> None:
    assert flagged(analytic_ecg(bpm, hz)) == set()
    assert measure(analytic_ecg(bpm, hz)).quality.usable


@pytest.mark.parametrize("hz", [250, 500, 1000])
@pytest.mark.parametrize("lead", ["V1", "V4", "V6"])
def test_a_flat_chest_lead_is_flagged_and_not_measured(lead: str, hz: int) -> None:
    ecg = flatten(resample(real_ecg(), hz), lead)
    assert flagged(ecg) == {(lead, "flat")}
    assert measured_leads(ecg) == set(LEADS) - {lead}
    assert measure(ecg).quality.usable


def test_a_flat_limb_lead_takes_the_leads_that_follow_from_it_along() -> None:
    ecg = flatten(real_ecg(), "I")
    assert flagged(ecg) >= {("I", "flat"), ("aVF", "derived_from_unusable")}
    assert measured_leads(ecg) == set(LEADS) - {"I"} - LIMB_FOLLOWERS
    assert measure(ecg).measurements.axis_deg is None


def test_a_lead_that_falls_off_half_way_is_flat() -> None:
    samples_uv = analytic_ecg().samples_uv.copy()
    samples_uv[LEADS.index("V3"), 2500:] = 0
    flag = next(flag for flag in measure(ecg_of(samples_uv, 500)).quality.flags if flag.problem == "flat")
    assert flag.lead == "V3"
    assert flag.value is not None
    assert 0.3 <= flag.value <= 0.6


@pytest.mark.parametrize("hz", [250, 500, 1000])
@pytest.mark.parametrize(("lead", "limit_mv"), [("V2", 0.2), ("V5", 0.5), ("V5", 1.2), ("V3", 0.4)])
def test_a_lead_cut_off_at_its_rails_is_flagged(lead: str, limit_mv: float, hz: int) -> None:
    ecg = saturate(resample(real_ecg(), hz), lead, limit_mv=limit_mv)
    assert flagged(ecg) == {(lead, "saturated")}
    assert measured_leads(ecg) == set(LEADS) - {lead}


def test_a_slow_wave_that_reaches_the_rail_is_saturation() -> None:
    wandering = plus(real_ecg(), {"V4": 2 * np.sin(2 * np.pi * 0.15 * np.arange(10_000) / 1000)})
    samples_uv = wandering.samples_uv.copy()
    row = samples_uv[LEADS.index("V4")]
    row[:] = np.maximum(row, -1500)
    assert ("V4", "saturated") in flagged(ecg_of(samples_uv, 1000))


def test_coarse_quantisation_is_no_saturation() -> None:
    ecg = analytic_ecg(noise_mv=0.0)
    assert flagged(ecg_of(np.round(ecg.samples_uv / 5) * 5, 500)) == set()


@pytest.mark.parametrize("kind", ["muscle", "mains"])
@pytest.mark.parametrize("lead", ["V1", "V4"])
def test_noise_that_could_hide_an_inversion_is_flagged(lead: str, kind: str) -> None:
    ecg = add_noise(real_ecg(), lead, rms_mv=0.3, kind=kind)  # type: ignore[arg-type] # parametrize only knows str
    assert flagged(ecg) == {(lead, "noisy")}
    assert measured_leads(ecg) == set(LEADS) - {lead}


def test_a_little_noise_is_measured_through() -> None:
    ecg = add_noise(real_ecg(), "V4", rms_mv=0.03)
    clean = measure(real_ecg()).measurements.leads["V4"].t_mv
    assert flagged(ecg) == set()
    assert measure(ecg).measurements.leads["V4"].t_mv == pytest.approx(clean, abs=0.03)


def test_wander_is_flagged_and_measured_through() -> None:
    ecg = add_noise(real_ecg(), "V4", rms_mv=0.5, kind="wander")
    clean = measure(real_ecg()).measurements.leads["V4"].t_mv
    assert flagged(ecg) == {("V4", "baseline_wander")}
    assert measure(ecg).measurements.leads["V4"].t_mv == pytest.approx(clean, abs=0.05)


def test_mains_on_a_loose_electrode_shows_no_heart() -> None:
    t_s = np.arange(5000) / 500
    samples_uv = analytic_ecg().samples_uv.copy()
    samples_uv[LEADS.index("V2")] = 20 * np.sin(2 * np.pi * 50.3 * t_s)
    assert flagged(ecg_of(samples_uv, 500)) == {("V2", "no_qrs")}


def test_padding_over_most_of_a_lead_leaves_too_few_beats() -> None:
    samples_uv = analytic_ecg().samples_uv.copy()
    samples_uv[LEADS.index("V6"), 1000:] = np.nan
    ecg = ecg_of(samples_uv, 500)
    assert flagged(ecg) == {("V6", "missing"), ("V6", "too_few_beats")}
    assert measured_leads(ecg) == set(LEADS) - {"V6"}


def test_beside_a_short_gap_a_lead_is_still_measured() -> None:
    samples_uv = analytic_ecg().samples_uv.copy()
    samples_uv[LEADS.index("V3"), 2000:2800] = np.nan
    ecg = ecg_of(samples_uv, 500)
    assert flagged(ecg) == {("V3", "missing")}
    assert measure(ecg).measurements.leads["V3"].t_mv == pytest.approx(0.45, abs=0.02)


def exchanged_arms() -> dict[str, NDArray[np.float32]]:
    """The leads of the real ECG as they were with the arm electrodes exchanged."""
    rows = {lead: real_ecg().lead_uv(lead) for lead in LEADS}
    limb = {"I": -rows["I"], "II": rows["III"], "III": rows["II"], "aVR": rows["aVL"], "aVL": rows["aVR"]}
    return {**rows, **limb}


def test_exchanged_arm_electrodes_are_suspected() -> None:
    exchanged = ecg_of(np.stack([exchanged_arms()[lead] for lead in LEADS]), 1000)
    assert flagged(exchanged) == {(None, "lead_reversal_suspected")}
    assert not measure(exchanged).quality.usable


def test_a_heart_on_the_right_is_no_exchange() -> None:
    rows = {**exchanged_arms(), "V5": -0.3 * real_ecg().lead_uv("V5"), "V6": -0.3 * real_ecg().lead_uv("V6")}
    assert flagged(ecg_of(np.stack([rows[lead] for lead in LEADS]), 1000)) == set()


def test_an_extreme_axis_with_upright_p_is_no_exchange() -> None:
    ecg = analytic_ecg(waves={"I": (0.1, 0, 0.1, -0.9, 0.2), "II": (0.12, 0, 0.1, -0.9, 0.2)})
    assert flagged(ecg) == set()


def test_three_lost_leads_of_eight_make_an_ecg_unusable() -> None:
    two = flatten(flatten(real_ecg(), "V1"), "V4")
    assert measure(two).quality.usable
    assert not measure(flatten(two, "V6")).quality.usable


def test_what_the_decoder_noted_comes_first() -> None:
    ecg = flatten(real_ecg(), "V4")
    assert measure(ecg).quality.flags[: len(ecg.notes)] == ecg.notes
    assert isinstance(measure(ecg).quality.flags[-1], QualityFlag)


def test_a_loud_lead_does_not_disturb_the_others() -> None:
    ecg = analytic_ecg()
    loud = plus(ecg, {"V1": 2 * np.random.default_rng(5).standard_normal(5000)})
    clean, its = measure(ecg).measurements, measure(loud).measurements
    assert its.heart_rate_bpm == clean.heart_rate_bpm
    assert its.leads["V4"].t_mv == pytest.approx(clean.leads["V4"].t_mv, abs=0.01)
