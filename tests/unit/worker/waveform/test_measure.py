"""Measurements against exact truth, and against an electrocardiograph's own on a real ECG."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ecg import LEADS, Ecg
from schemas.finding import LeadMeasurements
from simulator.edits import invert_t_waves, real_ecg, resample
from simulator.generate import simulate_one
from simulator.hospital import A
from tests.support.analytic import (
    QRS_S,
    TANGENT,
    WAVES,
    analytic_ecg,
    beat,
    bump,
    ecg_of,
    onsets_s,
    plus,
    pr_s,
    t_timing_s,
)
from worker.waveform.measure import measure

RATES_HZ = [250, 500, pytest.param(1000, marks=pytest.mark.slow)]
UNMEASURED = LeadMeasurements(t_mv=None, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)


def t_of(ecg: Ecg, lead: str) -> float:
    t_mv = measure(ecg).measurements.leads[lead].t_mv
    assert t_mv is not None
    return t_mv


@pytest.mark.parametrize("hz", [250, 500, 1000])
def test_a_real_ecg_is_measured_as_its_electrocardiograph_did(hz: int) -> None:
    ecg = real_ecg() if hz == 1000 else resample(real_ecg(), hz)
    found = measure(ecg).measurements
    assert found.heart_rate_bpm == pytest.approx(60 / 0.982, abs=0.5)
    assert found.pr_ms == pytest.approx(161, abs=15)
    assert found.qrs_ms == pytest.approx(75, abs=10)
    assert found.qt_ms == pytest.approx(368, abs=15)
    assert found.qtc_ms == pytest.approx(370, abs=15)
    assert found.axis_deg == pytest.approx(52, abs=5)
    assert found.t_wave_inversion == ("V1",)
    assert measure(ecg).quality.usable
    assert {flag.problem for flag in measure(ecg).quality.flags} <= {"time_zone_assumed"}


@pytest.mark.parametrize("hz", RATES_HZ)
@pytest.mark.parametrize("bpm", [45, 60, 75, 100, 120, 140])
def test_rate_and_intervals_are_true_at_every_rate(bpm: int, hz: int) -> None:
    found = measure(analytic_ecg(bpm, hz)).measurements
    start_s, width_s = t_timing_s(bpm)
    qt_ms = (start_s + TANGENT * width_s) * 1000
    assert found.heart_rate_bpm == pytest.approx(bpm, abs=0.5)
    assert found.pr_ms == pytest.approx(pr_s(bpm) * 1000, abs=15)
    assert found.qrs_ms == pytest.approx(QRS_S * 1000, abs=10)
    assert found.qt_ms == pytest.approx(qt_ms, abs=10)
    assert found.qtc_ms == pytest.approx(qt_ms / np.cbrt(60 / bpm), abs=12)


@pytest.mark.parametrize("hz", RATES_HZ)
@pytest.mark.parametrize("bpm", [45, 60, 100, 140])
def test_amplitudes_are_true_in_every_lead(bpm: int, hz: int) -> None:
    leads = measure(analytic_ecg(bpm, hz)).measurements.leads
    for lead, (_, _, r, s, t) in WAVES.items():
        found = leads[lead]
        assert found.t_mv == pytest.approx(t, abs=0.02), lead
        assert found.r_mv == pytest.approx(r, abs=0.03), lead
        assert found.s_mv == pytest.approx(s, abs=0.05), lead
        if bpm <= 100:  # faster, the T wave has begun by then
            assert found.st_mv == pytest.approx(0, abs=0.02), lead


@given(st.floats(48, 130), st.dictionaries(st.sampled_from(sorted(WAVES)), st.floats(-0.8, 0.8), max_size=4))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_inverted_t_waves_are_found_in_their_leads_and_only_there(bpm: float, t_mv: dict[str, float]) -> None:
    measured = measure(analytic_ecg(bpm, t_mv=t_mv)).measurements
    truth = {lead: t_mv.get(lead, waves[4]) for lead, waves in WAVES.items()}
    for lead, height in truth.items():
        assert measured.leads[lead].t_mv == pytest.approx(height, abs=0.03)
        if abs(height + 0.1) > 0.03:
            assert (lead in measured.t_wave_inversion) == (height < -0.1)


@pytest.mark.parametrize(("t_mv", "inverted"), [(-0.13, True), (-0.07, False)])
def test_inversion_begins_at_a_tenth_of_a_millivolt(t_mv: float, inverted: bool) -> None:
    assert ("V4" in measure(analytic_ecg(t_mv={"V4": t_mv})).measurements.t_wave_inversion) is inverted


def test_the_normal_t_wave_of_avr_is_no_inversion() -> None:
    found = measure(analytic_ecg()).measurements
    assert found.leads["aVR"].t_mv == pytest.approx(-0.27, abs=0.02)
    assert found.t_wave_inversion == ()


@pytest.mark.parametrize(("leads", "depth_mv"), [(("V2", "V3", "V4"), 0.3), (("II", "V5", "V6"), 0.2), (("I",), 0.15)])
def test_inversions_put_into_a_real_ecg_are_found_at_their_depth(leads: tuple[str, ...], depth_mv: float) -> None:
    before = measure(real_ecg()).measurements
    found = measure(invert_t_waves(real_ecg(), leads, depth_mv=depth_mv)).measurements
    for lead in leads:
        assert found.leads[lead].t_mv == pytest.approx(-depth_mv, abs=0.04)
        assert lead in found.t_wave_inversion
    for lead in set(WAVES) - set(leads):
        assert found.leads[lead].t_mv == pytest.approx(before.leads[lead].t_mv, abs=0.02)


def test_symmetric_and_strain_like_inversions_differ() -> None:
    ischemic = measure(invert_t_waves(real_ecg(), ["V5"], depth_mv=0.4)).measurements.leads["V5"].t_symmetry
    strain = measure(invert_t_waves(real_ecg(), ["V5"], depth_mv=0.4, symmetry=2.0)).measurements.leads["V5"].t_symmetry
    assert ischemic is not None
    assert strain is not None
    assert 0.8 <= ischemic <= 1.25
    assert strain > 1.5


def test_a_flat_t_wave_has_no_symmetry() -> None:
    assert measure(analytic_ecg(t_mv={"V4": 0.05})).measurements.leads["V4"].t_symmetry is None


def test_a_negative_u_wave_is_no_inverted_t() -> None:
    ecg = analytic_ecg(55)
    t_s = np.arange(5000) / 500
    start_s, width_s = t_timing_s(55)
    u_mv = sum(-0.18 * bump(t_s, onset + start_s + width_s + 0.03, 0.14) for onset in onsets_s(55))
    with_u = plus(ecg, {"V4": np.asarray(u_mv), "V5": np.asarray(u_mv)})
    assert t_of(with_u, "V4") == pytest.approx(0.45, abs=0.03)
    assert measure(with_u).measurements.t_wave_inversion == ()
    assert measure(with_u).biphasic == ()


def test_a_deep_s_wave_is_no_inverted_t() -> None:
    ecg = analytic_ecg(waves={"V2": (0.07, 0.0, 0.2, -2.5, 0.2)})
    assert t_of(ecg, "V2") == pytest.approx(0.2, abs=0.03)


def test_an_upright_t_after_a_depressed_st_segment_is_no_inversion() -> None:
    ecg = analytic_ecg(60, t_mv={"V5": 0.15})
    t_s = np.arange(5000) / 500
    st_mv = np.zeros_like(t_s)
    for onset in onsets_s(60):
        st_mv -= 0.2 * np.clip((t_s - onset - 0.07) / 0.016, 0, 1) * np.clip((onset + 0.27 - t_s) / 0.06, 0, 1)
    depressed = plus(ecg, {"V5": st_mv})
    found = measure(depressed).measurements
    assert found.leads["V5"].st_mv == pytest.approx(-0.2, abs=0.03)
    assert found.leads["V5"].t_mv == pytest.approx(0.15, abs=0.03)
    assert "V5" not in found.t_wave_inversion


def test_a_t_wave_that_ends_inverted_is_named_as_biphasic() -> None:
    ecg = analytic_ecg(60, t_mv={"V2": 0.0, "V3": 0.0})
    t_s = np.arange(5000) / 500
    start_s, _ = t_timing_s(60)
    up_down = np.asarray(
        sum(
            0.3 * bump(t_s, onset + start_s - 0.02, 0.12) - 0.2 * bump(t_s, onset + start_s + 0.08, 0.12)
            for onset in onsets_s(60)
        )
    )
    measured = measure(plus(ecg, {"V2": up_down, "V3": up_down}))
    assert measured.biphasic == ("V2", "V3")
    assert measured.measurements.t_wave_inversion == ()


@pytest.mark.parametrize(("first", "every"), [(0, 2), (2, 2), (2, 5)])
def test_ectopic_beats_do_not_change_the_measurements(first: int, every: int) -> None:
    bpm, t_s = 70, np.arange(5000) / 500
    ecg = analytic_ecg(bpm)
    samples_uv = ecg.samples_uv.copy()
    for onset in onsets_s(bpm)[first::every]:
        for lead, waves in WAVES.items():
            row = ecg.leads.index(lead)
            samples_uv[row] -= (1000 * beat(t_s, onset, bpm, waves)).astype(np.float32)
            wide = 1.8 * bump(t_s, onset - 0.15, 0.09) - 1.2 * bump(t_s, onset - 0.09, 0.1)
            wide -= 0.6 * bump(t_s, onset + 0.05, 0.25)
            samples_uv[row] += (1000 * wide).astype(np.float32)
    clean, ectopic = measure(ecg).measurements, measure(ecg_of(samples_uv, 500)).measurements
    assert ectopic.heart_rate_bpm == pytest.approx(bpm, abs=3)
    assert ectopic.qrs_ms == pytest.approx(clean.qrs_ms, abs=4)
    assert ectopic.t_wave_inversion == ()
    for lead in WAVES:
        assert ectopic.leads[lead].t_mv == pytest.approx(clean.leads[lead].t_mv, abs=0.02)


@pytest.mark.parametrize("angle_deg", [-60, -30, 0, 30, 60, 90, 120])
def test_the_axis_points_where_the_heart_does(angle_deg: int) -> None:
    angle = np.radians(angle_deg)
    i_mv = np.cos(angle)
    ii_mv = np.cos(angle - np.pi / 3)
    # A small q and r' of the same area keep a perpendicular lead from being a straight line.
    ecg = analytic_ecg(waves={"I": (0.08, -0.1, i_mv, 0.08, 0.2), "II": (0.1, -0.1, ii_mv, 0.08, 0.3)})
    assert measure(ecg).measurements.axis_deg == pytest.approx(angle_deg, abs=3)


def test_sokolow_lyon_adds_the_s_of_v1_to_the_taller_r() -> None:
    assert measure(analytic_ecg()).measurements.sokolow_lyon_mv == pytest.approx(2.5, abs=0.06)


def test_a_wide_notched_qrs_is_measured_whole() -> None:
    t_s = np.arange(5000) / 500
    ecg = analytic_ecg(60, waves={lead: (waves[0], 0, 0, 0, waves[4]) for lead, waves in WAVES.items()})
    heights = {"I": 0.8, "II": 0.5, "V1": -1.0, "V2": -1.8, "V3": -1.2, "V4": 0.4, "V5": 1.0, "V6": 1.1}
    notched = np.asarray(sum(bump(t_s, on, 0.085) + bump(t_s, on + 0.065, 0.085) for on in onsets_s(60)))
    found = measure(plus(ecg, {lead: height * notched for lead, height in heights.items()})).measurements
    assert found.qrs_ms == pytest.approx(150, abs=12)
    assert found.heart_rate_bpm == pytest.approx(60, abs=0.5)


def test_tall_t_waves_are_no_beats() -> None:
    small = {lead: (p, q / 5, r / 5, s / 5, 0.9) for lead, (p, q, r, s, _) in WAVES.items() if lead not in ("V2", "V5")}
    found = measure(analytic_ecg(70, waves=small)).measurements
    assert found.heart_rate_bpm == pytest.approx(70, abs=0.5)
    assert found.leads["V3"].t_mv == pytest.approx(0.9, abs=0.03)


def test_without_p_waves_there_is_no_pr_interval() -> None:
    without_p = {lead: (0.0, *waves[1:]) for lead, waves in WAVES.items()}
    assert measure(analytic_ecg(waves=without_p)).measurements.pr_ms is None


def test_without_t_waves_there_is_no_qt_interval_and_no_inversion() -> None:
    found = measure(analytic_ecg(t_mv=dict.fromkeys(WAVES, 0.0))).measurements
    assert found.qt_ms is None
    assert found.qtc_ms is None
    assert found.t_wave_inversion == ()
    assert found.leads["V4"].t_mv == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("hz", [250, 500])
def test_noise_alone_has_no_beats(hz: int) -> None:
    noise_uv = 100 * np.random.default_rng(3).standard_normal((12, 10 * hz))
    measured = measure(ecg_of(noise_uv, hz))
    assert not measured.quality.usable
    assert any(flag.problem == "too_few_beats" and flag.lead is None for flag in measured.quality.flags)
    assert measured.measurements.heart_rate_bpm is None
    assert set(measured.measurements.leads.values()) == {UNMEASURED}


def test_the_same_ecg_is_measured_the_same_twice() -> None:
    ecg = analytic_ecg()
    assert measure(ecg) == measure(ecg)
    assert measure(ecg).measurements.model_dump_json() == measure(analytic_ecg()).measurements.model_dump_json()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([240.0, 250.0, 257.3, 500.0, 1000.0, 2000.0]),
    st.floats(8.0, 14.0),
    st.sampled_from(["zeros", "noise", "spikes", "padding", "square", "huge"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_nothing_a_signal_can_be_raises(seed: int, hz: float, seconds: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    count = round(seconds * hz)
    samples_uv = np.zeros((12, count))
    if kind in ("noise", "padding", "huge"):
        samples_uv = rng.standard_normal((12, count)) * (20_000 if kind == "huge" else 50)
    if kind == "spikes":
        samples_uv[:, rng.integers(0, count, rng.integers(1, 40))] = rng.uniform(-3000, 3000)
    if kind == "square":
        samples_uv[:] = 1000 * np.sign(np.sin(np.arange(count) / hz * rng.uniform(1, 30)))
    if kind == "padding":
        samples_uv[rng.random((12, count)) < 0.3] = np.nan
        samples_uv[rng.integers(0, 12)] = np.nan
    measured = measure(ecg_of(samples_uv, hz))
    assert set(measured.measurements.leads) == set(LEADS)


@pytest.mark.parametrize("at", [739, 4349])
def test_a_last_beat_that_alignment_moves_over_the_end_is_left_out(at: int) -> None:
    # Wide beats whose last one ends with the record: shifted to fit the typical beat, its window lies outside.
    ecg, _ = simulate_one(np.random.default_rng([1, ord("A"), at, 0]), 1, A, at)
    assert measure(ecg).quality.usable
