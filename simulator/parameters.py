"""What differs from one simulated ECG to the next, drawn for many ECGs at once from the table of entities.

A beat is a sum of `WAVES`, each a smooth rise to a plateau and a fall, shared by all leads and weighted for each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import INDEPENDENT_LEADS
from simulator.entities import ENTITIES, Entity
from simulator.hospital import Hospital
from simulator.qrs_shapes import Span

Values = NDArray[np.float64]

RATE_HZ: Final = 500
DURATION_S: Final = 10
SAMPLES: Final = RATE_HZ * DURATION_S

WAVES: Final = ("P", "delta", "Q", "R", "S", "R2", "ST", "T", "T entity", "T first", "U", "spike")
"""`T` is the normal, upright T wave, `T entity` that of the entity, `T first` the first half of a biphasic one."""
_AT: Final = {wave: index for index, wave in enumerate(WAVES)}
T_WAVES: Final = [_AT["T"], _AT["T entity"], _AT["T first"]]

RATE_BPM: Final = (40.0, 140.0)
_P_MV: Final = np.array([0.07, 0.12, 0.04, 0.06, 0.06, 0.06, 0.05, 0.05])
_P_MS: Final = 100.0
_SPARE_MS: Final = 25.0  # of level PR segment between P and QRS
_LEAD_SPREAD: Final = 0.12  # of each lead's R and S around the shape's
_MOST_BEATS: Final = 34  # 10 s at the fastest rate and most irregular rhythm, with one beat before
_ABSENT: Final = 10 * SAMPLES  # the place of beats that are not needed


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """n ECGs. `weights_mv` is n x 8 leads x waves; `times_ms` n x waves x (start, plateau from, to, end) after the QRS
    onset; `onsets` are the sample numbers of the QRS onsets, n x beats, out of reach where there is no more beat.

    `noise_uv`, `wander_uv`, `mains_uv` are n x 8, RMS. `noise_at` is n x 8 x 3: where in the pools each begins.
    """

    entity: NDArray[np.intp]
    weights_mv: Values
    times_ms: Values
    qrs_ms: Values
    qt_ms: Values
    onsets: NDArray[np.intp]
    beat_gain: NDArray[np.float32]
    noise_uv: NDArray[np.float32]
    wander_uv: NDArray[np.float32]
    mains_uv: NDArray[np.float32]
    noise_at: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.entity)


def sample_parameters(rng: np.random.Generator, n: int, hospital: Hospital) -> Parameters:
    """Draw n ECGs of a hospital's patients, with entities as frequent as their weights say."""
    shares = np.array([entity.weight for entity in ENTITIES.values()])
    return draw_entities(rng, rng.choice(len(shares), size=n, p=shares / shares.sum()), hospital)


def draw_entities(rng: np.random.Generator, chosen: NDArray[np.intp], hospital: Hospital) -> Parameters:
    """Draw an ECG of each of the chosen entities, given by their places in `ENTITIES`."""
    n = len(chosen)
    table = _Table(rng, chosen)
    rate = np.clip(table.span(lambda entity: entity.rate_bpm), *RATE_BPM)
    qrs_ms = table.span(lambda entity: entity.qrs.duration_ms)
    # Fridericia, and an end of T before the next P wave begins.
    qt_ms = table.span(lambda entity: entity.qtc_ms) * np.cbrt(60 / rate)
    qt_ms = np.minimum(qt_ms, 0.9 * 60e3 / rate)
    pr_ms = table.span(lambda entity: entity.pr_ms)
    biphasic_mv = table.span(lambda entity: entity.biphasic_mv)
    gain = hospital.gain * (1 + hospital.gain_sd * rng.standard_normal(n))
    onsets = _onsets(rng, 60 / rate, table.fixed(lambda entity: (entity.irregularity,))[:, 0])
    breath = 0.04 * np.sin(0.25 * 2 * np.pi / RATE_HZ * onsets + rng.uniform(0, 2 * np.pi, (n, 1)))
    return Parameters(
        entity=chosen,
        weights_mv=_weights_mv(rng, table, biphasic_mv) * gain[:, None, None],
        times_ms=_times_ms(table, qrs_ms, qt_ms, pr_ms, biphasic_mv),
        qrs_ms=qrs_ms,
        qt_ms=qt_ms,
        onsets=onsets,
        beat_gain=(1 + breath + 0.01 * rng.standard_normal(onsets.shape)).astype(np.float32),
        noise_uv=_level(rng, hospital.noise_uv, n),
        wander_uv=_level(rng, hospital.wander_uv, n),
        mains_uv=_level(rng, hospital.mains_uv, n),
        noise_at=rng.integers(0, 1 << 17, (n, len(INDEPENDENT_LEADS), 3)),
    )


class _Table:
    """The chosen rows of the table of entities, a field at a time."""

    def __init__(self, rng: np.random.Generator, chosen: NDArray[np.intp]) -> None:
        self._rng = rng
        self._chosen = chosen

    def fixed(self, field: Callable[[Entity], tuple[float, ...]]) -> Values:
        """A field as it stands: n x its length."""
        return np.array([field(entity) for entity in ENTITIES.values()], np.float64)[self._chosen]

    def span(self, field: Callable[[Entity], Span]) -> Values:
        """A value between the ends of a field: n."""
        ends = self.fixed(field)
        drawn: Values = self._rng.uniform(ends[:, 0], ends[:, 1])
        return drawn

    def depth_mv(self) -> Values:
        """How deep T is: n."""
        mean, sd, least, most = self.fixed(
            lambda entity: (entity.depth.mean, entity.depth.sd, entity.depth.least, entity.depth.most)
        ).T
        depths: Values = np.clip(mean + sd * self._rng.standard_normal(len(mean)), least, most)
        return depths

    def st_mv(self) -> Values:
        """Level of the ST segment by independent lead, n x 8: one draw for all leads of an ECG, as one cause has."""
        spans = [dict(entity.st) for entity in ENTITIES.values()]
        ends = np.array([[span.get(lead, (0.0, 0.0)) for lead in INDEPENDENT_LEADS] for span in spans])[self._chosen]
        share = self._rng.uniform(0, 1, (len(ends), 1))
        # From the end nearer to zero to the farther one, whatever their signs.
        near, far = (np.take_along_axis(ends, order[..., None], 2)[..., 0] for order in _by_size(ends))
        levels: Values = near + share * (far - near)
        return levels


def _by_size(ends: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.abs(ends).argmin(axis=2), np.abs(ends).argmax(axis=2)


def _level(rng: np.random.Generator, span: Span, n: int) -> NDArray[np.float32]:
    """One level an ECG, a little different in each lead."""
    shape = (n, len(INDEPENDENT_LEADS))
    return (rng.uniform(*span, (n, 1)) * rng.uniform(0.7, 1.3, shape)).astype(np.float32)


def _frontal(axis_deg: Values, size_mv: Values) -> Values:
    """Leads I and II of a vector in the frontal plane, n x 2."""
    angle = np.radians(axis_deg)
    return np.stack([size_mv * np.cos(angle), size_mv * np.cos(angle - np.pi / 3)], axis=1)


def _weights_mv(rng: np.random.Generator, table: _Table, biphasic_mv: Values) -> Values:
    """The height of every wave in every independent lead."""
    n = len(biphasic_mv)
    weights = np.zeros((n, len(INDEPENDENT_LEADS), len(WAVES)))
    voltage = rng.uniform(0.82, 1.15, (n, 1))
    spread = voltage * rng.uniform(1 - _LEAD_SPREAD, 1 + _LEAD_SPREAD, (n, len(INDEPENDENT_LEADS)))
    r = table.fixed(lambda entity: (0, 0, *entity.qrs.r))
    r[:, :2] = _frontal(
        table.span(lambda entity: entity.qrs.axis_deg), table.span(lambda entity: entity.qrs.frontal_mv)
    )
    p_share = table.fixed(lambda entity: (entity.p_share,))
    weights[:, :, _AT["P"]] = _P_MV * p_share * rng.uniform(0.7, 1.3, (n, 1))
    weights[:, :, _AT["R"]] = r * spread
    weights[:, :, _AT["S"]] = table.fixed(lambda entity: entity.qrs.s) * spread
    weights[:, :, _AT["Q"]] = table.fixed(lambda entity: entity.qrs.q) * voltage * rng.uniform(0.6, 1.4, (n, 1))
    weights[:, :, _AT["R2"]] = table.fixed(lambda entity: entity.qrs.r2) * spread
    weights[:, :, _AT["delta"]] = table.fixed(lambda entity: entity.qrs.delta) * spread
    weights[:, :, _AT["spike"]] = table.fixed(lambda entity: entity.qrs.spike) * rng.uniform(0.8, 1.6, (n, 1))
    weights[:, :, _AT["ST"]] = table.st_mv()
    weights[:, 2:, _AT["U"]] = table.fixed(lambda entity: entity.u) * rng.uniform(0.7, 1.3, (n, 1))

    depth_mv = table.depth_mv()
    share = rng.uniform(0, 1, (n, 1))
    profile = (1 - share) * table.fixed(lambda entity: entity.t_down) + share * table.fixed(lambda e: e.t_down_2)
    down = depth_mv[:, None] * profile * rng.uniform(0.9, 1.1, (n, 6))
    weights[:, 2:, _AT["T entity"]] = down
    weights[:, 2:, _AT["T first"]] = np.where(down < 0, biphasic_mv[:, None] * np.abs(profile), 0)
    up = table.fixed(lambda entity: entity.t_up)
    weights[:, 2:, _AT["T"]] = up * rng.uniform(0.8, 1.2, (n, 1)) + 0.02 * rng.standard_normal((n, 6))

    relative = table.span(lambda entity: entity.t_frontal)
    axis_deg = table.span(lambda entity: entity.t_axis_deg)
    positive = relative > 0
    frontal = _frontal(axis_deg, np.where(positive, relative * depth_mv, rng.uniform(0.22, 0.4, n)))
    weights[positive, :2, _AT["T entity"]] = frontal[positive]
    weights[~positive, :2, _AT["T"]] = frontal[~positive]
    return weights


def _times_ms(table: _Table, qrs_ms: Values, qt_ms: Values, pr_ms: Values, biphasic_mv: Values) -> Values:
    """When every wave starts, is full, begins to fall, ends: milliseconds after the QRS onset."""
    times = np.empty((len(qrs_ms), len(WAVES), 4))
    p_end = np.minimum(-pr_ms + _P_MS, -_SPARE_MS)
    times[:, _AT["P"]] = _peak(-pr_ms, (p_end - pr_ms) / 2, p_end)
    parts: dict[str, Callable[[Entity], tuple[float, ...]]] = {
        "delta": lambda entity: entity.qrs.timing.delta,
        "Q": lambda entity: entity.qrs.timing.q,
        "R": lambda entity: entity.qrs.timing.r,
        "S": lambda entity: entity.qrs.timing.s,
        "R2": lambda entity: entity.qrs.timing.r2,
    }
    for name, part in parts.items():
        times[:, _AT[name]] = _peak(*(table.fixed(part) * qrs_ms[:, None]).T)
    # Two samples, just before the ventricle answers.
    times[:, _AT["spike"]] = [-9.0, -7.0, -5.0, -3.0]

    symmetry = table.span(lambda entity: entity.symmetry)
    length = table.span(lambda entity: entity.t_width) * (qt_ms - qrs_ms)
    biphasic = biphasic_mv > 0
    # A biphasic T wave shares its length: the second half overlaps the first by a tenth.
    second = np.where(biphasic, 0.55 * length, length)
    peak = qt_ms - second / (1 + symmetry)
    times[:, _AT["T entity"]] = _peak(qt_ms - second, peak, qt_ms)
    upright = (qt_ms - peak) * table.span(lambda _: (1.3, 1.7))
    times[:, _AT["T"]] = _peak(np.maximum(peak - upright, qrs_ms + 10), peak, qt_ms)
    times[:, _AT["T first"]] = _peak(qt_ms - length, qt_ms - 0.7 * length, qt_ms - 0.45 * length)
    sags = table.fixed(lambda entity: (float(entity.st_sags),))[:, 0]
    full = qrs_ms + 15 + sags * 0.35 * (peak - qrs_ms)
    times[:, _AT["ST"]] = np.stack([qrs_ms - 10, full, full + 0.3 * (peak - full), peak], axis=1)
    times[:, _AT["U"]] = _peak(qt_ms + 5, qt_ms + 75, qt_ms + 165)
    return times


def _peak(start: Values, peak: Values, end: Values) -> Values:
    """The times of a wave without a plateau."""
    return np.stack([start, peak, peak, end], axis=1)


def _onsets(rng: np.random.Generator, rr_s: Values, irregularity: Values) -> NDArray[np.intp]:
    """Sample numbers of the QRS onsets, from one beat before the record to those it still shows."""
    shape = (len(rr_s), _MOST_BEATS)
    intervals = rr_s[:, None] * np.clip(1 + irregularity[:, None] * rng.standard_normal(shape), 0.65, 1.5)
    first = -rr_s * rng.uniform(0, 1, len(rr_s))
    onsets = np.rint((first[:, None] + np.cumsum(intervals, axis=1) - 2 * intervals[:, :1]) * RATE_HZ)
    return np.where(onsets < SAMPLES + 0.3 * RATE_HZ, onsets, _ABSENT).astype(np.intp)
