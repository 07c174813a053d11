"""Numbers from the waveform: rate, intervals, axis and the amplitudes of every lead, with the signal's quality.

Everything is taken from the median beat of the dominant shape, at 500 Hz, against the PR segment. What cannot be
measured is None, and a lead that cannot be used has no measurements at all.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import Ecg
from schemas.finding import LeadMeasurements, Measurements, Quality, QualityFlag
from worker.waveform.amplitudes import UNMEASURED, Waves, lead_measurements, p_mv, terminal_t_mv, waves_of
from worker.waveform.beats import Beats, find_beats
from worker.waveform.delineation import delineate, to_ms
from worker.waveform.quality import (
    MIN_BEATS,
    MIN_GOOD_LEADS,
    beat_flags,
    excluded,
    good_independent,
    recording_flags,
    reversal_flag,
)
from worker.waveform.spectrum import RATE_HZ, spectrum

INVERSION_MV: Final = -0.1
"""A T wave this low or lower is inverted (AHA/ACCF/HRS 2009 IV; the 4th universal definition of MI, 2018)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the waveform of one ECG says.

    `biphasic` names the leads whose T is upright by its tallest part but ends at or below -0.1 mV. They are not in
    `measurements.t_wave_inversion`, and screening does not overlook them: Wellens' type A looks like this.
    """

    measurements: Measurements
    quality: Quality
    biphasic: tuple[str, ...] = ()


def measure(ecg: Ecg) -> Measured:
    """Measure an ECG. Whatever the samples are, this returns: what they cannot carry is None, and flagged."""
    flags = recording_flags(ecg)
    filled_uv, gaps = _without_gaps(ecg)
    samples = spectrum(filled_uv, ecg.sampling_hz)
    padded = frozenset(flag.lead for flag in flags if flag.lead and flag.problem == "missing")
    beats = find_beats(samples, good_independent(ecg, excluded(flags) | padded), gaps)
    if beats is None or beats.kept < MIN_BEATS:
        few = QualityFlag(lead=None, problem="too_few_beats", value=float(beats.kept if beats else 0))
        return _unmeasured(ecg, [*flags, few])

    flags += beat_flags(ecg, beats, samples, excluded(flags))
    unusable = excluded(flags)
    good = good_independent(ecg, unusable)
    if not good.any():
        return _unmeasured(ecg, flags)
    waves = waves_of(beats, delineate(beats, good), np.array([lead in unusable for lead in ecg.leads]))
    reversal = _reversal(ecg, waves)
    quality = Quality(usable=bool(good.sum() >= MIN_GOOD_LEADS) and not reversal, flags=(*ecg.notes, *flags, *reversal))
    rows = range(len(ecg.leads))
    biphasic = tuple(
        ecg.leads[row]
        for row in rows
        if ecg.leads[row] != "aVR" and waves.t_mv[row] > 0 and terminal_t_mv(waves, row) <= INVERSION_MV
    )
    leads = {ecg.leads[row]: lead_measurements(waves, row) for row in rows}
    return Measured(_measurements(ecg, beats, waves, leads), quality, biphasic)


def _unmeasured(ecg: Ecg, flags: list[QualityFlag]) -> Measured:
    measurements = Measurements(
        heart_rate_bpm=None, pr_ms=None, qrs_ms=None, qt_ms=None, qtc_ms=None, axis_deg=None, sokolow_lyon_mv=None,
        leads=dict.fromkeys(ecg.leads, UNMEASURED), t_wave_inversion=(),
    )  # fmt: skip
    return Measured(measurements, Quality(usable=False, flags=(*ecg.notes, *flags)))


def _without_gaps(ecg: Ecg) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Samples with padding bridged by straight lines for the filters, and where it was, at the median beat's rate."""
    gaps = np.isnan(ecg.samples_uv)
    if not gaps.any():
        return ecg.samples_uv, None
    filled_uv = ecg.samples_uv.copy()
    at = np.arange(gaps.shape[1])
    for row, gap in enumerate(gaps):
        filled_uv[row, gap] = 0.0 if gap.all() else np.interp(at[gap], at[~gap], filled_uv[row, ~gap])
    length = int(gaps.shape[1] / ecg.sampling_hz * RATE_HZ)
    nearest = (np.arange(length) * (ecg.sampling_hz / RATE_HZ)).astype(np.intp)
    return filled_uv, gaps[:, nearest]


def _measurements(ecg: Ecg, beats: Beats, waves: Waves, leads: dict[str, LeadMeasurements]) -> Measurements:
    marks = waves.marks
    qt_ms = None if marks.t_end is None else to_ms(marks.t_end - marks.qrs_onset)
    # Fridericia: AHA/ACCF/HRS 2009 IV finds Bazett to over-correct at fast rates and under-correct at slow ones.
    qtc_ms = None if qt_ms is None else round(qt_ms / beats.rr_s ** (1 / 3), 1)
    # aVR is upside down by its place: a negative T is normal there and never counts as inverted.
    inverted = tuple(
        lead for lead, found in leads.items() if lead != "aVR" and found.t_mv is not None and found.t_mv <= INVERSION_MV
    )
    return Measurements(
        heart_rate_bpm=round(60 / beats.rr_s, 1),
        pr_ms=None if marks.p_onset is None else round(to_ms(marks.qrs_onset - marks.p_onset), 1),
        qrs_ms=round(to_ms(marks.qrs_end - marks.qrs_onset), 1),
        qt_ms=qt_ms,
        qtc_ms=qtc_ms,
        axis_deg=_axis_deg(ecg, waves),
        sokolow_lyon_mv=_sokolow_lyon_mv(leads),
        leads=leads,
        t_wave_inversion=inverted,
    )


def _net(ecg: Ecg, waves: Waves, lead: str) -> float:
    """Net area of the QRS in one lead, mV·ms; NaN if the lead is not there or cannot be used."""
    return float(waves.net_mv_ms[ecg.leads.index(lead)]) if lead in ecg.leads else float("nan")


def _axis_deg(ecg: Ecg, waves: Waves) -> float | None:
    """Frontal axis of the QRS from the areas in I and aVF, -180 to 180; aVF is augmented to the scale of I."""
    along_i, along_avf = _net(ecg, waves, "I"), _net(ecg, waves, "aVF") * 2 / np.sqrt(3)
    if not np.hypot(along_i, along_avf) > 1.0:  # mV·ms: below it there is no direction, and NaN has none either
        return None
    return round(float(np.degrees(np.arctan2(along_avf, along_i))), 1) + 0.0


def _sokolow_lyon_mv(leads: dict[str, LeadMeasurements]) -> float | None:
    """S in V1 plus the taller R of V5 and V6 (Sokolow and Lyon 1949: hypertrophy from 3.5 mV)."""
    s_v1, r_v5, r_v6 = (leads.get(lead, UNMEASURED) for lead in ("V1", "V5", "V6"))
    if s_v1.s_mv is None or r_v5.r_mv is None or r_v6.r_mv is None:
        return None
    return round(max(r_v5.r_mv, r_v6.r_mv) - s_v1.s_mv, 3)


def _reversal(ecg: Ecg, waves: Waves) -> list[QualityFlag]:
    if "I" not in ecg.leads:
        return []
    net = [_net(ecg, waves, lead) for lead in ("I", "aVR", "V6")]
    return reversal_flag(net[0], net[1], net[2], p_mv(waves, ecg.leads.index("I")))
