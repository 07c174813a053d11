"""Two hospitals that record the same hearts differently, so that a model can be tried where it was not trained.

The colour and the place of the lines on a printout belong to whoever prints: files do not carry them, pictures do.
"""

from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from typing import Final, Literal

from simulator.qrs_shapes import Span


@dataclass(frozen=True, slots=True)
class Hospital:
    """How a hospital's electrocardiographs record, whom it treats and how its staff write.

    Gain is a factor on every sample (1 is true): a mean error of the site's calibration and a spread between devices.
    Noise, wander and mains are RMS in an independent lead. `fault_rate` is the share of ECGs with an electrode fault.
    `ink_rgb` and `offset_mm`, right and down, tell its printouts from those of others.
    """

    name: Literal["A", "B"]
    gain: float
    gain_sd: float
    low_pass_hz: float
    noise_uv: Span
    wander_uv: Span
    mains_uv: Span
    mains_hz: float
    fault_rate: float
    years_older: float
    more_female: float
    text_style: Literal["sentences", "telegraphic"]
    zone: timezone
    ink_rgb: tuple[int, int, int]
    offset_mm: tuple[float, float]


A: Final = Hospital(
    name="A", gain=1.0, gain_sd=0.01, low_pass_hz=150.0, noise_uv=(4, 15), wander_uv=(5, 50), mains_uv=(0, 6),
    mains_hz=50.0, fault_rate=0.06, years_older=0.0, more_female=0.0, text_style="sentences", zone=UTC,
    ink_rgb=(0, 0, 0), offset_mm=(0.0, 0.0),
)  # fmt: skip
# Smoothed at 40 Hz, as many carts are set to print; a little small, noisier, an older and more female population.
B: Final = Hospital(
    name="B", gain=0.96, gain_sd=0.025, low_pass_hz=40.0, noise_uv=(6, 24), wander_uv=(15, 90), mains_uv=(0, 12),
    mains_hz=60.0, fault_rate=0.1, years_older=5.0, more_female=0.08, text_style="telegraphic",
    zone=timezone(timedelta(hours=-5)), ink_rgb=(40, 40, 110), offset_mm=(3.0, 2.0),
)  # fmt: skip

HOSPITALS: Final = {"A": A, "B": B}
