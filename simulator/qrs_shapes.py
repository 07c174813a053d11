"""How the ventricles depolarise: the QRS complexes that the simulated entities share.

Amplitudes are medians of adults, in millivolts; each ECG varies around them. A shape's timing is in shares of the QRS.
"""

from dataclasses import dataclass
from typing import Final

Chest = tuple[float, float, float, float, float, float]
"""One value a chest lead, V1 to V6."""
PerLead = tuple[float, float, float, float, float, float, float, float]
"""One value an independent lead: I, II, V1 to V6."""
Span = tuple[float, float]
"""Least and most; an ECG's own value lies anywhere between, evenly."""
Wave = tuple[float, float, float]
"""Start, peak and end, in shares of the QRS duration."""

NONE: Final[PerLead] = (0.0,) * 8


@dataclass(frozen=True, slots=True)
class Timing:
    """When the parts of a QRS happen, in shares of its duration; `delta` is the slurred start of pre-excitation."""

    q: Wave
    r: Wave
    s: Wave
    r2: Wave
    delta: Wave = (0.0, 0.35, 0.7)


NARROW: Final = Timing((0.0, 0.15, 0.32), (0.2, 0.45, 0.7), (0.55, 0.78, 1.0), (0.6, 0.8, 1.0))
RIGHT_DELAYED: Final = Timing((0.0, 0.1, 0.2), (0.04, 0.22, 0.4), (0.28, 0.42, 0.6), (0.45, 0.7, 1.0))
LEFT_DELAYED: Final = Timing((0.0, 0.1, 0.2), (0.0, 0.28, 0.66), (0.1, 0.5, 1.0), (0.34, 0.7, 1.0))
PREEXCITED: Final = Timing((0.0, 0.15, 0.3), (0.34, 0.58, 0.82), (0.68, 0.84, 1.0), (0.6, 0.8, 1.0))
# A QS complex: the Q wave is most of it.
INFARCTED: Final = Timing((0.0, 0.38, 0.8), (0.3, 0.52, 0.75), (0.55, 0.78, 1.0), (0.6, 0.8, 1.0))


@dataclass(frozen=True, slots=True)
class Qrs:
    """A QRS complex. The frontal R is a vector: `axis_deg` and `frontal_mv` give I and II; `r` is the chest leads'."""

    duration_ms: Span = (80, 104)
    timing: Timing = NARROW
    axis_deg: Span = (5, 75)
    frontal_mv: Span = (0.65, 1.05)
    r: Chest = (0.2, 0.4, 0.7, 1.1, 1.15, 0.9)
    q: PerLead = (-0.05, -0.05, 0, 0, 0, -0.03, -0.08, -0.08)
    s: PerLead = (-0.1, -0.1, -0.85, -1.15, -0.8, -0.4, -0.2, -0.1)
    r2: PerLead = NONE
    delta: PerLead = NONE
    spike: PerLead = NONE


NORMAL: Final = Qrs()
LEFT_VOLTAGE: Final = Qrs(
    duration_ms=(92, 112),
    axis_deg=(-25, 20),
    frontal_mv=(1.2, 1.8),
    r=(0.1, 0.25, 0.6, 1.7, 2.5, 2.1),
    s=(-0.15, -0.1, -1.9, -2.4, -1.5, -0.5, -0.2, -0.1),
)
RIGHT_VOLTAGE: Final = Qrs(
    axis_deg=(105, 140),
    frontal_mv=(0.7, 1.1),
    r=(1.2, 1.0, 0.8, 0.7, 0.6, 0.5),
    q=(0.0, -0.05, -0.05, 0, 0, 0, -0.03, -0.03),
    s=(-0.4, -0.15, -0.25, -0.5, -0.6, -0.8, -0.8, -0.6),
)
# S in I and Q in III: the right ventricle dilates within minutes.
S1Q3: Final = Qrs(
    duration_ms=(84, 112),
    axis_deg=(60, 100),
    frontal_mv=(0.5, 0.8),
    r=(0.3, 0.5, 0.7, 0.9, 0.9, 0.7),
    q=(0.1, -0.12, 0, 0, 0, 0, 0, 0),
    s=(-0.45, -0.15, -0.6, -0.9, -0.9, -0.7, -0.5, -0.35),
)
LEFT_BUNDLE: Final = Qrs(
    duration_ms=(128, 165),
    timing=LEFT_DELAYED,
    axis_deg=(-30, 30),
    frontal_mv=(0.6, 0.9),
    r=(0.08, 0.1, 0.15, 0.4, 0.85, 0.95),
    q=NONE,
    s=(0, 0, -1.3, -1.7, -1.4, -0.5, 0, 0),
    r2=(0.65, 0.35, 0, 0, 0, 0.35, 0.85, 0.9),
)
RIGHT_BUNDLE: Final = Qrs(
    duration_ms=(124, 158),
    timing=RIGHT_DELAYED,
    r=(0.25, 0.45, 0.6, 1.0, 1.1, 0.9),
    s=(-0.1, -0.1, -0.45, -0.6, -0.6, -0.35, -0.2, -0.1),
    r2=(-0.3, -0.2, 0.85, 0.55, 0.1, -0.15, -0.28, -0.32),
)
# Right ventricular apical pacing: away from II, III, aVF and from most chest leads.
APICAL_PACED: Final = Qrs(
    duration_ms=(140, 180),
    timing=LEFT_DELAYED,
    axis_deg=(-85, -60),
    frontal_mv=(0.8, 1.2),
    r=(0.05, 0.08, 0.1, 0.15, 0.3, 0.5),
    q=NONE,
    s=(0, -0.3, -1.1, -1.6, -1.5, -1.0, -0.3, 0),
    r2=(0.3, -0.35, 0, 0, 0, 0, 0.3, 0.45),
    spike=(0.25, -0.35, -0.4, -0.6, -0.6, -0.5, -0.4, -0.3),
)
PREEXCITATION: Final = Qrs(
    duration_ms=(118, 145),
    timing=PREEXCITED,
    axis_deg=(-20, 25),
    frontal_mv=(0.7, 1.0),
    q=NONE,
    delta=(0.4, 0.2, -0.1, 0.25, 0.4, 0.5, 0.5, 0.45),
)
ANTERIOR_Q: Final = Qrs(
    timing=INFARCTED,
    r=(0.0, 0.0, 0.05, 0.45, 0.9, 0.85),
    q=(-0.05, -0.03, -0.7, -1.1, -1.0, -0.5, -0.12, -0.08),
    s=(-0.1, -0.1, -0.2, -0.25, -0.2, -0.3, -0.2, -0.1),
)
INFERIOR_Q: Final = Qrs(axis_deg=(-20, 20), q=(0.1, -0.35, 0, 0, 0, -0.03, -0.08, -0.1))
APICAL_VOLTAGE: Final = Qrs(
    duration_ms=(86, 108),
    axis_deg=(10, 60),
    frontal_mv=(1.0, 1.5),
    r=(0.25, 0.6, 1.4, 2.9, 3.1, 2.2),
    s=(-0.15, -0.1, -1.1, -1.5, -0.9, -0.4, -0.2, -0.1),
)
ATHLETIC: Final = Qrs(
    axis_deg=(40, 90),
    frontal_mv=(1.0, 1.5),
    r=(0.3, 0.6, 1.1, 1.8, 1.9, 1.5),
    s=(-0.15, -0.15, -1.3, -1.9, -1.3, -0.6, -0.3, -0.15),
)
