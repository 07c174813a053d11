"""The layout of an ECG picture: paper, rows and columns, scale. All geometry, in millimetres, follows from a `Layout`.

The paper is 280 mm wide at any size in pixels, so that a small picture shows the same ECG at a coarser resolution.
The origin is the top left corner; y points down. Grid lines lie on whole millimetres, baselines and the start of the
traces on whole 5 mm.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final

_PAPER_WIDTH_MM: Final = 280.0
_TRACE_LEFT_MM: Final = 25.0
_TRACE_WIDTH_MM: Final = 250.0  # 10 s at 25 mm/s
_LETTER_MM: Final = 3.2  # height of a capital letter

Colour = tuple[int, int, int]
Line = tuple[tuple[float, float], ...]

# Red, green, blue.
INK: Final[Colour] = (0, 0, 0)
CLIP_MARKER: Final[Colour] = (200, 0, 0)
EMPTY_BOX: Final[Colour] = (150, 150, 150)
_GRID: Final[tuple[tuple[int, Colour], ...]] = ((1, (251, 220, 220)), (5, (236, 150, 150)))

_VERSION: Final = 1
"""Raised with every change of what is drawn that the parameters do not show (colours, lettering), for the digest."""

_ROWS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "3x4+II": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)),
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")),
    "6x2": (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")),
    "12x1": tuple((lead,) for lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")),
}
LAYOUT_NAMES: Final = tuple(_ROWS)
_SPEEDS_MM_PER_S: Final = (25.0, 50.0)
_GAINS_MM_PER_MV: Final = (5.0, 10.0, 20.0)
_MARGIN_MM: Final = 15.0  # above and below the rows, caption included
_CAPTION_MM: Final = 8.0
_LEAST_REACH_MM: Final = 20.0


@dataclass(frozen=True, slots=True)
class Cell:
    """Where one lead is drawn. `column` of `columns` says which part of the shown time it gets."""

    lead: str
    left_mm: float
    width_mm: float
    baseline_mm: float
    column: int
    columns: int
    top_mm: float
    bottom_mm: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that decides what a picture of a given ECG looks like. Made by `make_layout`."""

    name: str
    width_px: int
    height_px: int
    speed_mm_per_s: float
    gain_mm_per_mv: float
    rows: tuple[tuple[str, ...], ...]

    @property
    def px_per_mm(self) -> float:
        """Pixels a millimetre, the same in both directions."""
        return self.width_px / _PAPER_WIDTH_MM

    @property
    def height_mm(self) -> float:
        """Height of the paper."""
        return self.height_px / self.px_per_mm

    @property
    def seconds(self) -> float:
        """How much of a recording, from its start, the picture shows."""
        return _TRACE_WIDTH_MM / self.speed_mm_per_s

    @property
    def pitch_mm(self) -> float:
        """Distance of two baselines: whole large squares."""
        return max(5.0, (self.height_mm - _MARGIN_MM) / len(self.rows) // 5 * 5)

    @property
    def digest(self) -> str:
        """SHA-256 of all parameters, for provenance."""
        return hashlib.sha256(json.dumps([_VERSION, asdict(self)], sort_keys=True).encode()).hexdigest()

    @property
    def caption(self) -> str:
        """The scale, as it is printed on the picture."""
        return f"{self.speed_mm_per_s:g} mm/s   {self.gain_mm_per_mv:g} mm/mV"


def make_layout(
    name: str = "3x4+II",
    width_px: int = 1120,
    height_px: int = 840,
    speed_mm_per_s: float = 25.0,
    gain_mm_per_mv: float | None = None,
) -> Layout:
    """A layout by name. Without a gain it is 10 mm/mV, and 5 in "12x1", whose rows stand too close for more.

    Raises ValueError for a name, speed, gain or size that cannot be drawn legibly.
    """
    if name not in _ROWS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUT_NAMES)}")
    if speed_mm_per_s not in _SPEEDS_MM_PER_S:
        raise ValueError("speed must be 25 or 50 mm/s")
    if gain_mm_per_mv is None:
        gain_mm_per_mv = 5.0 if name == "12x1" else 10.0
    if gain_mm_per_mv not in _GAINS_MM_PER_MV:
        raise ValueError("gain must be 5, 10 or 20 mm/mV")
    made = Layout(name, width_px, height_px, float(speed_mm_per_s), float(gain_mm_per_mv), _ROWS[name])
    if width_px < 280 or made.height_mm < _MARGIN_MM + 12 * len(made.rows):
        raise ValueError("the picture is too small for this layout")
    return made


@dataclass(frozen=True, slots=True)
class Page:
    """The empty sheet of a layout, in millimetres: all that is drawn before an ECG is. Made by `make_page`.

    `grid` are the steps between grid lines and their colours, the finest first; lines lie on whole steps from the top
    left corner. `frame_lines` are a calibration pulse of 1 mV and 0.2 s before every row, and ticks between leads.
    `lettering` is each text with the left end of its foot line; capitals are `letter_mm` high.
    """

    width_mm: float
    height_mm: float
    width_px: int
    height_px: int
    grid: tuple[tuple[int, Colour], ...]
    frame_lines: tuple[Line, ...]
    lettering: tuple[tuple[str, tuple[float, float]], ...]
    letter_mm: float
    ink: Colour = INK
    clip_marker: Colour = CLIP_MARKER
    empty_box: Colour = EMPTY_BOX

    @property
    def px_per_mm(self) -> float:
        """Pixels a millimetre, the same in both directions."""
        return self.width_px / self.width_mm

    def columns_mm(self, step_mm: int) -> range:
        """Where the grid's upright lines lie, from the left."""
        return range(0, int(self.width_mm) + 1, step_mm)

    def rows_mm(self, step_mm: int) -> range:
        """Where its level lines lie, from the top."""
        return range(0, int(self.height_mm) + 1, step_mm)


@lru_cache(maxsize=16)
def make_page(layout: Layout) -> Page:
    """The empty sheet of a layout."""
    lettering = [(cell.lead, _label_origin_mm(layout, cell)) for cell in cells(layout)]
    lettering.append((layout.caption, (_TRACE_LEFT_MM, layout.height_mm - 3.0)))
    return Page(
        width_mm=_PAPER_WIDTH_MM,
        height_mm=layout.height_mm,
        width_px=layout.width_px,
        height_px=layout.height_px,
        grid=_GRID,
        frame_lines=_frame_lines_mm(layout),
        lettering=tuple(lettering),
        letter_mm=_LETTER_MM,
    )


@lru_cache(maxsize=16)
def cells(layout: Layout) -> tuple[Cell, ...]:
    """Where each lead is drawn, in reading order of the rows.

    A trace may run as far as its neighbours' baselines, as on paper, before it is cut off.
    """
    pitch_mm = layout.pitch_mm
    spare_mm = layout.height_mm - _CAPTION_MM - pitch_mm * len(layout.rows)
    first_mm = 5.0 * round((spare_mm / 2 + pitch_mm / 2) / 5)
    reach_mm = max(pitch_mm, _LEAST_REACH_MM)
    made = []
    for number, row in enumerate(layout.rows):
        baseline_mm = first_mm + number * pitch_mm
        top_mm = max(baseline_mm - reach_mm, 1.0)
        bottom_mm = min(baseline_mm + reach_mm, layout.height_mm - _CAPTION_MM)
        width_mm = _TRACE_WIDTH_MM / len(row)
        for column, lead in enumerate(row):
            left_mm = _TRACE_LEFT_MM + column * width_mm
            made.append(Cell(lead, left_mm, width_mm, baseline_mm, column, len(row), top_mm, bottom_mm))
    return tuple(made)


def _label_origin_mm(layout: Layout, cell: Cell) -> tuple[float, float]:
    return cell.left_mm + 1.5, cell.baseline_mm - min(0.36 * layout.pitch_mm, 16.0)


def _frame_lines_mm(layout: Layout) -> tuple[Line, ...]:
    lines: list[Line] = []
    foot_mm = _TRACE_LEFT_MM - 5.0
    for cell in cells(layout):
        base_mm = cell.baseline_mm
        if cell.column == 0:
            rise_mm, high_mm = foot_mm - 0.2 * layout.speed_mm_per_s, base_mm - layout.gain_mm_per_mv
            lines.append(
                ((rise_mm - 2, base_mm), (rise_mm, base_mm), (rise_mm, high_mm), (foot_mm, high_mm),
                 (foot_mm, base_mm), (foot_mm + 2, base_mm))
            )  # fmt: skip
        else:
            lines += [((cell.left_mm, base_mm + side * 4.0), (cell.left_mm, base_mm + side * 7.0)) for side in (-1, 1)]
    return tuple(lines)
