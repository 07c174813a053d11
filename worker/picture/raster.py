"""An ECG as a picture: RGB pixels on pink ECG paper, the same bytes for the same ECG and layout.

The empty page (grid, lead names, calibration pulses, caption) is drawn once a layout; an ECG adds only its traces.
Nothing about the patient is drawn.
"""

import hashlib
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.ecg import Ecg
from worker.picture.layout import Layout, Page, make_page
from worker.picture.traces import Traces, trace_paths

Picture = NDArray[np.uint8]
"""Height x width x 3, RGB, C-contiguous."""

# One picture is one task; OpenCV's own threads would only fight over the cores with the other tasks.
cv2.setNumThreads(1)

GRID_COARSE: Final = (246, 195, 195)  # instead of the major one where it is alone and its lines are close

_SHIFT: Final = 4  # OpenCV takes fixed-point coordinates: sixteenths of a pixel
_FINE_GRID_PX_PER_MM: Final = 3.0  # closer lines would be a tint, no grid
# OpenCV's thinnest smooth line is about 2.3 px wide. Below 3 px/mm that hides more than 0.05 mV: draw at twice the
# size and average.
_FINE_TRACE_PX_PER_MM: Final = 3.0
_LEAST_LABEL_PX: Final = 10.0  # below it I, II and III look alike


def render_image(ecg: Ecg, layout: Layout) -> Picture:
    """Draw an ECG. The result is the caller's own array."""
    page = make_page(layout)
    factor = 1 if page.px_per_mm >= _FINE_TRACE_PX_PER_MM else 2
    canvas = _template(page, factor).copy()
    _draw(canvas, trace_paths(ecg, layout), page, factor)
    if factor == 1:
        return canvas
    return np.asarray(cv2.resize(canvas, (page.width_px, page.height_px), interpolation=cv2.INTER_AREA), np.uint8)


def image_digest(image: Picture) -> str:
    """SHA-256 of a picture's shape and pixels."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def png(image: Picture) -> bytes:
    """A picture as a PNG file."""
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ValueError("the picture cannot be encoded as PNG")
    return encoded.tobytes()


def _draw(canvas: Picture, traces: Traces, page: Page, factor: int) -> None:
    """Add traces, markers and boxes. A point's millimetres times the scale are the centre of its pixel."""
    px_per_mm, offset_px = page.px_per_mm * factor, (factor - 1) / 2
    if traces.lines:
        lines = [_by_columns(line, px_per_mm) for line in traces.lines]
        fixed = _fixed(np.concatenate(lines), px_per_mm, offset_px)
        ends = np.cumsum([len(line) for line in lines])
        cv2.polylines(canvas, np.split(fixed, ends[:-1]), False, page.ink, 1, cv2.LINE_AA, _SHIFT)
    for marker in traces.clip_markers:
        cv2.fillPoly(canvas, [_fixed(marker, px_per_mm, offset_px)], page.clip_marker, cv2.LINE_AA, _SHIFT)
    for left, top, right, bottom in traces.empty_boxes:
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        cv2.polylines(canvas, [_fixed(corners, px_per_mm, offset_px)], True, page.empty_box, 1, cv2.LINE_AA, _SHIFT)


def _by_columns(line: NDArray[np.float32], px_per_mm: float) -> NDArray[np.float32]:
    """Replace the samples that share a pixel column by the lowest and the highest of them, in the order of the slope.

    Amplitudes stay exact and time is off by less than a pixel; drawing takes a third of the time.
    """
    if len(line) < 2:
        return line
    samples_a_column = int(1 / (px_per_mm * float(line[1, 0] - line[0, 0])) + 1e-3)
    count = len(line) // samples_a_column if samples_a_column > 2 else 0
    if count == 0:
        return line
    columns = line[: count * samples_a_column].reshape(count, samples_a_column, 2)
    y_mm = np.ascontiguousarray(columns[:, :, 1].T)
    low, high = y_mm.min(axis=0), y_mm.max(axis=0)
    rising = y_mm[-1] >= y_mm[0]
    pairs = np.empty((2 * count, 2), np.float32)
    pairs[0::2, 0], pairs[1::2, 0] = columns[:, 0, 0], columns[:, -1, 0]
    pairs[0::2, 1], pairs[1::2, 1] = np.where(rising, low, high), np.where(rising, high, low)
    return np.concatenate((pairs, line[count * samples_a_column :]))


def _fixed(points_mm: NDArray[np.floating], px_per_mm: float, offset_px: float = 0.0) -> NDArray[np.int32]:
    """Millimetres as OpenCV's fixed-point pixels."""
    scaled = points_mm * points_mm.dtype.type(px_per_mm * (1 << _SHIFT))
    scaled += offset_px * (1 << _SHIFT)
    return np.rint(scaled, out=scaled).astype(np.int32)


@lru_cache(maxsize=8)
def _template(page: Page, factor: int) -> Picture:
    """The empty page, read-only; every pixel repeated `factor` times in both directions."""
    template = _grid(page)
    for text, origin_mm in page.lettering:
        _draw_text(template, text, origin_mm, page)
    template = np.ascontiguousarray(template.repeat(factor, axis=0).repeat(factor, axis=1))
    for line in page.frame_lines:
        points = _fixed(np.array(line), page.px_per_mm * factor, (factor - 1) / 2)
        cv2.polylines(template, [points], False, page.ink, 1, cv2.LINE_AA, _SHIFT)
    template.setflags(write=False)
    return template


def _grid(page: Page) -> Picture:
    """White paper with the page's grid or, where its finest lines would touch, only the widest one, paler."""
    paper = np.full((page.height_px, page.width_px, 3), 255.0)
    fine = page.px_per_mm >= _FINE_GRID_PX_PER_MM
    for step_mm, colour in page.grid if fine else ((page.grid[-1][0], GRID_COARSE),):
        across = _coverage(page.width_px, page.columns_mm(step_mm), page.px_per_mm)
        down = _coverage(page.height_px, page.rows_mm(step_mm), page.px_per_mm)
        ink = np.maximum(across[None, :], down[:, None])[:, :, None]
        paper = paper * (1 - ink) + np.array(colour) * ink
    grid: Picture = np.rint(paper).astype(np.uint8)
    return grid


def _coverage(size_px: int, lines_mm: range, px_per_mm: float) -> NDArray[np.float64]:
    """How much of each pixel the grid lines, one pixel wide, cover along one direction."""
    centres_px = np.array(lines_mm) * px_per_mm
    distance_px = np.abs(np.arange(size_px)[:, None] - centres_px).min(axis=1)
    covered: NDArray[np.float64] = np.maximum(1.0 - distance_px, 0.0)
    return covered


def _draw_text(template: Picture, text: str, origin_mm: tuple[float, float], page: Page) -> None:
    height_px = max(page.letter_mm * page.px_per_mm, _LEAST_LABEL_PX)
    (_, capital_px), _ = cv2.getTextSize("V", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    origin_px = (round(origin_mm[0] * page.px_per_mm), round(origin_mm[1] * page.px_per_mm))
    cv2.putText(template, text, origin_px, cv2.FONT_HERSHEY_SIMPLEX, height_px / capital_px, page.ink, 1, cv2.LINE_AA)
