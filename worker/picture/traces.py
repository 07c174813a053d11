"""From an ECG to the lines of its picture, in millimetres on the paper of a layout. Raster and vector both draw these.

The signal is drawn as it is: less its median, at true scale, neither filtered nor stretched. Gaps stay open, a short
recording leaves its tail blank, and where a trace is clipped there is a marker.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import Ecg
from worker.picture.layout import Cell, Layout, cells

_BASELINE_EVERY_S: Final = 0.008  # the median of a lead needs no denser samples, and is the slowest step with them


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """What is drawn of one ECG on an empty page; x and y in millimetres.

    `lines` are arrays of n x 2. `clip_markers` are triangles, arrays of 3 x 2, where a trace leaves its row: their tips
    point the way it goes. `empty_boxes` are (left, top, right, bottom) of cells whose lead is missing.
    """

    lines: tuple[NDArray[np.float32], ...]
    clip_markers: tuple[NDArray[np.float64], ...]
    empty_boxes: tuple[tuple[float, float, float, float], ...]


def trace_paths(ecg: Ecg, layout: Layout) -> Traces:
    """The traces of an ECG in a layout.

    The picture shows the start of the recording, as long as it fits; the columns of a row follow one another in time
    and share what there is equally, so that in a short recording no lead is left out.
    """
    shown_s = min(ecg.duration_s, layout.seconds)
    baselines_uv = _baselines_uv(ecg)
    lines: list[NDArray[np.float32]] = []
    markers: list[NDArray[np.float64]] = []
    boxes: list[tuple[float, float, float, float]] = []
    for cell in cells(layout):
        row = ecg.leads.index(cell.lead) if cell.lead in ecg.leads else None
        if row is None or np.isnan(baselines_uv[row]):
            boxes.append(
                (cell.left_mm + 0.5, cell.baseline_mm - 5, cell.left_mm + cell.width_mm - 0.5, cell.baseline_mm + 5)
            )
            continue
        first = round(cell.column / cell.columns * shown_s * ecg.sampling_hz)
        stop = round((cell.column + 1) / cell.columns * shown_s * ecg.sampling_hz)
        mm_per_uv = np.float32(-layout.gain_mm_per_mv / 1000)
        points = np.empty((stop - first, 2), np.float32)
        points[:, 0] = _x_mm(stop - first, layout.speed_mm_per_s / ecg.sampling_hz, cell.left_mm)
        y_mm = ecg.samples_uv[row, first:stop] * mm_per_uv
        y_mm += np.float32(cell.baseline_mm) - mm_per_uv * baselines_uv[row]
        points[:, 1] = y_mm
        if y_mm.min(initial=np.inf) >= cell.top_mm and y_mm.max(initial=-np.inf) <= cell.bottom_mm:
            lines.append(points)
        else:  # cut off, or with gaps: NaN fails both comparisons
            markers += _clip(points, cell)
            lines += _unbroken(points)
    return Traces(tuple(lines), tuple(markers), tuple(boxes))


@lru_cache(maxsize=64)  # the same few for every ECG of one length and rate
def _x_mm(count: int, step_mm: float, left_mm: float) -> NDArray[np.float32]:
    x_mm = (np.arange(count) * step_mm + left_mm).astype(np.float32)
    x_mm.setflags(write=False)
    return x_mm


def _baselines_uv(ecg: Ecg) -> NDArray[np.float32]:
    """The level that is drawn on the baseline: each lead's median; NaN for a lead of padding only."""
    every = max(1, round(_BASELINE_EVERY_S * ecg.sampling_hz))
    samples_uv = ecg.samples_uv[:, ::every]
    known = (~np.isnan(samples_uv)).sum(axis=1)
    middles = np.maximum(known - 1, 0) // 2
    # NaN comes last, so that the middle one of the known samples is the middle one of all in front of it.
    ordered = np.partition(samples_uv, np.unique(middles), axis=1)
    baselines_uv: NDArray[np.float32] = ordered[np.arange(len(ordered)), middles]
    return baselines_uv


def _clip(points: NDArray[np.float32], cell: Cell) -> list[NDArray[np.float64]]:
    """Clip a trace to its row, in place, and say where that was: one marker for each stretch."""
    y_mm = points[:, 1]
    markers: list[NDArray[np.float64]] = []
    for direction, edge_mm in ((-1, cell.top_mm), (1, cell.bottom_mm)):
        beyond = (y_mm - edge_mm) * direction > 0
        if beyond.any():
            edges = np.flatnonzero(np.diff(beyond, prepend=False, append=False))
            centres = (edges[::2] + edges[1::2] - 1) // 2
            markers += [_clip_marker_mm(float(x_mm), edge_mm, direction) for x_mm in points[centres, 0]]
            y_mm[beyond] = edge_mm
    return markers


def _clip_marker_mm(x_mm: float, y_mm: float, direction: int) -> NDArray[np.float64]:
    """The triangle with its tip at the edge of the row, upwards (-1) or downwards (+1)."""
    foot_mm = y_mm - 2.0 * direction
    return np.array([(x_mm, y_mm), (x_mm - 1.0, foot_mm), (x_mm + 1.0, foot_mm)])


def _unbroken(points: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The stretches without padding."""
    padding = np.isnan(points[:, 1])
    edges = np.flatnonzero(np.diff(~padding, prepend=False, append=False))
    return [points[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]
