"""From a spectrum to one median beat: R peaks, and the beats of the dominant shape."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from worker.waveform.spectrum import HIGH_PASS_HZ, RATE_HZ, Spectrum, to_samples

# Above 100 Hz there is little ECG in an adult and much muscle; the median beat needs no more.
_LOW_PASS_HZ: Final = 100.0
_QRS_BAND_HZ: Final = (8.0, 25.0)  # most of the energy of a QRS, little of P, T, wander or mains

_ENERGY_S: Final = 0.08  # about one QRS
_REFRACTORY_S: Final = 0.25  # no ventricle of an adult beats faster than 240 a minute for 10 s and still is "resting"
_THRESHOLD: Final = 0.35  # of the tallest QRS energies: above tall T waves, below small beats
# |velocity| of pure noise has a 98th percentile 3.4 times its median; between the beats of an ECG there is quiet.
_PEAKED: Final = 5.0

_BEFORE_S: Final = 0.35  # reaches a P wave with first-degree block up to a PR of about 300 ms
_AFTER_S: Final = 0.70  # reaches a T end with a QT of up to about 650 ms
_ALIGN_S: Final = 0.03
_SAME_SHAPE: Final = 0.85  # correlation over QRS and ST-T in all leads at once


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """The beats of the dominant shape, aligned. Arrays are in millivolts at `RATE_HZ`, leads in the order of the ECG.

    `windows_mv` is leads x beats x samples, NaN where the record has padding; `median_mv` is leads x samples, NaN for a
    lead without a complete beat. `anchor` is the sample that all beats share, within the QRS. `detected` counts every
    beat of the record, also those of another shape.
    """

    windows_mv: NDArray[np.float32]
    median_mv: NDArray[np.float32]
    anchor: int
    rr_s: float
    detected: int

    @property
    def kept(self) -> int:
        """The number of beats of the dominant shape."""
        return int(self.windows_mv.shape[1])


def find_beats(samples: Spectrum, voting: NDArray[np.bool_], gaps: NDArray[np.bool_] | None) -> Beats | None:
    """The median beat; None if no two beats of one shape were found.

    `voting` marks the leads that say where beats are and which are alike; `gaps` marks padding, leads x samples at
    `RATE_HZ`, or is None without any.
    """
    energy, voters = _qrs_energy(samples, np.flatnonzero(voting))
    if not voters.size:
        return None
    peaks = _r_peaks(energy)
    before, after = to_samples(_BEFORE_S), to_samples(_AFTER_S)
    if len(peaks) < 2:
        return None
    rr_s = float(peaks[-1] - peaks[0]) / (len(peaks) - 1) / RATE_HZ
    preceding = np.diff(peaks, prepend=peaks[0] - round(rr_s * RATE_HZ))
    # Before aligning, so that only whole beats say what is typical; and after it, which can shift one over the edge.
    anchors, preceding = _whole(peaks, preceding, before, samples.length - after)
    if len(anchors) < 2:
        return None
    anchors, preceding = _whole(_align(energy, anchors), preceding, before, samples.length - after)
    if len(anchors) < 2:
        return None

    signal_mv = samples.band(HIGH_PASS_HZ, _LOW_PASS_HZ)
    windows_mv = _windows(signal_mv, anchors, before, after)
    windows_mv -= windows_mv[:, :, before - to_samples(0.1) : before - to_samples(0.06)].mean(axis=2, keepdims=True)
    kept = _dominant_shape(windows_mv[voters], before, preceding)
    if kept.sum() < 2:
        return None
    windows_mv = windows_mv[:, kept]
    if gaps is not None:
        torn = _windows(gaps.astype(np.float32), anchors[kept], before, after).any(axis=2)
        windows_mv[torn] = np.nan
    return Beats(windows_mv, _median_beat(windows_mv), before, rr_s, len(peaks))


def _qrs_energy(samples: Spectrum, candidates: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Summed |velocity| of the leads that have beats to show, scaled to their beats; and which leads those are.

    A lead of noise has no quiet between its peaks and gets no vote.
    """
    speed = np.abs(np.diff(samples.band(*_QRS_BAND_HZ, candidates), axis=1))
    ranked = np.sort(speed[:, ::4], axis=1)
    middle, top = ranked[:, ranked.shape[1] // 2], ranked[:, int(0.98 * ranked.shape[1])]
    voting = top > _PEAKED * np.maximum(middle, 1e-6)
    # In the scale of the second loudest lead: the loudest may be an artefact, and in a quiet lead T would count as QRS.
    vote = np.maximum(top[voting], np.sort(top[voting])[-2:].min(initial=np.inf))
    summed = (speed[voting] / vote[:, None]).sum(axis=0, dtype=np.float32)
    energy: NDArray[np.float32] = uniform_filter1d(summed, to_samples(_ENERGY_S), mode="constant")
    return energy, candidates[voting]


def _r_peaks(energy: NDArray[np.float32]) -> NDArray[np.intp]:
    high = float(np.percentile(energy[::2], 98))
    peaks: NDArray[np.intp] = find_peaks(energy, height=_THRESHOLD * high, distance=to_samples(_REFRACTORY_S))[0]
    return peaks


def _whole(
    anchors: NDArray[np.intp], preceding: NDArray[np.intp], first: int, last: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The beats whose window lies within the record, with the intervals before them."""
    inside = (anchors >= first) & (anchors <= last)
    return anchors[inside], preceding[inside]


def _windows(rows: NDArray[np.float32], anchors: NDArray[np.intp], before: int, after: int) -> NDArray[np.float32]:
    """Cut leads x beats x samples out of leads x samples."""
    windows: NDArray[np.float32] = rows[:, anchors[:, None] + np.arange(-before, after)]
    return windows


def _align(energy: NDArray[np.float32], peaks: NDArray[np.intp]) -> NDArray[np.intp]:
    """Shift each beat by a few samples to where its QRS energy fits the typical one best."""
    reach = to_samples(_ALIGN_S)
    half = to_samples(2 * _ENERGY_S)
    around = np.arange(-half, half)
    typical = np.median(energy[peaks[:, None] + around], axis=0)
    shifts = np.arange(-reach, reach + 1)
    inside = np.clip(peaks[:, None, None] + shifts[:, None] + around, 0, len(energy) - 1)
    distance = ((energy[inside] - typical) ** 2).sum(axis=2)
    aligned: NDArray[np.intp] = peaks + shifts[distance.argmin(axis=1)]
    return aligned


def _dominant_shape(windows_mv: NDArray[np.float32], anchor: int, preceding: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark the beats of the most frequent shape; of two equally frequent ones (bigeminy) the less premature."""
    start, stop = anchor - to_samples(0.1), anchor + to_samples(0.3)
    shapes = windows_mv[:, :, start:stop]
    shapes = (shapes - shapes.mean(axis=2, keepdims=True)).transpose(1, 0, 2).reshape(windows_mv.shape[1], -1)
    shapes = shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-9)
    alike = shapes @ shapes.T > _SAME_SHAPE
    votes = alike.sum(axis=1) + np.minimum(preceding / RATE_HZ, 9.0) / 10
    return np.asarray(alike[int(votes.argmax())])


def _median_beat(windows_mv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over the beats that a lead has in full; NaN for a lead that has none."""
    ordered = np.sort(windows_mv, axis=1)  # NaN comes last; several times faster than np.median
    complete = (~np.isnan(windows_mv[:, :, 0])).sum(axis=1)
    leads = np.arange(len(ordered))
    median_mv: NDArray[np.float32] = (ordered[leads, (complete - 1) // 2] + ordered[leads, complete // 2]) / 2
    return median_mv
