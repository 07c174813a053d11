"""A real waveform with stated edits: what a demo shows or a test asserts is known, and still looks like a patient.

Every edit takes an `Ecg` and returns another, with a message id of its own that follows from the old one and the edit.
`retaken` gives it another time, patient or order. The limb leads stay what Einthoven and Goldberger make them: only I
and II are edited, and whatever is added to them is added to III, aVR, aVL and aVF in the same proportions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from scipy.signal import find_peaks, resample_poly, savgol_filter
from scipy.signal.windows import tukey

from adapters.dicom.decode import decode_dicom
from adapters.recording.site import SiteDefaults
from schemas.ecg import INDEPENDENT_LEADS, Ecg, Order, Patient
from simulator.writers.dicom import derived_uid

Noise = Literal["muscle", "mains", "wander"]
Samples = NDArray[np.floating]

# What one microvolt added to I, or to II, adds to the other limb leads.
_FROM_I: Final = {"III": -1.0, "aVR": -0.5, "aVL": 1.0, "aVF": -0.5}
_FROM_II: Final = {"III": 1.0, "aVR": -0.5, "aVL": -0.5, "aVF": 1.0}

# The T window reaches this far to both sides of the T wave's peak at 60 bpm, and scales as QT does in Bazett's formula.
_T_HALF_WIDTH_S: Final = 0.16
# The T wave's peak lies this long after R at 60 bpm: after any ST segment, before any P wave.
_T_PEAK_S: Final = (0.18, 0.45)
_PR_SEGMENT_S: Final = (-0.08, -0.05)
_MAINS_HZ: Final = 50.0
_WANDER_HZ: Final = 0.3


@cache
def real_ecg() -> Ecg:
    """The resting ECG that pydicom ships: 12 leads, 10 s at 1000 Hz, sinus rhythm at 61 bpm, read as normal."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(path, str), "pydicom is installed without its test files"
    return decode_dicom(Path(path).read_bytes(), SiteDefaults())


def retaken(
    ecg: Ecg,
    *,
    acquired_at: datetime,
    message_id: str | None = None,
    patient: Patient | None = None,
    order: Order | None = None,
) -> Ecg:
    """The same signal as another recording. Without `message_id` it gets a UID that follows from what is given."""
    new_patient, new_order = patient or ecg.patient, order or ecg.order
    message_id = message_id or derived_uid("retaken", ecg.message_id, acquired_at, new_patient, new_order)
    return replace(ecg, acquired_at=acquired_at, message_id=message_id, patient=new_patient, order=new_order)


def invert_t_waves(ecg: Ecg, leads: Iterable[str], *, depth_mv: float, symmetry: float = 1.0) -> Ecg:
    """The ECG with the T wave of every beat inverted in `leads`, `depth_mv` below the PR segment.

    In each edited lead the median T wave above a line from its onset to its end is taken away, and a squared raised
    cosine put in its place; noise, baseline and all other waves stay. `symmetry` is onset-to-nadir over nadir-to-end:
    1 is the ischemic shape, 2 that of strain.

    Limb leads are inverted through the lead that they follow: I for I and aVL, II for II, III and aVF. These two get
    `depth_mv`; the other limb leads follow, so that "III" also inverts II and aVF. Raises ValueError for aVR, whose T
    wave is inverted in health, and if no regular rhythm is found.
    """
    if depth_mv <= 0 or symmetry <= 0:
        raise ValueError("depth and symmetry are above zero")
    wanted = set(leads)
    if unknown := wanted - {*INDEPENDENT_LEADS, "III", "aVL", "aVF"}:
        raise ValueError(f"cannot invert the T wave in {sorted(unknown)}")
    edited = wanted & set(INDEPENDENT_LEADS)
    edited |= {"I"} if "aVL" in wanted else set()
    edited |= {"II"} if wanted & {"III", "aVF"} else set()
    beats = _find_beats(ecg)
    rows = {lead: _with_inverted_t(ecg.lead_uv(lead), beats, depth_mv * 1e3, symmetry) for lead in edited}
    return _with_leads(ecg, rows, f"invert {sorted(edited)} {depth_mv} {symmetry}")


def flatten(ecg: Ecg, lead: str) -> Ecg:
    """The ECG with no signal in one lead: an electrode that fell off. I and II take the other limb leads along."""
    return _with_leads(ecg, {lead: np.zeros_like(ecg.lead_uv(lead))}, f"flatten {lead}")


def saturate(ecg: Ecg, lead: str, *, limit_mv: float = 0.2) -> Ecg:
    """The ECG with one lead cut off at plus and minus `limit_mv`: an amplifier at its rails."""
    row = np.clip(ecg.lead_uv(lead), -limit_mv * 1e3, limit_mv * 1e3)
    return _with_leads(ecg, {lead: row}, f"saturate {lead} {limit_mv}")


def add_noise(ecg: Ecg, lead: str, *, rms_mv: float, kind: Noise = "muscle", seed: int = 0) -> Ecg:
    """The ECG with noise in one lead: muscle (white), mains (50 Hz) or baseline wander (0.3 Hz)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(ecg.samples_uv.shape[1]) / ecg.sampling_hz
    phase = rng.uniform(0, 2 * np.pi)
    shapes = {
        "muscle": rng.standard_normal(time_s.size),
        "mains": np.sqrt(2) * np.sin(2 * np.pi * _MAINS_HZ * time_s + phase),
        "wander": np.sqrt(2) * np.sin(2 * np.pi * _WANDER_HZ * time_s + phase),
    }
    row = ecg.lead_uv(lead) + rms_mv * 1e3 * shapes[kind]
    return _with_leads(ecg, {lead: row}, f"noise {lead} {rms_mv} {kind} {seed}")


def scale(ecg: Ecg, factor: float) -> Ecg:
    """The ECG with every sample multiplied: a gain that was read wrongly."""
    return _edited(ecg, ecg.samples_uv * np.float32(factor), f"scale {factor}")


def resample(ecg: Ecg, hz: float) -> Ecg:
    """The ECG as a cart with another sampling rate would have recorded it. Raises ValueError if it has padding."""
    if np.isnan(ecg.samples_uv).any():
        raise ValueError("an ECG with padding cannot be resampled")
    ratio = Fraction(hz / ecg.sampling_hz).limit_denominator(10_000)
    samples = resample_poly(ecg.samples_uv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return replace(_edited(ecg, samples, f"resample {hz}"), sampling_hz=float(hz))


def _with_leads(ecg: Ecg, rows_uv: Mapping[str, Samples], edit: str) -> Ecg:
    """The ECG with other samples in some of the independent leads, and the limb leads that follow from them."""
    if derived := set(rows_uv) - set(INDEPENDENT_LEADS):
        raise ValueError(f"{sorted(derived)} cannot change alone: limb leads follow from I and II")
    samples_uv = ecg.samples_uv.astype(np.float64)
    for lead, row_uv in rows_uv.items():
        added_uv = row_uv - samples_uv[ecg.leads.index(lead)]
        followers = {"I": _FROM_I, "II": _FROM_II}.get(lead, {})
        for name, share in {lead: 1.0, **followers}.items():
            samples_uv[ecg.leads.index(name)] += share * added_uv
    return _edited(ecg, samples_uv, edit)


def _edited(ecg: Ecg, samples_uv: Samples, edit: str) -> Ecg:
    samples = samples_uv.astype(np.float32)
    samples.setflags(write=False)
    return replace(ecg, samples_uv=samples, message_id=derived_uid("edit", ecg.message_id, edit))


@dataclass(frozen=True, slots=True, eq=False)
class _Beats:
    """Where the beats of a recording are, in samples."""

    r_peaks: NDArray[np.intp]
    """R peaks, and one regular interval before the first and after the last, whose T waves may reach in."""

    t_peak: int
    """From R to the peak of the T wave, over all leads."""

    t_half_width: int
    pr_segment: slice
    """The PR segment, from R."""

    def around(self, row: Samples, start: int, stop: int) -> Samples:
        """The samples from `start` to `stop` after R, beats x samples, of those beats that are wholly recorded."""
        whole = self.r_peaks[(self.r_peaks + start >= 0) & (self.r_peaks + stop <= row.size)]
        beats: Samples = row[whole[:, None] + np.arange(start, stop)]
        return beats


def _find_beats(ecg: Ecg) -> _Beats:
    """R peaks by the steepness of all leads together, and the T wave by their size: sinus rhythm is assumed."""
    hz = ecg.sampling_hz
    recorded = np.stack([ecg.lead_uv(lead) for lead in INDEPENDENT_LEADS]).astype(np.float64)
    steepness = np.square(np.gradient(recorded, axis=1)).sum(axis=0)
    # As wide as a QRS complex, so that each gives one hump.
    energy = np.convolve(steepness, np.ones(int(0.08 * hz)), mode="same")
    humps, _ = find_peaks(energy, height=0.3 * np.percentile(energy, 99), distance=int(0.3 * hz))
    size = np.sqrt(np.square(recorded - np.median(recorded, axis=1, keepdims=True)).sum(axis=0))
    reach = int(0.06 * hz)
    r_peaks = np.array([max(0, hump - reach) + np.argmax(size[max(0, hump - reach) : hump + reach]) for hump in humps])
    intervals = np.diff(r_peaks)
    if intervals.size < 2 or np.ptp(intervals) > 0.3 * np.median(intervals):
        raise ValueError("no regular rhythm")
    interval = int(np.median(intervals))
    stretch = np.sqrt(interval / hz)
    beats = _Beats(
        r_peaks=np.concatenate([[r_peaks[0] - interval], r_peaks, [r_peaks[-1] + interval]]),
        t_peak=0,
        t_half_width=int(_T_HALF_WIDTH_S * stretch * hz),
        pr_segment=slice(int(_PR_SEGMENT_S[0] * hz), int(_PR_SEGMENT_S[1] * hz)),
    )
    search = [int(bound * stretch * hz) for bound in _T_PEAK_S]
    typical = np.median(beats.around(size, search[0], search[1]), axis=0)
    return replace(beats, t_peak=search[0] + int(np.argmax(typical)))


def _with_inverted_t(row_uv: Samples, beats: _Beats, depth_uv: float, symmetry: float) -> Samples:
    """One lead with its T waves inverted."""
    half = beats.t_half_width
    start, width = beats.t_peak - half, 2 * half
    # A cubic over an eighth of the window follows any T wave and leaves the noise of the few beats behind.
    typical_uv = savgol_filter(np.median(beats.around(row_uv, start, start + width), axis=0), width // 8 | 1, 3)
    edge = width // 20
    line_uv = np.linspace(typical_uv[:edge].mean(), typical_uv[-edge:].mean(), width)
    # The window brings what is taken away to zero at both ends: no steps.
    t_wave_uv = (typical_uv - line_uv) * tukey(width, 0.25)

    nadir = round(width * symmetry / (1 + symmetry))
    bump = np.concatenate([_rise(nadir), _rise(width - nadir)[::-1]])
    pr_uv = np.median(beats.around(row_uv, beats.pr_segment.start, beats.pr_segment.stop))
    change_uv = -t_wave_uv - (depth_uv + line_uv[nadir] - pr_uv) * bump

    edited = row_uv.astype(np.float64)
    for at in beats.r_peaks + start:
        first, last = max(0, at), min(row_uv.size, at + width)
        if first < last:
            edited[first:last] += change_uv[first - at : last - at]
    return edited


def _rise(samples: int) -> Samples:
    """Half a squared raised cosine, from 0 to 1: about as narrow at half height as a T wave is."""
    return np.square((1 - np.cos(np.pi * np.arange(samples) / samples)) / 2)
