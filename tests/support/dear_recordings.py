"""The dearest recordings that must still be read: the longest, the fastest, and signals that are made to cost."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import LEADS, Ecg
from simulator.edits import invert_t_waves, real_ecg
from simulator.writers.hl7v2 import Variant, write_hl7v2
from tests.support.hostile_objects import channel, data_set, group, part_10

SAMPLING_HZ: Final = 2000
SECONDS: Final = 30
_UV: Final = 8.0  # so that a 16-bit sample reaches what passes


@cache
def _longest() -> Ecg:
    """An inverted ECG of 30 s at 2000 Hz, by repetition: the question applies, so that a picture is drawn."""
    ecg = invert_t_waves(real_ecg(), ["V2", "V3", "V4"], depth_mv=0.4)
    faster = np.repeat(ecg.samples_uv, 2, axis=1)
    faster[:, 1:-1:2] = (faster[:, :-2:2] + faster[:, 2::2]) / 2
    samples_uv = np.tile(faster, 4)[:, : SECONDS * SAMPLING_HZ]
    return replace(ecg, samples_uv=samples_uv, sampling_hz=float(SAMPLING_HZ))


def _with(added_uv: Callable[[NDArray[np.int64]], NDArray[np.floating]]) -> Ecg:
    """The same with something added to all leads, as I and II take the limb leads along."""
    ecg = _longest()
    noise = added_uv(np.arange(ecg.samples_uv.shape[1]))
    limb = {"I": 1.0, "II": 1.0, "III": 0.0, "aVR": -1.0, "aVL": 0.5, "aVF": 0.5}
    factors = np.array([limb.get(lead, 1.0) for lead in LEADS])
    return replace(ecg, samples_uv=(ecg.samples_uv + factors[:, None] * noise).astype(np.float32))


def _alternating(at: NDArray[np.int64]) -> NDArray[np.floating]:
    # Half of the sampling rate: nothing that is measured sees it, and every second sample leaves the picture's row.
    return np.where(at % 2 == 0, 15_000.0, -15_000.0)


def _gaps(every: int) -> Ecg:
    """Padding at every n-th sample, in all leads."""
    ecg = _longest()
    samples_uv = ecg.samples_uv.copy()
    samples_uv[:, ::every] = np.nan
    return replace(ecg, samples_uv=samples_uv)


SIGNALS: Final[dict[str, Callable[[], Ecg]]] = {
    "an ECG": _longest,
    "alternating beyond the row": lambda: _with(_alternating),
    "beyond the row every fourth sample": lambda: _with(lambda at: np.where(at % 4 < 2, 15_000.0, -15_000.0)),
    "noise": lambda: _with(lambda at: np.random.default_rng(1).normal(0, 3000, at.shape)),
    "every second sample missing": lambda: _gaps(2),
    "every 20th sample missing": lambda: _gaps(20),
    "every 25th sample missing": lambda: _gaps(25),
}
"""Signals of twelve leads, 30 s at 2000 Hz."""


def as_dicom(ecg: Ecg) -> bytes:
    """A General 32-bit ECG; NaN is the padding value."""
    padding = np.int32(-(2**31))
    raw = np.where(np.isnan(ecg.samples_uv), padding, np.nan_to_num(np.round(ecg.samples_uv))).T.astype("<i4")
    changed = {"WaveformPaddingValue": padding.tobytes()}
    definitions = [channel(lead) for lead in LEADS]
    return part_10(data_set([group(raw, definitions, str(SAMPLING_HZ).encode(), changed)]))


def _written(make: Callable[[], Ecg], write: Callable[[Ecg], bytes]) -> bytes:
    return write(make())


def legal() -> dict[str, Callable[[], bytes]]:
    """Records by name: each signal as DICOM, the plain one in every notation of HL7."""
    records: dict[str, Callable[[], bytes]] = {
        f"DICOM, 30 s at 2000 Hz, {name}": partial(_written, make, as_dicom) for name, make in SIGNALS.items()
    }
    variants: tuple[Variant, ...] = ("na", "pcd", "chapter7")
    for variant in variants:
        records[f"HL7 {variant}, 30 s at 2000 Hz"] = partial(_written, _longest, partial(write_hl7v2, variant=variant))
    gaps = partial(_written, partial(_gaps, 2), partial(write_hl7v2, variant="pcd"))
    return records | {"HL7 pcd, 30 s at 2000 Hz, every second sample missing": gaps}
