"""How tall the waves of the median beat are in every lead, in millivolts against the PR segment."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from schemas.finding import LeadMeasurements
from worker.waveform.beats import Beats
from worker.waveform.delineation import Marks, pr_level, to_ms
from worker.waveform.spectrum import to_samples

UNMEASURED: Final = LeadMeasurements(t_mv=None, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)
"""What is measured in a lead that cannot be used."""

_ST_AFTER_J_S: Final = 0.06
_T_AFTER_J_S: Final = 0.04
_T_LATE_S: Final = 0.03  # single leads may end later than the tangent over all leads; a U wave has not begun by then
_PEAK_S: Final = 0.04  # how far a peak may lie from the sample that stands out most from its surroundings
_SMOOTH_S: Final = 0.01  # lowers a T wave by less than 1 %
_R_WAVE_MV: Final = 0.05  # smaller than this it is no r, and the complex is a QS
_SHAPELESS_MV: Final = 0.1  # AHA/ACCF/HRS 2009 IV calls |T| below 0.1 mV flat: it has no symmetry to speak of


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """The median beat against its PR segment, leads x samples; the rows of leads that cannot be used are NaN.

    `smooth_mv` is the beat without its noise and `slope_mv` its change per sample; `t_mv` and `t_at` are height and
    sample number of each lead's T wave, `net_mv_ms` the area of its QRS.
    """

    beat_mv: NDArray[np.float32]
    smooth_mv: NDArray[np.float32]
    slope_mv: NDArray[np.float32]
    marks: Marks
    t_mv: NDArray[np.float32]
    t_at: NDArray[np.intp]
    net_mv_ms: NDArray[np.float64]


def waves_of(beats: Beats, marks: Marks, unusable: NDArray[np.bool_]) -> Waves:
    """Put the median beat on the level of its PR segment and find each lead's T wave. `unusable` marks leads."""
    beat_mv = beats.median_mv - pr_level(beats.median_mv, marks.qrs_onset)
    beat_mv[unusable] = np.nan
    smooth_mv = uniform_filter1d(beat_mv, to_samples(_SMOOTH_S), axis=1, mode="nearest")
    t_at = _t_peaks(smooth_mv, marks)
    t_mv = np.take_along_axis(smooth_mv, t_at[:, None], axis=1)[:, 0]
    net_mv_ms = beat_mv[:, marks.qrs_onset : marks.qrs_end + 1].sum(axis=1, dtype=np.float64) * to_ms(1)
    slope_mv = np.gradient(uniform_filter1d(smooth_mv, to_samples(_SMOOTH_S), axis=1, mode="nearest"), axis=1)
    return Waves(beat_mv, smooth_mv, slope_mv, marks, t_mv, t_at, net_mv_ms)


def lead_measurements(waves: Waves, row: int) -> LeadMeasurements:
    """The amplitudes of one lead; R is positive or 0, S negative or 0."""
    beat_mv, marks = waves.beat_mv[row], waves.marks
    if np.isnan(beat_mv[0]):
        return UNMEASURED
    qrs_mv = beat_mv[marks.qrs_onset : marks.qrs_end + 1]
    positive = np.flatnonzero(qrs_mv >= _R_WAVE_MV)
    s_from = int(positive[0]) if positive.size else 0  # before the first R a negative wave is a Q
    j60 = marks.qrs_end + to_samples(_ST_AFTER_J_S)
    return LeadMeasurements(
        t_mv=_rounded(waves.t_mv[row], 3),
        st_mv=_rounded(waves.smooth_mv[row, j60], 3),
        r_mv=_rounded(max(qrs_mv.max(), 0.0), 3),
        s_mv=_rounded(min(qrs_mv[s_from:].min(), 0.0), 3),
        t_symmetry=_symmetry(waves, row),
    )


def terminal_t_mv(waves: Waves, row: int) -> float:
    """The lowest point between the T wave's peak and its end."""
    return float(waves.smooth_mv[row, waves.t_at[row] : _t_stop(waves.marks) + 1].min())


def p_mv(waves: Waves, row: int) -> float | None:
    """The P wave's height in one lead; None if no P was seen."""
    if waves.marks.p_onset is None:
        return None
    wave = waves.beat_mv[row, waves.marks.p_onset : waves.marks.qrs_onset - to_samples(0.02)]
    return float(wave[np.abs(wave).argmax()]) if wave.size else None


def _t_peaks(smooth_mv: NDArray[np.float32], marks: Marks) -> NDArray[np.intp]:
    """Where each lead's T wave is tallest.

    The wave is what stands out from the straight line between its start and its end: a depressed ST segment before an
    upright T would otherwise be taken for an inverted one. The peak is then the extreme of the signal itself nearby.
    """
    start = marks.qrs_end + to_samples(_T_AFTER_J_S)
    part = np.nan_to_num(smooth_mv[:, start : _t_stop(marks) + 1])
    line = part[:, :1] + (part[:, -1:] - part[:, :1]) * np.linspace(0, 1, part.shape[1], dtype=np.float32)
    standing_out = part - line
    centre = np.abs(standing_out).argmax(axis=1)
    direction = np.sign(np.take_along_axis(standing_out, centre[:, None], axis=1))
    reach = to_samples(_PEAK_S)
    near = np.clip(centre[:, None] + np.arange(-reach, reach + 1), 0, part.shape[1] - 1)
    best = (np.take_along_axis(part, near, axis=1) * direction).argmax(axis=1)
    peaks: NDArray[np.intp] = start + np.take_along_axis(near, best[:, None], axis=1)[:, 0]
    return peaks


def _t_stop(marks: Marks) -> int:
    """The last sample that may belong to a lead's T wave."""
    return marks.t_limit if marks.t_end is None else min(marks.t_end + to_samples(_T_LATE_S), marks.t_limit)


def _symmetry(waves: Waves, row: int) -> float | None:
    """Onset-to-peak over peak-to-end, both feet placed by tangents against the PR segment."""
    t_mv, at, marks = float(waves.t_mv[row]), int(waves.t_at[row]), waves.marks
    if abs(t_mv) < _SHAPELESS_MV:
        return None
    height = waves.smooth_mv[row] * np.sign(t_mv)
    slope = waves.slope_mv[row] * np.sign(t_mv)
    rise = _tangent_length(height[marks.qrs_end : at + 1][::-1], -slope[marks.qrs_end : at + 1][::-1])
    fall = _tangent_length(height[at : marks.t_limit + 1], slope[at : marks.t_limit + 1])
    return None if rise is None or fall is None else _rounded(rise / fall, 2)


def _tangent_length(descent: NDArray[np.float32], slope: NDArray[np.float32]) -> float | None:
    """From a peak to where the tangent at the steepest descent meets zero, in samples, within the samples given."""
    below = np.flatnonzero(descent <= 0)
    wave = slice(int(below[0]) + 1 if below.size else None)
    steepest = int(slope[wave].argmin())
    if slope[steepest] >= 0:
        return None
    foot = min(steepest + float(descent[steepest] / -slope[steepest]), len(descent) - 1.0)
    return foot if foot > 0 else None


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits) + 0.0  # -0.0 becomes 0.0
