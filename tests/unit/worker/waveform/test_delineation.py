"""Where waves begin and end, on beats that say so themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.analytic import ONSET, P_S, QRS_S, TANGENT, WAVES, beat_rows, bump, median_beats, pr_s, t_timing_s
from worker.waveform.delineation import Marks, delineate, pr_level, to_ms

T_S = np.arange(525) / 500
ALL = tuple(WAVES.values())


def marks(rows_mv: NDArray[np.floating], rr_s: float = 1.0, good: NDArray[np.bool_] | None = None) -> Marks:
    return delineate(median_beats(rows_mv, rr_s), np.ones(len(rows_mv), bool) if good is None else good)


def with_t(t_mv: float, p_mv: float = 0.1) -> NDArray[np.float64]:
    return beat_rows(*[(p_mv, *waves[1:4], t_mv) for waves in ALL])


def qrs_only() -> NDArray[np.float64]:
    return with_t(0.0, 0.0)


@pytest.mark.parametrize("bpm", [50, 60, 75, 100])
def test_waves_are_found_where_they_were_put(bpm: float) -> None:
    found = marks(beat_rows(*ALL, bpm=bpm), 60 / bpm)
    start_s, width_s = t_timing_s(bpm)
    assert found.qrs_onset == pytest.approx(ONSET, abs=2)
    assert found.qrs_end == pytest.approx(ONSET + 500 * QRS_S, abs=4)
    assert found.t_peak == pytest.approx(ONSET + 500 * (start_s + width_s / 2), abs=3)
    assert found.t_end == pytest.approx(ONSET + 500 * (start_s + TANGENT * width_s), abs=6)
    p_onset = ONSET - 500 * pr_s(bpm) + 500 * P_S * (1 - TANGENT)
    assert found.p_onset == pytest.approx(p_onset, abs=6)


def test_onset_and_end_are_the_earliest_and_latest_of_any_lead() -> None:
    early, late = qrs_only()[:2] * 0, qrs_only()[:2] * 0
    early[0] = bump(T_S, 0.28, 0.06)
    late[1] = bump(T_S, 0.30, 0.09)
    found = marks(early + late)
    assert found.qrs_onset == pytest.approx(140, abs=3)
    assert found.qrs_end == pytest.approx(195, abs=3)


@pytest.mark.parametrize(
    ("side", "share", "counts"),
    [("before", 0.015, False), ("before", 0.05, True), ("after", 0.03, False), ("after", 0.08, True)],
)
def test_a_slur_belongs_to_the_qrs_if_it_is_not_too_slow(side: str, share: float, counts: bool) -> None:
    slope = np.zeros(525)
    slope[160:170], slope[170:180] = 0.1, -0.1
    slurred = slice(140, 160) if side == "before" else slice(180, 200)
    slope[slurred] = 0.1 * share
    found = marks(np.cumsum(slope)[None])
    assert (found.qrs_onset < 150) is (side == "before" and counts)
    assert (found.qrs_end > 190) is (side == "after" and counts)


def test_a_lead_that_is_not_good_has_no_say() -> None:
    rows_mv = beat_rows(*ALL)
    spoilt = rows_mv.copy()
    spoilt[2] += 3 * bump(T_S, 0.24, 0.2)
    good = np.arange(len(rows_mv)) != 2
    assert marks(spoilt, good=good) == marks(rows_mv, good=good)
    assert marks(spoilt).qrs_onset < marks(rows_mv).qrs_onset - 10


@pytest.mark.parametrize(("t_mv", "seen"), [(0.029, False), (0.032, True), (-0.029, False), (-0.032, True)])
def test_a_t_wave_as_low_as_the_noise_has_no_end(t_mv: float, seen: bool) -> None:
    assert (marks(with_t(t_mv)).t_end is not None) is seen


@pytest.mark.parametrize(("p_mv", "seen"), [(0.026, False), (0.034, True), (-0.026, False), (-0.034, True)])
def test_a_p_wave_as_low_as_the_noise_has_no_onset(p_mv: float, seen: bool) -> None:
    assert (marks(with_t(0.3, p_mv)).p_onset is not None) is seen


def test_a_qrs_alone_has_neither() -> None:
    found = marks(qrs_only())
    assert (found.p_onset, found.t_end) == (None, None)


@pytest.mark.parametrize(("second", "at_s"), [(0.42, 0.15), (0.6, 0.33)])
def test_a_later_summit_of_half_the_height_still_is_t(second: float, at_s: float) -> None:
    two = bump(T_S, 0.3 + 0.15 - 0.05 + 0.03, 0.14)[None] * 0.3 + second * 0.3 * bump(T_S, 0.3 + 0.28, 0.12)[None]
    found = marks(qrs_only() + two)
    expected = ONSET + 500 * (0.34 if second > 0.5 else 0.20)
    assert found.t_peak == pytest.approx(expected, abs=5), at_s


@pytest.mark.parametrize(
    ("rr_s", "after_onset_s"),
    [(1.0, 0.6), (0.64, 0.48), (0.6, 0.44), (0.5, 0.34)],  # 0.6 of the square root, or 160 ms before the next QRS
)
def test_the_search_for_t_ends_with_the_longest_qt_and_before_the_next_p(rr_s: float, after_onset_s: float) -> None:
    found = marks(qrs_only(), rr_s)
    assert found.t_limit - found.qrs_onset == pytest.approx(500 * after_onset_s, abs=1)


def test_at_the_highest_rates_a_tenth_of_a_second_is_left_for_t() -> None:
    found = marks(qrs_only(), 0.25)
    assert found.t_limit == found.qrs_end + 30 + 50


def test_the_search_for_t_ends_with_the_beat() -> None:
    assert marks(qrs_only(), 2.0).t_limit == 524


def test_the_t_wave_begins_60_ms_after_the_qrs_at_the_earliest() -> None:
    found = marks(qrs_only() + 0.2 * bump(T_S, 0.41, 0.03)[None], 1.0)
    assert found.t_peak >= found.qrs_end + 30


def test_a_u_wave_behind_a_trough_does_not_move_the_end_of_t() -> None:
    with_u = beat_rows(*ALL) + 0.08 * bump(T_S, 0.3 + 0.43, 0.14)[None]
    assert marks(with_u).t_end == pytest.approx(marks(beat_rows(*ALL)).t_end, abs=4)


def test_a_taller_slope_behind_the_first_trough_is_not_that_of_t() -> None:
    low = [(0.1, *waves[1:4], 0.3) for waves in ALL]
    sharp_u = beat_rows(*low) + 0.14 * bump(T_S, 0.3 + 0.42, 0.06)[None]
    assert marks(sharp_u).t_end == pytest.approx(marks(beat_rows(*low)).t_end, abs=4)


def test_a_shoulder_of_t_is_no_trough() -> None:
    at = np.arange(525) - (ONSET + 130)
    t_mv = 0.3 * np.interp(at, [-40, 0, 30, 38, 70], [0, 1, 0.4, 0.45, 0])
    t_end = marks(qrs_only() + t_mv[None]).t_end
    assert t_end is not None
    assert t_end > ONSET + 130 + 42


@pytest.mark.parametrize(("at", "counts"), [(-12, False), (-11, True), (-4, True), (-3, False)])
def test_the_pr_segment_is_16_ms_long_and_ends_6_ms_before_the_qrs(at: int, counts: bool) -> None:
    row = np.zeros((1, 525), np.float32)
    row[0, ONSET + at] = 0.8
    assert pr_level(row, ONSET)[0, 0] == pytest.approx(0.1 if counts else 0.0)


@pytest.mark.parametrize("onset", [0, 1, 3, 5])
def test_a_qrs_at_the_very_beginning_still_has_a_level(onset: int) -> None:
    row = np.full((2, 525), 0.3, np.float32)
    np.testing.assert_allclose(pr_level(row, onset), [[0.3], [0.3]], rtol=1e-6)


def test_each_lead_has_a_level_of_its_own() -> None:
    rows = np.array([[0.1], [-0.4]], np.float32).repeat(525, axis=1)
    np.testing.assert_allclose(pr_level(rows, ONSET), [[0.1], [-0.4]], rtol=1e-6)


def test_marks_do_not_depend_on_the_level_of_a_lead() -> None:
    for t_mv in (0.3, -0.3):
        assert marks(with_t(t_mv) + 0.9) == marks(with_t(t_mv))


def test_a_sample_is_two_milliseconds() -> None:
    assert to_ms(1) == 2.0
    assert to_ms(43) == 86.0
