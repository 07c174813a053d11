"""What is true of a simulated ECG, read off its noise-free beat and the parameters that made it.

Amplitudes are those of the heart as this site records it, its gain error included, through electrodes in their places:
a fault is named in `faults` and changes nothing else. T is where the T wave alone is farthest from zero, ST 60 ms after
the end of the QRS, symmetry the time from half height to the peak over that from the peak back to half height.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import LEADS
from simulator.entities import ENTITIES
from simulator.faults import Fault
from simulator.hospital import Hospital
from simulator.parameters import RATE_HZ, SAMPLES, T_WAVES, Parameters
from simulator.waveform import BEFORE, TO_TWELVE, Samples, beats_uv

Verdict = Literal["ischemic", "non_ischemic", "no_t_wave_inversion"]

INVERSION_MV: Final = -0.1
"""A T wave this low or lower is inverted (AHA/ACCF/HRS 2009 IV; 4th universal definition of MI, 2018)."""

_ST_AFTER_J_MS: Final = 60.0
# Chest leads in order, limb leads in Cabrera's, where aVR stands upside down: an upright T counts as inverted there.
_CONTIGUOUS: Final = (("V1", "V2", "V3", "V4", "V5", "V6"), ("aVL", "I", "-aVR", "II", "aVF", "III"))
_TERRITORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "septal": ("V1", "V2"),
    "anterior": ("V3", "V4"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "inferior": ("II", "III", "aVF"),
}


@dataclass(frozen=True, slots=True)
class LeadTruth:
    """One lead. `symmetry` is None for a T wave below 0.1 mV and for a biphasic one, which have none to speak of."""

    t_mv: float
    st_mv: float
    symmetry: float | None


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one ECG.

    `leads` have an inverted T wave, `biphasic` one that ends so; neither holds aVR. `territories` have two such leads
    or more.
    `text` says how the clinical text was made: matching the entity, mixed with another's history, or contradictory;
    `cues` what it speaks of, whatever the wording.
    """

    entity: str
    ischemic: bool
    verdict: Verdict
    leads: tuple[str, ...]
    biphasic: tuple[str, ...]
    territories: tuple[str, ...]
    rate_bpm: float
    qrs_ms: float
    qt_ms: float
    per_lead: Mapping[str, LeadTruth]
    faults: tuple[Fault, ...]
    text: str
    cues: tuple[str, ...]
    site: str
    seed: int
    index: int

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class HeartTruth:
    """What the waveform alone says, for one ECG."""

    entity: str
    rate_bpm: float
    qrs_ms: float
    qt_ms: float
    per_lead: Mapping[str, LeadTruth]
    leads: tuple[str, ...]
    biphasic: tuple[str, ...]

    @property
    def territories(self) -> tuple[str, ...]:
        """Where at least two leads of a group have a T wave that is inverted or ends so."""
        changed = {*self.leads, *self.biphasic}
        return tuple(name for name, group in _TERRITORIES.items() if len(changed & set(group)) >= 2)

    @property
    def verdict(self) -> Verdict:
        """Whether the question applies at all (two contiguous leads), and the entity's answer."""
        changed = {*self.leads, *self.biphasic}
        if self.per_lead["aVR"].t_mv >= -INVERSION_MV:
            changed.add("-aVR")
        if not any({one, other} <= changed for chain in _CONTIGUOUS for one, other in pairwise(chain)):
            return "no_t_wave_inversion"
        return "ischemic" if ENTITIES[self.entity].ischemic else "non_ischemic"


def heart_truths(parameters: Parameters, hospital: Hospital, beats: Samples | None = None) -> list[HeartTruth]:
    """What is true of each of the ECGs that these parameters make; `beats` as for the waveform."""
    beats = beats_uv(parameters, hospital) if beats is None else beats
    # The T wave alone; before the QRS it is nothing.
    wave_mv = TO_TWELVE @ (beats_uv(parameters, hospital, T_WAVES)[:, :, BEFORE:] / 1000)
    at = np.abs(wave_mv).argmax(axis=2)[..., None]
    t_mv = _at_mv(beats, BEFORE + at)
    j60 = BEFORE + np.rint((parameters.qrs_ms + _ST_AFTER_J_MS) * RATE_HZ / 1000).astype(np.intp)
    st_mv = _at_mv(beats, np.broadcast_to(j60[:, None, None], at.shape))
    later = np.arange(wave_mv.shape[2]) >= at
    terminal_mv = np.where(later, wave_mv, np.inf).min(axis=2)
    earlier_mv = np.where(later, -np.inf, wave_mv * np.sign(-t_mv)[..., None]).max(axis=2)
    biphasic = (t_mv > 0) & (terminal_mv <= INVERSION_MV)
    shapeless = (np.abs(t_mv) < -INVERSION_MV) | biphasic | (earlier_mv > 0.05)
    symmetry = np.where(shapeless, np.nan, _symmetry(wave_mv, at))
    names = list(ENTITIES)
    rates = [_rate_bpm(onsets) for onsets in parameters.onsets]
    return [
        HeartTruth(
            entity=names[parameters.entity[ecg]],
            rate_bpm=rates[ecg],
            qrs_ms=round(float(parameters.qrs_ms[ecg]), 1),
            qt_ms=round(float(parameters.qt_ms[ecg]), 1),
            per_lead={
                lead: LeadTruth(_rounded(t_mv[ecg, row]), _rounded(st_mv[ecg, row]), _or_none(symmetry[ecg, row]))
                for row, lead in enumerate(LEADS)
            },
            leads=_named(t_mv[ecg] <= INVERSION_MV),
            biphasic=_named(biphasic[ecg]),
        )
        for ecg in range(len(parameters))
    ]


def _at_mv(beats: Samples, indices: NDArray[np.intp]) -> NDArray[np.floating]:
    """What the whole beat is worth in each of the twelve leads at one sample of each, n x 12."""
    recorded = np.take_along_axis(beats[:, None], indices[:, :, None], axis=3)[..., 0]
    level_mv: NDArray[np.floating] = (recorded * TO_TWELVE).sum(axis=2) / 1000
    return level_mv


def _named(marked: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(lead for lead, is_marked in zip(LEADS, marked, strict=True) if is_marked and lead != "aVR")


def _symmetry(wave_mv: NDArray[np.floating], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Half width before the peak over half width after it."""
    summit_mv = np.take_along_axis(wave_mv, at, axis=2)
    low = wave_mv * np.sign(summit_mv) < np.abs(summit_mv) / 2
    indices = np.arange(wave_mv.shape[2], dtype=np.int16)
    before = np.where(low & (indices < at), indices, 0).max(axis=2)
    after = np.where(low & (indices > at), indices, len(indices)).min(axis=2)
    ratio: NDArray[np.float64] = (at[..., 0] - before) / np.maximum(after - at[..., 0], 1)
    return ratio


def _rate_bpm(onsets: NDArray[np.intp]) -> float:
    """Over the beats whose QRS begins within the record."""
    shown = onsets[(onsets >= 0) & (onsets < SAMPLES)]
    return round(60 * RATE_HZ * (len(shown) - 1) / float(shown[-1] - shown[0]), 1)


def _rounded(value_mv: float) -> float:
    return round(float(value_mv), 3) + 0.0


def _or_none(ratio: float) -> float | None:
    return None if np.isnan(ratio) else round(float(ratio), 2)
