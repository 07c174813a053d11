"""A 12-lead ECG made of raised cosines, so that every amplitude and interval is known exactly."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import LEADS, Ecg, Patient
from worker.waveform.beats import Beats

P_S, QRS_S = 0.09, 0.086
TANGENT = 0.75 + 0.5 / np.pi  # where the tangent of a raised cosine meets zero, as a share of its width

# P, Q, R, S and T in millivolts.
WAVES: dict[str, tuple[float, float, float, float, float]] = {
    "I": (0.08, -0.05, 0.70, -0.10, 0.22), "II": (0.15, -0.06, 1.00, -0.15, 0.32),
    "V1": (0.06, 0.0, 0.20, -1.00, 0.12), "V2": (0.07, 0.0, 0.40, -1.40, 0.40), "V3": (0.07, 0.0, 0.80, -0.90, 0.45),
    "V4": (0.08, -0.05, 1.40, -0.50, 0.45), "V5": (0.08, -0.08, 1.50, -0.20, 0.35),
    "V6": (0.08, -0.08, 1.10, -0.10, 0.28),
}  # fmt: skip


def bump(t_s: NDArray[np.float64], start_s: float, width_s: float) -> NDArray[np.float64]:
    inside = (t_s > start_s) & (t_s < start_s + width_s)
    return np.where(inside, 0.5 - 0.5 * np.cos(2 * np.pi * (t_s - start_s) / width_s), 0.0)


def pr_s(bpm: float) -> float:
    return 0.16 if bpm < 100 else 0.13


def t_timing_s(bpm: float) -> tuple[float, float]:
    """Start of T after QRS onset, and its width."""
    rr_s = 60 / bpm
    return 0.21 * np.sqrt(rr_s), 0.19 * np.sqrt(rr_s)


def beat(t_s: NDArray[np.float64], onset_s: float, bpm: float, waves: tuple[float, ...]) -> NDArray[np.float64]:
    p, q, r, s, t = waves
    start_s, width_s = t_timing_s(bpm)
    return (
        p * bump(t_s, onset_s - pr_s(bpm), P_S)
        + q * bump(t_s, onset_s, 0.024)
        + r * bump(t_s, onset_s + 0.016, 0.044)
        + s * bump(t_s, onset_s + 0.056, 0.03)
        + t * bump(t_s, onset_s + start_s, width_s)
    )


def onsets_s(bpm: float, seconds: float = 10.0) -> NDArray[np.float64]:
    return np.arange(0.3, seconds, 60 / bpm)


def with_limb_leads(recorded_mv: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
    i, ii = recorded_mv["I"], recorded_mv["II"]
    limb = {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    return np.stack([({**limb, **recorded_mv})[lead] for lead in LEADS]).astype(np.float32) * 1000


def ecg_of(samples_uv: NDArray[np.floating], hz: float, leads: tuple[str, ...] = LEADS) -> Ecg:
    frozen = np.array(samples_uv, np.float32)
    frozen.setflags(write=False)
    return Ecg(
        format="test",
        message_id="1",
        leads=leads,
        samples_uv=frozen,
        sampling_hz=hz,
        acquired_at=datetime(2026, 3, 3, tzinfo=UTC),
        patient=Patient("p"),
    )


def analytic_ecg(
    bpm: float = 60,
    hz: float = 500,
    t_mv: Mapping[str, float] | None = None,
    waves: Mapping[str, tuple[float, ...]] | None = None,
    noise_mv: float = 0.005,
    seconds: float = 10.0,
) -> Ecg:
    """`t_mv` replaces the T wave's height in some independent leads, `waves` all five heights."""
    t_s = np.arange(round(seconds * hz)) / hz
    rng = np.random.default_rng(1)
    recorded: dict[str, NDArray[np.float64]] = {}
    for lead, usual in WAVES.items():
        heights = (waves or {}).get(lead, usual)
        heights = (*heights[:4], (t_mv or {}).get(lead, heights[4]))
        recorded[lead] = sum(
            (beat(t_s, onset, bpm, heights) for onset in onsets_s(bpm, seconds)),
            start=noise_mv * rng.standard_normal(t_s.size),
        )
    return ecg_of(with_limb_leads(recorded), hz)


def plus(ecg: Ecg, added_mv: Mapping[str, NDArray[np.float64]]) -> Ecg:
    """The ECG with something added to some of its leads, each on its own."""
    samples_uv = ecg.samples_uv.copy()
    for lead, signal_mv in added_mv.items():
        samples_uv[ecg.leads.index(lead)] += (signal_mv * 1000).astype(np.float32)
    return ecg_of(samples_uv, ecg.sampling_hz, ecg.leads)


ONSET = 150
"""The sample at which the QRS of a `median_beats` begins, 0.3 s into it."""


def median_beats(rows_mv: NDArray[np.floating], rr_s: float = 1.0) -> Beats:
    """The beats of a record whose every beat is this one: leads x samples, 0.35 s before its anchor and 0.7 s after."""
    median_mv = np.array(rows_mv, np.float32)
    return Beats(np.repeat(median_mv[:, None], 4, axis=1), median_mv, ONSET + 25, rr_s, 4)


def beat_rows(*waves: tuple[float, ...], bpm: float = 60, level_mv: float = 0.0) -> NDArray[np.float64]:
    """One beat a lead, from its P, Q, R, S and T, on a level of its own."""
    t_s = np.arange(525) / 500
    return np.stack([beat(t_s, ONSET / 500, bpm, item) + level_mv for item in waves])
