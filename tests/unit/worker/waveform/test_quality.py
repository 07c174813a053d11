"""Signal problems are found where they are, and take measurements away only there."""

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.ecg import LEADS, Ecg
from schemas.finding import LeadMeasurements, QualityFlag
from simulator.edits import add_noise, flatten, real_ecg, resample, saturate
from tests.support.analytic import analytic_ecg, ecg_of, plus
from worker.waveform.beats import Beats
from worker.waveform.measure import measure
from worker.waveform.quality import (
    PROBLEMS,
    beat_flags,
    excluded,
    good_independent,
    recording_flags,
    reversal_flag,
)
from worker.waveform.spectrum import spectrum

RATES_HZ = [250, 500, pytest.param(1000, marks=pytest.mark.slow)]
UNMEASURED = LeadMeasurements(t_mv=None, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)
LIMB_FOLLOWERS = {"III", "aVR", "aVL", "aVF"}


def flagged(ecg: Ecg) -> set[tuple[str | None, str]]:
    added = {(flag.lead, flag.problem) for flag in measure(ecg).quality.flags if flag not in ecg.notes}
    assert {problem for _, problem in added} <= set(PROBLEMS)
    return added


def measured_leads(ecg: Ecg) -> set[str]:
    return {lead for lead, values in measure(ecg).measurements.leads.items() if values != UNMEASURED}


@pytest.mark.parametrize("bpm", [45, 60, 100, 140])
@pytest.mark.parametrize("hz", RATES_HZ)
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
    clean, values = measure(ecg).measurements, measure(loud).measurements
    assert values.heart_rate_bpm == clean.heart_rate_bpm
    assert values.leads["V4"].t_mv == pytest.approx(clean.leads["V4"].t_mv, abs=0.01)


def trembling(lead: str, row_uv: NDArray[np.floating], hz: float = 500) -> list[tuple[str, float | None]]:
    """What the samples of one lead show, beside eleven that show nothing."""
    samples_uv = np.tile(200 * np.sin(np.arange(row_uv.size)), (12, 1))
    samples_uv[LEADS.index(lead)] = row_uv
    flags = recording_flags(ecg_of(samples_uv, hz))
    assert {flag.lead for flag in flags} <= {lead}
    return [(flag.problem, flag.value) for flag in flags]


@pytest.mark.parametrize(("missing", "flags"), [(250, []), (251, [("missing", 0.05)])])
def test_padding_is_flagged_from_more_than_a_twentieth_on(missing: int, flags: list[tuple[str, float]]) -> None:
    row_uv = 200 * np.sin(np.arange(5000))
    row_uv[:missing] = np.nan
    assert trembling("V3", row_uv) == flags


@pytest.mark.parametrize(("moved_uv", "still"), [(29.9, True), (30.0, False), (30.1, False)])
def test_a_lead_that_moves_less_than_30_uv_in_two_seconds_is_flat(moved_uv: float, still: bool) -> None:
    row_uv = 200 * np.sin(np.arange(5000.0))
    row_uv[2000:3000] = moved_uv * (np.arange(1000) % 2)
    assert trembling("V3", row_uv) == ([("flat", 0.2)] if still else [])


def test_less_than_two_still_seconds_are_not_flat() -> None:
    row_uv = 200 * np.sin(np.arange(5000.0))
    row_uv[2001:3000] = 0
    assert trembling("V3", row_uv) == []


def test_a_window_with_padding_is_not_still() -> None:
    row_uv = 200 * np.sin(np.arange(5000.0))
    row_uv[2000:3000] = 0
    row_uv[2500] = np.nan
    assert trembling("V3", row_uv) == []


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("level_uv", "samples", "cut"),
    [
        (300.0, 20, True), (300.0, 19, False), (300.0, 21, True),
        (101.0, 20, True), (100.0, 20, False), (99.0, 20, False),
    ],
)  # fmt: skip
def test_a_plateau_of_40_ms_more_than_100_uv_from_the_median_is_a_rail(
    level_uv: float, samples: int, cut: bool, sign: int
) -> None:
    row_uv = np.where(np.arange(5000) % 2, 40.0, -40.0)
    row_uv[:101] = 0  # an odd number of zeros in the middle: the median is 0
    row_uv[900:902] = 40.0, -40.0
    row_uv[1000 : 1000 + samples] = level_uv
    row_uv[1000 + samples] = row_uv[999] = 0.8 * level_uv
    row_uv[0] = 0
    assert np.median(row_uv) == 0
    expected = [("saturated", sign * level_uv / 1000)] if cut else []
    assert trembling("V3", sign * row_uv) == expected


@pytest.mark.parametrize(
    ("times", "samples", "edge_uv", "hz", "cut"),
    [
        (3, 3, 45.0, 500.0, True),
        (2, 3, 45.0, 500.0, False),
        (3, 2, 45.0, 500.0, False),
        (3, 3, 40.0, 500.0, False),  # 20 uV in a millisecond is what a natural peak reaches
        (3, 3, 40.5, 500.0, True),
        (3, 6, 25.0, 1000.0, True),
        (3, 5, 25.0, 1000.0, False),
        (3, 3, 90.0, 250.0, True),
        (3, 2, 90.0, 250.0, False),
    ],
)
def test_three_summits_cut_for_6_ms_at_full_speed_are_a_rail(
    times: int, samples: int, edge_uv: float, hz: float, cut: bool
) -> None:
    row_uv = 40 * np.sin(np.arange(round(10 * hz)) * 10 / hz)
    for beat_no in range(times):
        at = 200 + beat_no * 400
        row_uv[at - 40 : at] = np.linspace(0, 300 - edge_uv, 40)
        row_uv[at : at + samples] = 300
        row_uv[at + samples : at + samples + 40] = np.linspace(300 - edge_uv, 0, 40)
    flags = trembling("V3", row_uv, hz)
    assert [problem for problem, _ in flags] == (["saturated"] if cut else [])
    assert [value for _, value in flags] == pytest.approx([0.3] if cut else [], abs=0.03)


def deviating(lead: str, by_mv: float, *, qrs_mv: float = 1.0, torn: int = 0, wander_mv: float = 0.0) -> list[str]:
    """What four beats show of a lead in which two lie above the median beat and two as far below."""
    rows = np.zeros((12, 525), np.float32)
    rows[:, 160:190] = 1.0
    rows[LEADS.index(lead), 160:190] = qrs_mv
    windows = np.repeat(rows[:, None], 4, axis=1)
    windows[LEADS.index(lead)] += np.array([by_mv, by_mv, -by_mv, -by_mv], np.float32)[:, None]
    windows[LEADS.index(lead), :torn] = np.nan
    samples_uv = np.zeros((12, 6000), np.float32)
    samples_uv[LEADS.index(lead)] = 500 * wander_mv * np.cos(2 * np.pi * 0.25 * np.arange(6000) / 500)
    beats = Beats(windows, rows, 175, 1.0, 4)
    flags = beat_flags(ecg_of(samples_uv, 500), beats, spectrum(samples_uv, 500), frozenset())
    return [flag.problem for flag in flags if flag.lead == lead]


# With four beats, half above and half below: 1.4826 * deviation / sqrt(3 / 4) is the RMS that is held against 0.1 mV.
LIMIT_MV = 0.1 * np.sqrt(3 / 4) / 1.4826


@pytest.mark.parametrize(("by_mv", "noisy"), [(0.999 * LIMIT_MV, False), (1.001 * LIMIT_MV, True)])
def test_noise_is_flagged_beyond_a_tenth_of_a_millivolt(by_mv: float, noisy: bool) -> None:
    assert deviating("V3", by_mv) == (["noisy"] if noisy else [])


@pytest.mark.parametrize(("qrs_mv", "problems"), [(0.0299, ["no_qrs"]), (0.03, []), (0.0301, [])])
def test_an_independent_lead_without_three_hundredths_of_a_qrs_is_on_no_patient(
    qrs_mv: float, problems: list[str]
) -> None:
    assert deviating("V3", 0.0, qrs_mv=qrs_mv) == problems
    assert deviating("aVL", 0.0, qrs_mv=qrs_mv) == []


@pytest.mark.parametrize(("torn", "problems"), [(1, []), (2, ["too_few_beats"]), (4, ["too_few_beats"])])
def test_a_lead_needs_three_whole_beats(torn: int, problems: list[str]) -> None:
    assert deviating("V3", 0.0, torn=torn) == problems


@pytest.mark.parametrize(("wander_mv", "problems"), [(0.49, []), (0.51, ["baseline_wander"])])
def test_wander_is_flagged_beyond_half_a_millivolt_and_excludes_nothing(wander_mv: float, problems: list[str]) -> None:
    assert deviating("V3", 0.0, wander_mv=wander_mv) == problems
    assert not excluded([QualityFlag(lead="V3", problem="baseline_wander")])


def test_a_lead_that_was_flagged_before_is_not_judged_again() -> None:
    rows = np.zeros((12, 525), np.float32)
    samples_uv = np.zeros((12, 5000), np.float32)
    beats = Beats(np.repeat(rows[:, None], 4, axis=1), rows, 175, 1.0, 4)
    flags = beat_flags(ecg_of(samples_uv, 500), beats, spectrum(samples_uv, 500), frozenset({"V3"}))
    assert {flag.lead for flag in flags if flag.problem == "no_qrs"} == {"I", "II", "V1", "V2", "V4", "V5", "V6"}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_only_what_hides_the_heart_excludes_a_lead(problem: str) -> None:
    takes_away = problem not in ("missing", "baseline_wander", "lead_reversal_suspected")
    flags = [QualityFlag(lead="V2", problem=problem), QualityFlag(lead=None, problem=problem)]
    assert excluded(flags) == ({"V2"} if takes_away else set())


def test_only_leads_that_are_recorded_count_as_independent() -> None:
    good = good_independent(analytic_ecg(), frozenset({"II", "V6", "III"}))
    assert [lead for lead, is_good in zip(LEADS, good, strict=True) if is_good] == ["I", "V1", "V2", "V3", "V4", "V5"]


@pytest.mark.parametrize(
    ("net_i", "net_avr", "net_v6", "p_i_mv", "suspected"),
    [
        (-20.0, 10.0, 30.0, -0.1, True),
        (-0.1, 0.1, 0.1, -0.031, True),
        (0.0, 10.0, 30.0, -0.1, False),
        (-20.0, 0.0, 30.0, -0.1, False),
        (-20.0, 10.0, 0.0, -0.1, False),
        (-20.0, 10.0, 30.0, -0.03, False),
        (-20.0, 10.0, 30.0, -0.029, False),
        (-20.0, 10.0, 30.0, None, False),
        (float("nan"), 10.0, 30.0, -0.1, False),
        (-20.0, float("nan"), 30.0, -0.1, False),
        (-20.0, 10.0, float("nan"), -0.1, False),
    ],
)
def test_exchanged_arms_need_every_one_of_their_signs(
    net_i: float, net_avr: float, net_v6: float, p_i_mv: float | None, suspected: bool
) -> None:
    flags = reversal_flag(net_i, net_avr, net_v6, p_i_mv)
    expected = [QualityFlag(lead=None, problem="lead_reversal_suspected", value=round(net_i, 1))] if suspected else []
    assert flags == expected
