"""From parameters to samples: many 10 s ECGs at once, 12 leads at 500 Hz, in microvolts.

One beat is computed for each ECG and laid down at every QRS onset, a little larger or smaller each time. All of the
chain is linear, so the site's low-pass filter is applied to that beat and to the noise, which is drawn once and used
from a different place by every lead. Eight leads are made; the other four follow by Einthoven and Goldberger.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from schemas.ecg import INDEPENDENT_LEADS, LEADS
from simulator.hospital import Hospital
from simulator.parameters import RATE_HZ, SAMPLES, Parameters

Samples = NDArray[np.float32]

BEFORE: Final = 150
"""Samples of a beat before its QRS onset: room for a PR of 280 ms."""

BEAT: Final = 512
"""Samples of a beat: up to 720 ms after the onset, where the U wave after the longest QT has ended."""

_MARGIN: Final = 1024  # around the record, for beats that it shows in part
_POOL: Final = 1 << 17  # samples of noise; leads begin at different places of it
_POOL_SEED: Final = 20260303
_WANDER_HZ: Final = (0.05, 0.45)
_FILTER_ORDER: Final = 2

TO_TWELVE: Final[Samples] = np.zeros((len(LEADS), len(INDEPENDENT_LEADS)), np.float32)
"""Twelve leads from the independent eight: Einthoven's and Goldberger's equations."""
for _place, _lead in enumerate(INDEPENDENT_LEADS):
    TO_TWELVE[LEADS.index(_lead), _place] = 1
TO_TWELVE[2:6, :2] = np.array([[-1.0, 1.0], [-0.5, -0.5], [1.0, -0.5], [-0.5, 1.0]])
TO_TWELVE.setflags(write=False)


def beats_uv(parameters: Parameters, hospital: Hospital, waves: list[int] | None = None) -> Samples:
    """One noise-free beat of each ECG, n x 8 x `BEAT`, as the site records it; of some waves only if they are given."""
    weights, times = parameters.weights_mv, parameters.times_ms
    if waves is not None:
        weights, times = weights[:, :, waves], times[:, waves]
    at_ms = ((np.arange(BEAT) - BEFORE) * (1000 / RATE_HZ)).astype(np.float32)
    edges = times.astype(np.float32)[..., None]
    start, full, falls, end = edges[:, :, 0], edges[:, :, 1], edges[:, :, 2], edges[:, :, 3]
    rise = np.clip((at_ms - start) / (full - start), 0, 1)
    fall = np.clip((end - at_ms) / (end - falls), 0, 1)
    basis = rise * rise * (3 - 2 * rise) * (fall * fall * (3 - 2 * fall))
    beats = (weights * 1000).astype(np.float32) @ basis
    return _low_passed(beats, hospital.low_pass_hz)


def waveform(parameters: Parameters, hospital: Hospital, beats: Samples | None = None) -> Samples:
    """n x 12 x 5000 samples in the order of `LEADS`; `beats` are those of `beats_uv`, if they are known already."""
    beats = beats_uv(parameters, hospital) if beats is None else beats
    pools = _pools(hospital.low_pass_hz, hospital.mains_hz)
    levels = np.stack([parameters.noise_uv, parameters.wander_uv, parameters.mains_uv], axis=2)
    out = np.empty((len(parameters), len(LEADS), SAMPLES), np.float32)
    line = np.empty((len(INDEPENDENT_LEADS), SAMPLES + 2 * _MARGIN), np.float32)
    scaled = np.empty(beats.shape[1:], np.float32)
    noise = np.empty(SAMPLES, np.float32)
    for ecg in range(len(parameters)):
        line.fill(0)
        for onset, gain in zip(parameters.onsets[ecg].tolist(), parameters.beat_gain[ecg], strict=True):
            at = onset - BEFORE + _MARGIN
            if 0 <= at <= line.shape[1] - BEAT:
                np.multiply(beats[ecg], gain, out=scaled)
                line[:, at : at + BEAT] += scaled
        shown = line[:, _MARGIN : _MARGIN + SAMPLES]
        for lead in range(len(shown)):
            for pool, level, begin in zip(pools, levels[ecg, lead], parameters.noise_at[ecg, lead], strict=True):
                if level:
                    np.multiply(pool[begin : begin + SAMPLES], level, out=noise)
                    shown[lead] += noise
        twelve_leads(shown, out[ecg])
    return out


def twelve_leads(recorded_uv: Samples, out: Samples) -> None:
    """Write the twelve leads that follow from the eight recorded ones, exactly as float32 can hold them."""
    i, ii = recorded_uv[:2]
    out[0], out[1], out[6:] = i, ii, recorded_uv[2:]
    np.subtract(ii, i, out=out[2])
    np.add(i, ii, out=out[3])
    out[3] *= -0.5
    np.multiply(ii, np.float32(-0.5), out=out[4])
    out[4] += i
    np.multiply(i, np.float32(-0.5), out=out[5])
    out[5] += ii


def noise_of(hospital: Hospital, begin: int) -> Samples:
    """Ten seconds of the hospital's amplifier and muscle noise, RMS 1."""
    return _pools(hospital.low_pass_hz, hospital.mains_hz)[0][begin : begin + SAMPLES]


@dataclass(frozen=True, slots=True)
class _Band:
    low_hz: float
    high_hz: float

    def gain(self, samples: int) -> Samples:
        """Butterworth magnitude without phase shift, for a real FFT of that many samples."""
        hz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
        low = np.where(hz > 0, 1 / np.sqrt(1 + (self.low_hz / np.maximum(hz, 1e-9)) ** 8), 0) if self.low_hz else 1.0
        gain: Samples = (low / np.sqrt(1 + (hz / self.high_hz) ** (2 * _FILTER_ORDER))).astype(np.float32)
        return gain


def _low_passed(rows: Samples, hz: float) -> Samples:
    filtered: Samples = fft.irfft(fft.rfft(rows, axis=-1) * _Band(0, hz).gain(rows.shape[-1]), rows.shape[-1], axis=-1)
    return filtered


@lru_cache(maxsize=4)
def _pools(low_pass_hz: float, mains_hz: float) -> tuple[Samples, Samples, Samples]:
    """Noise, wander and mains, each of RMS 1."""
    length = _POOL + SAMPLES
    white = np.random.default_rng(_POOL_SEED).standard_normal((2, length), dtype=np.float32)
    spectra = fft.rfft(white, axis=1)
    noise, wander = (
        fft.irfft(spectrum * band.gain(length), length)
        for spectrum, band in zip(spectra, (_Band(0, low_pass_hz), _Band(*_WANDER_HZ)), strict=True)
    )
    mains = np.sin(2 * np.pi * mains_hz / RATE_HZ * np.arange(length)).astype(np.float32)
    scaled = [np.asarray(pool / pool.std(), np.float32) for pool in (noise, wander, mains)]
    return scaled[0], scaled[1], scaled[2]
