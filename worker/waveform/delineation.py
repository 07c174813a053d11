"""Where the waves of a median beat begin and end, over all leads at once.

Onsets and ends are global: the earliest onset and the latest end in any lead, as AHA/ACCF/HRS 2009 asks of intervals
from simultaneous leads. P onset and T end are placed by the tangent method on the root mean square of the leads.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from worker.waveform.beats import Beats
from worker.waveform.spectrum import RATE_HZ, to_samples

PR_SEGMENT_S: Final = 0.016
"""Length of what is taken for the PR segment, the level of all amplitudes."""

_PR_GAP_S: Final = 0.006  # between it and the QRS: a Q wave's first rounding is not level

_SMOOTH_S: Final = 0.02  # as long as one mains period at 50 Hz
_QRS_REACH_S: Final = 0.14  # no QRS begins or ends farther from its steepest point
_CORE: Final = 0.18  # of the peak speed: certainly QRS
# Of the peak speed: no longer QRS. Before it lies the level PR segment, behind it an ST segment that may slope.
_EDGE_BEFORE: Final = 0.025
_EDGE_AFTER: Final = 0.05
_QUIET_S: Final = 0.01
_QUIET: Final = 2.5  # times the speed of the noise before the QRS
_ST_S: Final = 0.06  # the S wave's tail is over
_P_GAP_S: Final = 0.16  # the next P wave begins about so long before the next QRS
_LATE: Final = 0.5  # of the tallest: a later peak of this height still is T (the second half of a biphasic one)
_LEAST_MV: Final = 0.03  # below this the noise of a median beat is as tall as the wave


@dataclass(frozen=True, slots=True)
class Marks:
    """Sample numbers in the median beat; None is a wave that cannot be seen."""

    p_onset: int | None
    qrs_onset: int
    qrs_end: int
    t_peak: int
    t_end: int | None
    t_limit: int
    """Where the search for T ends: as late as QT can be at this rate, and before the next P."""


def delineate(beats: Beats, good: NDArray[np.bool_]) -> Marks:
    """Find the waves in the median beat, from the `good` independent leads (at least one)."""
    beat_mv = beats.median_mv[good]
    onset, end = _qrs(beat_mv, beats.anchor)
    beat_mv = beat_mv - pr_level(beat_mv, onset)
    strength = np.sqrt((_smooth(beat_mv) ** 2).mean(axis=0))

    longest_s = min(0.6 * np.sqrt(beats.rr_s), beats.rr_s - _P_GAP_S)
    start = end + to_samples(_ST_S)
    limit = int(np.clip(onset + to_samples(longest_s), start + to_samples(0.1), len(strength) - 1))
    peak = _last_peak(strength, start, limit)
    t_end = _tangent_foot(strength, peak, limit) if strength[peak] > _LEAST_MV else None

    previous_t = onset - to_samples(beats.rr_s) + ((t_end or limit) - onset)
    p_onset = _p_onset(strength, max(0, previous_t), onset - to_samples(2 * PR_SEGMENT_S))
    return Marks(p_onset, onset, end, peak, t_end, limit)


def pr_level(beat_mv: NDArray[np.float32], qrs_onset: int) -> NDArray[np.float32]:
    """The level of the PR segment, leads x 1."""
    stop = max(1, qrs_onset - to_samples(_PR_GAP_S))
    segment = beat_mv[:, max(0, stop - to_samples(PR_SEGMENT_S)) : stop]
    level: NDArray[np.float32] = segment.mean(axis=1, keepdims=True)
    return level


def _smooth(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    smoothed: NDArray[np.float32] = uniform_filter1d(rows, to_samples(_SMOOTH_S) | 1, axis=-1, mode="nearest")
    return smoothed


def _qrs(beat_mv: NDArray[np.float32], anchor: int) -> tuple[int, int]:
    """First and last sample of the QRS, on the spatial speed of the leads."""
    speed = np.sqrt((np.gradient(beat_mv, axis=1) ** 2).sum(axis=0))
    speed = uniform_filter1d(speed, 3, mode="nearest")
    reach = to_samples(_QRS_REACH_S)
    near = speed[anchor - reach : anchor + reach]
    fastest = near.max()
    core = np.flatnonzero(near > _CORE * fastest) + anchor - reach
    first, last = int(core[0]), int(core[-1])
    # The stillest fifth of what precedes the QRS: neither the P wave nor a slow Q is noise.
    noise = float(np.percentile(speed[first - to_samples(0.1) : first - to_samples(0.01)], 20))
    half, quiet = reach // 2, to_samples(_QUIET_S)
    limit_before = min(max(_EDGE_BEFORE * fastest, _QUIET * noise), _CORE * fastest)
    limit_after = min(max(_EDGE_AFTER * fastest, _QUIET * noise), _CORE * fastest)
    # The fastest of the 10 ms up to a sample, and of those from it: at the peak of a small Q all is still for less.
    until = maximum_filter1d(speed, quiet, origin=(quiet - 1) // 2)
    since = maximum_filter1d(speed, quiet, origin=-(quiet // 2))
    before = np.flatnonzero(until[first - half : first] < limit_before)
    after = np.flatnonzero(since[last : last + half] < limit_after)
    onset = first - half + int(before[-1]) if before.size else first
    end = last + int(after[0]) if after.size else last
    return onset, end


def _last_peak(strength: NDArray[np.float32], start: int, limit: int) -> int:
    """The last local maximum that is at least half as tall as the tallest; the tallest sample if there is none."""
    part = strength[start : limit + 1]
    peaks = np.flatnonzero((part[1:-1] >= part[:-2]) & (part[1:-1] > part[2:])) + 1
    if not peaks.size:
        return start + int(part.argmax())
    high = peaks[part[peaks] >= _LATE * part[peaks].max()]
    return start + int(high[-1])


def _tangent_foot(strength: NDArray[np.float32], peak: int, limit: int) -> int | None:
    """Where the tangent at the steepest descent after a peak meets the level the wave falls to."""
    after = strength[peak : limit + 1]
    rising = np.flatnonzero(np.diff(after) > 0)
    low = rising[after[rising] < 0.3 * after[0]]  # the first trough that is one: what rises behind it is U or P
    fall = after[: int(low[0]) + 1] if low.size else after
    if len(fall) < 3:
        return None
    slope = np.gradient(fall)
    steepest = int(slope.argmin())
    if slope[steepest] >= 0:
        return None
    foot = steepest + (fall[steepest] - fall[steepest:].min()) / -slope[steepest]
    return peak + round(float(foot))


def _p_onset(strength: NDArray[np.float32], start: int, stop: int) -> int | None:
    """The foot of the P wave, seen backwards from its peak; None without a peak of its own."""
    if stop - start < to_samples(0.06):
        return None
    peak = _last_peak(strength, start, stop)
    if strength[peak] < _LEAST_MV or not start < peak < stop:
        return None
    foot = _tangent_foot(strength[start : peak + 1][::-1], 0, peak - start)
    return None if foot is None else max(peak - foot, 0)


def to_ms(samples: float) -> float:
    """A number of samples of the median beat in milliseconds."""
    return samples * 1000 / RATE_HZ
