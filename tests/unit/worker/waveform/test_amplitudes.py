"""Heights of waves in a median beat whose every sample is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.analytic import ONSET, WAVES, beat_rows, bump, median_beats
from worker.waveform.amplitudes import UNMEASURED, Waves, lead_measurements, p_mv, terminal_t_mv, waves_of
from worker.waveform.delineation import Marks

QRS_END = ONSET + 43
T_END, T_LIMIT = ONSET + 200, ONSET + 300
MARKS = Marks(ONSET - 80, ONSET, QRS_END, ONSET + 152, T_END, T_LIMIT)
WITHOUT_T_END = Marks(ONSET - 80, ONSET, QRS_END, ONSET + 152, None, T_LIMIT)


def measured(rows_mv: NDArray[np.floating], marks: Marks = MARKS) -> Waves:
    return waves_of(median_beats(rows_mv), marks, np.zeros(len(rows_mv), bool))


def drawn(points: dict[int, float]) -> NDArray[np.float64]:
    """One lead that is 0 but at these samples."""
    row = np.zeros((1, 525))
    for at, height in points.items():
        row[0, at] = height
    return row


def smooth(points: dict[int, float], marks: Marks = MARKS, *, t_at: int = ONSET + 152) -> Waves:
    """One lead as it is after smoothing, 0 but at these samples."""
    row = drawn(points).astype(np.float32)
    return Waves(row, row, np.gradient(row, axis=1), marks, row[:, t_at], np.array([t_at]), np.zeros(1))


def triangle(height_mv: float, rise: int, fall: int) -> NDArray[np.float64]:
    """A T wave with straight sides, its peak where `MARKS` has it."""
    at = np.arange(525) - MARKS.t_peak
    return height_mv * np.clip(np.minimum(1 + at / rise, 1 - at / fall), 0, None)[None]


@pytest.mark.parametrize("level_mv", [0.0, 0.7, -1.3])
@pytest.mark.parametrize("lead", WAVES)
def test_heights_are_those_of_the_waves_whatever_the_level_they_stand_on(lead: str, level_mv: float) -> None:
    _, _, r, s, t = WAVES[lead]
    found = lead_measurements(measured(beat_rows(WAVES[lead], level_mv=level_mv)), 0)
    assert found.r_mv == pytest.approx(r, abs=0.01)
    assert found.s_mv == pytest.approx(s, abs=0.016)  # the peak lies between two samples
    assert found.t_mv == pytest.approx(t, abs=0.005)
    assert found.st_mv == pytest.approx(0, abs=0.001)


def test_a_lead_that_cannot_be_used_has_no_numbers_and_the_others_keep_theirs() -> None:
    rows_mv = beat_rows(WAVES["V4"], WAVES["V5"])
    waves = waves_of(median_beats(rows_mv), MARKS, np.array([True, False]))
    assert lead_measurements(waves, 0) == UNMEASURED
    assert lead_measurements(waves, 1) == lead_measurements(measured(rows_mv), 1) != UNMEASURED
    assert np.isnan(waves.net_mv_ms[0])
    assert np.isfinite(waves.net_mv_ms[1])


@pytest.mark.parametrize(("r_mv", "s_mv"), [(0.049, -0.5), (0.05, 0.0), (0.051, 0.0)])
def test_what_comes_before_an_r_of_a_twentieth_is_a_q(r_mv: float, s_mv: float) -> None:
    found = lead_measurements(measured(drawn({ONSET + 5: -0.5, ONSET + 15: r_mv})), 0)
    assert (found.r_mv, found.s_mv) == pytest.approx((r_mv, s_mv))


def test_what_comes_after_the_first_r_is_an_s() -> None:
    found = lead_measurements(measured(drawn({ONSET + 5: -0.5, ONSET + 15: 0.4, ONSET + 25: -0.3, ONSET + 35: 0.2})), 0)
    assert (found.r_mv, found.s_mv) == pytest.approx((0.4, -0.3))


def test_r_and_s_are_looked_for_from_the_first_sample_of_the_qrs_to_its_last() -> None:
    inside = lead_measurements(measured(drawn({ONSET: 0.4, QRS_END: -0.3})), 0)
    assert (inside.r_mv, inside.s_mv) == pytest.approx((0.4, -0.3))
    outside = lead_measurements(measured(drawn({ONSET - 1: 0.4, QRS_END + 1: -0.3})), 0)
    assert (outside.r_mv, outside.s_mv) == (0.0, 0.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_r_is_never_negative_and_s_never_positive_nor_minus_zero(sign: int) -> None:
    all_one_way = drawn(dict.fromkeys(range(ONSET, QRS_END + 1), 0.3 * sign))
    found = lead_measurements(measured(all_one_way), 0)
    assert (found.r_mv, found.s_mv) == pytest.approx((0.3, 0.0) if sign > 0 else (0.0, -0.3))


def test_what_rounds_to_nothing_has_no_sign() -> None:
    found = lead_measurements(smooth({ONSET + 152: -0.0004, QRS_END + 30: -0.0004}), 0)
    assert (str(found.t_mv), str(found.st_mv), str(found.s_mv)) == ("0.0", "0.0", "0.0")


def test_st_is_measured_60_ms_after_the_j_point() -> None:
    row = np.zeros((1, 525))
    row[0, QRS_END:] = 0.01 * np.arange(525 - QRS_END)
    assert lead_measurements(measured(row), 0).st_mv == pytest.approx(0.01 * 30, abs=1e-3)


def test_the_net_qrs_is_its_area_in_mv_ms() -> None:
    heights = dict.fromkeys(range(ONSET, ONSET + 10), 1.0) | dict.fromkeys(range(ONSET + 10, ONSET + 14), -0.5)
    assert measured(drawn(heights)).net_mv_ms[0] == pytest.approx((10 - 4 * 0.5) * 2)
    edges = {ONSET - 1: 1.0, ONSET: 1.0, QRS_END: 1.0, QRS_END + 1: 1.0}
    assert measured(drawn(edges)).net_mv_ms[0] == pytest.approx(2 * 2)


def test_the_t_wave_is_what_stands_out_from_a_sloping_st_segment() -> None:
    row = triangle(0.2, 40, 40)
    sloping = np.clip((T_END - np.arange(525)) / 150, 0, 1) * np.where(np.arange(525) >= QRS_END, -0.5, 0)
    waves = measured(row + sloping[None])
    assert waves.t_at[0] == pytest.approx(MARKS.t_peak, abs=20)
    assert waves.smooth_mv[0, QRS_END + 25] < -0.3
    assert waves.t_mv[0] > -0.1


def test_the_summit_is_looked_for_40_ms_around_what_stands_out_most() -> None:
    row = triangle(0.5, 50, 40) + 0.004 * np.clip(np.arange(525) - QRS_END, 0, None)[None]
    waves = measured(row)
    near = slice(MARKS.t_peak - 20, MARKS.t_peak + 21)
    assert waves.t_mv[0] == pytest.approx(waves.smooth_mv[0, near].max())


def test_a_wave_within_40_ms_of_the_j_point_is_no_t_wave() -> None:
    t_mv = triangle(0.2, 40, 40)
    early = np.zeros((1, 525))
    early[0, QRS_END + 2 : QRS_END + 17] = -1.0
    assert measured(t_mv + early).t_mv[0] == pytest.approx(0.2, abs=0.02)
    late = np.zeros((1, 525))
    late[0, QRS_END + 22 : QRS_END + 37] = -1.0
    assert measured(t_mv + late).t_mv[0] == pytest.approx(-1.0, abs=0.02)


@pytest.mark.parametrize(("marks", "last"), [(MARKS, T_END + 15), (WITHOUT_T_END, T_LIMIT)])
def test_the_end_of_a_t_wave_is_looked_at_until_30_ms_after_its_end_or_the_limit(marks: Marks, last: int) -> None:
    assert terminal_t_mv(smooth({last: -0.2}, marks), 0) == pytest.approx(-0.2)
    assert terminal_t_mv(smooth({last + 1: -0.2}, marks), 0) == 0.0


def test_the_end_of_a_t_wave_is_never_looked_for_beyond_the_limit() -> None:
    near_limit = Marks(None, ONSET, QRS_END, ONSET + 152, T_LIMIT - 3, T_LIMIT)
    assert terminal_t_mv(smooth({T_LIMIT: -0.2}, near_limit), 0) == pytest.approx(-0.2)
    assert terminal_t_mv(smooth({T_LIMIT + 1: -0.2}, near_limit), 0) == 0.0


def test_what_comes_before_the_summit_is_not_the_end_of_a_t_wave() -> None:
    assert terminal_t_mv(smooth({ONSET + 151: -0.2}), 0) == 0.0
    assert terminal_t_mv(smooth({ONSET + 152: -0.2}), 0) == pytest.approx(-0.2)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("t_mv", "shapeless"), [(0.0999, True), (0.1001, False), (0.2, False)])
def test_a_t_wave_below_a_tenth_has_no_symmetry(t_mv: float, shapeless: bool, sign: int) -> None:
    waves = measured(triangle(0.2, 40, 40))
    scaled = sign * t_mv / waves.t_mv[0]
    waves = Waves(
        waves.beat_mv, waves.smooth_mv * scaled, waves.slope_mv * scaled, MARKS, waves.t_mv * scaled, waves.t_at,
        waves.net_mv_ms,
    )  # fmt: skip
    assert (lead_measurements(waves, 0).t_symmetry is None) is shapeless


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("rise", "fall"), [(40, 40), (60, 30), (30, 60), (80, 40)])
def test_symmetry_is_the_length_of_the_rise_over_that_of_the_fall(rise: int, fall: int, sign: int) -> None:
    found = lead_measurements(measured(triangle(0.4 * sign, rise, fall)), 0)
    assert found.t_mv == pytest.approx(0.4 * sign, abs=0.03)
    assert found.t_symmetry == pytest.approx(rise / fall, rel=0.12)


def test_a_symmetric_wave_is_symmetric_whichever_way_it_points() -> None:
    for t_mv in (0.4, -0.4):
        row = t_mv * bump(np.arange(525) / 500, (MARKS.t_peak - 48) / 500, 96 / 500)[None]
        assert lead_measurements(measured(row), 0).t_symmetry == pytest.approx(1.0, abs=0.03)


def test_without_a_p_onset_there_is_no_p_wave() -> None:
    unseen = Marks(None, ONSET, QRS_END, ONSET + 152, T_END, T_LIMIT)
    assert p_mv(measured(drawn({ONSET - 50: 0.1}), unseen), 0) is None


def test_the_p_wave_is_the_tallest_deflection_either_way_with_its_sign() -> None:
    both = drawn({ONSET - 60: 0.1, ONSET - 40: -0.2})
    assert p_mv(measured(both), 0) == pytest.approx(-0.2)
    assert p_mv(measured(-both), 0) == pytest.approx(0.2)


def test_the_p_wave_ends_20_ms_before_the_qrs_and_begins_at_its_onset() -> None:
    assert MARKS.p_onset is not None
    assert p_mv(measured(drawn({ONSET - 60: 0.1, ONSET - 10: 0.0})), 0) == pytest.approx(0.1)
    level = 0.5 / 8  # a sample of the PR segment shifts the level by an eighth of itself
    close = p_mv(measured(drawn({ONSET - 60: 0.1, ONSET - 11: 0.5})), 0)
    assert close == pytest.approx(0.5 - level)
    too_close = p_mv(measured(drawn({ONSET - 60: 0.1, ONSET - 10: 0.5})), 0)
    assert too_close == pytest.approx(-level, abs=0.05)
    assert p_mv(measured(drawn({MARKS.p_onset: 0.1})), 0) == pytest.approx(0.1)
    assert p_mv(measured(drawn({MARKS.p_onset - 1: 0.1})), 0) == pytest.approx(0.0)


def test_a_p_wave_without_room_before_the_qrs_has_no_height() -> None:
    crowded = Marks(ONSET - 10, ONSET, QRS_END, ONSET + 152, T_END, T_LIMIT)
    assert p_mv(measured(drawn({ONSET - 20: 0.1}), crowded), 0) is None
