"""From samples to a spectrum that is band-filtered and resampled by one inverse transform.

Everything after the filters runs at `RATE_HZ`, whatever the record's rate.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

RATE_HZ: Final = 500
"""The rate of the median beat: 2 ms a sample, the least that AHA/ACCF/HRS 2007 I asks of a diagnostic ECG."""

_PAD_S: Final = 1.0  # mirrored at both ends, so that the filters' edge effects fall outside the record

# Zero-phase high-pass: AHA/ACCF/HRS 2007 I allows up to 0.67 Hz without ST distortion if there is no phase distortion.
HIGH_PASS_HZ: Final = 0.5
_ORDER: Final = 4


def to_samples(seconds: float) -> int:
    """A time as a number of samples at `RATE_HZ`."""
    return round(seconds * RATE_HZ)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """All leads in the frequency domain, padded at both ends, ready to be filtered without phase shift."""

    coefficients: NDArray[np.complex64]
    frequencies_hz: NDArray[np.float32]
    scale: float
    total: int
    length: int

    def band(self, low_hz: float, high_hz: float, leads: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float32]:
        """Some leads between two frequencies (Butterworth magnitude), in millivolts at `RATE_HZ`."""
        f = self.frequencies_hz[1:]
        gain = np.zeros(len(f) + 1, np.float32)
        gain[1:] = self.scale / np.sqrt((1 + (low_hz / f) ** (2 * _ORDER)) * (1 + (f / high_hz) ** (2 * _ORDER)))
        band = fft.irfft(self.coefficients[leads] * gain, self.total, axis=1)
        pad = to_samples(_PAD_S)
        inside: NDArray[np.float32] = band[:, pad : pad + self.length]
        return inside

    def wander_mv(self) -> NDArray[np.float64]:
        """Peak-to-peak of what lies below the high-pass, per lead, in millivolts."""
        seconds = self.total // RATE_HZ
        slow = self.coefficients[:, : int(HIGH_PASS_HZ * seconds) + 1]
        points = 4 * seconds  # 4 Hz is ample for what is slower than 0.5 Hz
        course = fft.irfft(slow, points, axis=1)[:, 4 : 4 + 4 * (self.length // RATE_HZ)]
        spread_mv: NDArray[np.float64] = np.ptp(course, axis=1) * (self.scale * points / self.total)
        return spread_mv


def spectrum(samples_uv: NDArray[np.float32], sampling_hz: float) -> Spectrum:
    """Transform leads x samples without NaN. Bins above `RATE_HZ` / 2 are dropped or added: that resamples."""
    count = samples_uv.shape[1]
    pad = round(_PAD_S * sampling_hz)
    seconds = int(np.ceil(count / sampling_hz) + 2 * _PAD_S)  # whole seconds keep the FFT's length a round number
    padded = round(seconds * sampling_hz)
    centred = samples_uv - samples_uv.mean(axis=1, keepdims=True)
    mirrored = np.pad(centred, ((0, 0), (pad, padded - count - pad)), mode="reflect")
    coefficients = fft.rfft(mirrored, axis=1)
    total = seconds * RATE_HZ
    bins = min(coefficients.shape[1], total // 2 + 1)
    frequencies_hz = (np.arange(bins) / seconds).astype(np.float32)
    length = int(count / sampling_hz * RATE_HZ)
    return Spectrum(coefficients[:, :bins], frequencies_hz, total / padded / 1000, total, length)
