"""What limits an ECG: leads that show no heart, records that cannot be judged.

Problems and the unit of their `value` are listed in `PROBLEMS`. A lead with a problem in `EXCLUDING` is never measured.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import INDEPENDENT_LEADS, Ecg
from schemas.finding import QualityFlag
from worker.waveform.beats import Beats
from worker.waveform.spectrum import Spectrum, to_samples

PROBLEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "share of the lead's samples that are padding, 0 to 1",
        "flat": "share of the recording, 0 to 1, in which the lead does not move",
        "saturated": "level at which the lead is cut off, mV from its median",
        "noisy": "deviation of single beats from the median beat, mV RMS",
        "no_qrs": "peak-to-peak of the median beat's QRS, mV",
        "derived_from_unusable": "no value: the lead follows from I and II, and one of them cannot be used",
        "baseline_wander": "peak-to-peak of the lead below 0.5 Hz, mV",
        "too_few_beats": "number of complete beats of the dominant shape, in the lead or in the recording",
        "lead_reversal_suspected": "net QRS of lead I, mV·ms: negative, with a negative P and an upright aVR",
    }
)
"""Every problem that the waveform can show, and what its `value` is."""

EXCLUDING: Final = frozenset({"flat", "saturated", "noisy", "no_qrs", "too_few_beats", "derived_from_unusable"})
"""Problems after which nothing is measured in the lead."""

MIN_BEATS: Final = 3
"""A median needs three values before it can outvote one."""

MIN_GOOD_LEADS: Final = 6
"""Of the eight independent leads. With three of them lost, a whole territory has no neighbouring pair of leads left."""

_PADDING_SHARE: Final = 0.05  # below this a gap costs a lead at most one beat
_WINDOW_S: Final = 2.0  # holds a QRS down to 30 bpm
_STILL_UV: Final = 30.0  # less than a third of the smallest QRS called "low voltage" anywhere
_RAIL_UV: Final = 100.0  # amplifiers do not clip close to the baseline; quantised baselines look like plateaus
_PLATEAU_S: Final = 0.04  # no wave stays within one bit for so long at its peak, unless it is cut
_CUT_S: Final = 0.006
_EDGE_UV_PER_MS: Final = 20.0  # a cut R wave enters its plateau at full speed, a natural peak does not
_NOISE_MV: Final = 0.1  # as tall as the inversion that is looked for
_NO_QRS_MV: Final = 0.03  # an electrode on a patient shows more even where the heart's axis is perpendicular
_WANDER_MV: Final = 0.5
_NEGATIVE_P_MV: Final = -0.03


def recording_flags(ecg: Ecg) -> list[QualityFlag]:
    """What the samples show before any beat is known: missing, flat and saturated leads."""
    flags: list[QualityFlag] = []
    padding = np.isnan(ecg.samples_uv).mean(axis=1)
    still = _still_share(ecg)
    for row, lead in enumerate(ecg.leads):
        if padding[row] > _PADDING_SHARE:
            flags.append(_flag(lead, "missing", padding[row], 2))
        if still[row] > 0:
            flags.append(_flag(lead, "flat", still[row], 2))
        elif (rail_uv := _rail_uv(ecg.samples_uv[row], ecg.sampling_hz)) is not None:
            flags.append(_flag(lead, "saturated", rail_uv / 1000, 3))
    return flags + _derived(ecg, flags)


def beat_flags(ecg: Ecg, beats: Beats, samples: Spectrum, flagged: frozenset[str]) -> list[QualityFlag]:
    """What the beats show of the leads not `flagged` yet: noise, no QRS, wander."""
    flags: list[QualityFlag] = []
    noise_mv = _noise_mv(beats)
    complete = (~np.isnan(beats.windows_mv[:, :, 0])).sum(axis=1)
    around = slice(beats.anchor - to_samples(0.08), beats.anchor + to_samples(0.08))
    qrs_mv = np.ptp(beats.median_mv[:, around], axis=1)
    wander_mv = samples.wander_mv()
    for row, lead in enumerate(ecg.leads):
        if lead in flagged:
            continue
        if complete[row] < MIN_BEATS:
            flags.append(_flag(lead, "too_few_beats", complete[row], 0))
        elif noise_mv[row] > _NOISE_MV:
            flags.append(_flag(lead, "noisy", noise_mv[row], 3))
        elif lead in INDEPENDENT_LEADS and qrs_mv[row] < _NO_QRS_MV:
            flags.append(_flag(lead, "no_qrs", qrs_mv[row], 3))
        if wander_mv[row] > _WANDER_MV:
            flags.append(_flag(lead, "baseline_wander", wander_mv[row], 3))
    return flags + _derived(ecg, flags)


def excluded(flags: list[QualityFlag]) -> frozenset[str]:
    """The leads in which nothing may be measured."""
    return frozenset(flag.lead for flag in flags if flag.lead is not None and flag.problem in EXCLUDING)


def good_independent(ecg: Ecg, excluded_leads: frozenset[str]) -> NDArray[np.bool_]:
    """Mark the ECG's rows that are independent leads without an excluding problem."""
    return np.array([lead in INDEPENDENT_LEADS and lead not in excluded_leads for lead in ecg.leads])


def reversal_flag(
    net_i_mv_ms: float, net_avr_mv_ms: float, net_v6_mv_ms: float, p_i_mv: float | None
) -> list[QualityFlag]:
    """Right and left arm electrodes exchanged, as AHA/ACCF/HRS 2007 II describes it: I upside down, P included, aVR up.

    An upright V6 tells it from dextrocardia, the negative P from a ventricular rhythm with an extreme axis.
    """
    upside_down = net_i_mv_ms < 0 < net_avr_mv_ms and net_v6_mv_ms > 0
    if upside_down and p_i_mv is not None and p_i_mv < _NEGATIVE_P_MV:
        return [QualityFlag(lead=None, problem="lead_reversal_suspected", value=round(net_i_mv_ms, 1))]
    return []


def _flag(lead: str, problem: str, value: float, digits: int) -> QualityFlag:
    return QualityFlag(lead=lead, problem=problem, value=round(float(value), digits))


def _derived(ecg: Ecg, flags: list[QualityFlag]) -> list[QualityFlag]:
    """Every cart computes III and the augmented leads from I and II: they are worth no more, however well they look."""
    bad = excluded(flags)
    if not bad & {"I", "II"}:
        return []
    followers = [lead for lead in ecg.leads if lead not in INDEPENDENT_LEADS and lead not in bad]
    return [QualityFlag(lead=lead, problem="derived_from_unusable") for lead in followers]


def _still_share(ecg: Ecg) -> NDArray[np.float64]:
    """Share of two-second windows in which a lead moves less than an ECG can; windows of padding are not counted."""
    width = round(_WINDOW_S * ecg.sampling_hz)
    count = ecg.samples_uv.shape[1] // width
    windows = ecg.samples_uv[:, : count * width].reshape(len(ecg.leads), count, width)
    moved_uv = windows.max(axis=2) - windows.min(axis=2)  # NaN where padded, and NaN is not still
    return np.asarray((moved_uv < _STILL_UV).mean(axis=1))


def _rail_uv(row_uv: NDArray[np.float32], sampling_hz: float) -> float | None:
    """The level at which a lead is cut off, from its median; None if it is not."""
    for level in (np.fmax.reduce(row_uv), np.fmin.reduce(row_uv)):
        at_level = row_uv == level
        if at_level.sum() < 3:
            continue
        from_median = float(level - np.median(row_uv[~np.isnan(row_uv)]))
        edges = np.flatnonzero(np.diff(at_level, prepend=False, append=False))
        starts, stops = edges[::2], edges[1::2]
        speed = np.abs(np.diff(row_uv, prepend=row_uv[0], append=row_uv[-1])) * (sampling_hz / 1000)
        abrupt = np.fmax(speed[starts], speed[stops]) > _EDGE_UV_PER_MS
        cut = abrupt & (stops - starts >= max(3, _CUT_S * sampling_hz))
        long = stops - starts >= _PLATEAU_S * sampling_hz
        if abs(from_median) > _RAIL_UV and (long.any() or cut.sum() >= MIN_BEATS):
            return from_median
    return None


def _noise_mv(beats: Beats) -> NDArray[np.float64]:
    """How much single beats differ from the median beat: muscle, mains, motion. Zero for a lead without two beats."""
    residual_mv = np.abs(beats.windows_mv[:, :, ::4] - beats.median_mv[:, None, ::4]).reshape(len(beats.median_mv), -1)
    ordered = np.sort(residual_mv, axis=1)  # NaN comes last
    known = (~np.isnan(ordered)).sum(axis=1)
    count = known * beats.kept / ordered.shape[1]
    middle = ordered[np.arange(len(ordered)), np.minimum(known // 2, ordered.shape[1] - 1)]
    # The median beat follows the beats: with n of them the residual is short by sqrt(1 - 1/n).
    return np.where(count > 1, 1.4826 * middle / np.sqrt(1 - 1 / np.maximum(count, 2)), 0.0)
