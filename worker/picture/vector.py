"""An ECG as a vector drawing, SVG or PDF, at true millimetres: what `render` draws, for printing and for close reading.

Both say the same for the same ECG and layout, byte by byte; neither carries a date or anything about the patient.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import Ecg
from worker.picture.layout import (
    CUT_MARK,
    EMPTY_BOX,
    GRID_MAJOR,
    GRID_MINOR,
    INK,
    LABEL_MM,
    PAPER_WIDTH_MM,
    Layout,
    caption_origin_mm,
    cells,
    cut_mark_mm,
    furniture_mm,
    grid_mm,
    label_origin_mm,
)
from worker.picture.traces import draw

Colour = tuple[int, int, int]
Point = tuple[float, float]

_POINTS_PER_MM: Final = 72 / 25.4  # PDF's unit is 1/72 inch
_TEXT_MM: Final = LABEL_MM / 0.718  # Helvetica's capitals are 718/1000 of its size
_TRACE_MM: Final = 0.25
_GRID_MM: Final = {1: 0.08, 5: 0.15}


@dataclass(frozen=True, slots=True)
class _Path:
    points: Iterable[Point]
    colour: Colour
    width_mm: float
    """0 means filled."""
    closed: bool = False


def svg(ecg: Ecg, layout: Layout) -> str:
    """The picture as an SVG document whose user unit is the millimetre."""
    width, height = _number(PAPER_WIDTH_MM), _number(layout.height_mm)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for path in _paths(ecg, layout):
        steps = "L".join(f"{_number(x)} {_number(y)}" for x, y in path.points)
        colour = "#{:02x}{:02x}{:02x}".format(*path.colour)
        paint = (
            f'fill="none" stroke="{colour}" stroke-width="{path.width_mm}" stroke-linejoin="round"'
            if path.width_mm
            else f'fill="{colour}"'
        )
        lines.append(f'<path d="M{steps}{"Z" if path.closed else ""}" {paint}/>')
    for text, (x, y) in _texts(layout):
        place = f'x="{_number(x)}" y="{_number(y)}" font-size="{_number(_TEXT_MM)}"'
        lines.append(
            f'<text {place} font-family="Helvetica, Arial, sans-serif" xml:space="preserve">{escape(text)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def pdf(ecg: Ecg, layout: Layout) -> bytes:
    """The picture as a PDF 1.4 file of one page."""
    height_pt = layout.height_mm * _POINTS_PER_MM
    scale = _POINTS_PER_MM
    content = [f"{scale:.6f} 0 0 {-scale:.6f} 0 {height_pt:.4f} cm 1 j"]  # millimetres, y down
    for path in _paths(ecg, layout):
        colour = " ".join(f"{part / 255:.3f}" for part in path.colour)
        steps = " l ".join(f"{_number(x)} {_number(y)}" for x, y in path.points).replace(" l ", " m ", 1) + " l"
        if path.width_mm:
            content.append(f"{colour} RG {path.width_mm} w {steps} {'s' if path.closed else 'S'}")
        else:
            content.append(f"{colour} rg {steps} f")
    content.append("0 0 0 rg BT")
    for text, (x, y) in _texts(layout):
        content.append(f"/F1 {_number(_TEXT_MM)} Tf 1 0 0 -1 {_number(x)} {_number(y)} Tm ({text}) Tj")
    content.append("ET")
    return _pdf_file(PAPER_WIDTH_MM * _POINTS_PER_MM, height_pt, zlib.compress("\n".join(content).encode("ascii"), 6))


def _paths(ecg: Ecg, layout: Layout) -> Iterator[_Path]:
    """Everything but the lettering, in the order in which it is painted."""
    for step, colour in ((1, GRID_MINOR), (5, GRID_MAJOR)):
        for x in grid_mm(PAPER_WIDTH_MM, step):
            yield _Path(((x, 0), (x, layout.height_mm)), colour, _GRID_MM[step])
        for y in grid_mm(layout.height_mm, step):
            yield _Path(((0, y), (PAPER_WIDTH_MM, y)), colour, _GRID_MM[step])
    for line in furniture_mm(layout):
        yield _Path(line, INK, _TRACE_MM)
    drawing = draw(ecg, layout)
    for left, top, right, bottom in drawing.empty_boxes:
        yield _Path(((left, top), (right, top), (right, bottom), (left, bottom)), EMPTY_BOX, _TRACE_MM, closed=True)
    for trace in drawing.lines:
        if len(trace) > 1:
            yield _Path(_points(trace), INK, _TRACE_MM)
    for mark in drawing.cut_marks:
        yield _Path(cut_mark_mm(*mark), CUT_MARK, 0, closed=True)


def _points(trace: NDArray[np.float32]) -> list[Point]:
    return [(float(x), float(y)) for x, y in trace.tolist()]


def _texts(layout: Layout) -> Iterator[tuple[str, Point]]:
    """Lettering and the left end of its foot line. Letters, digits, blanks, slashes: nothing to escape in PDF."""
    for cell in cells(layout):
        yield cell.lead, label_origin_mm(layout, cell)
    yield layout.caption, caption_origin_mm(layout)


def _number(value: float) -> str:
    """Micrometres are enough: 1 µV is 10 µm on the paper."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _pdf_file(width_pt: float, height_pt: float, content: bytes) -> bytes:
    """The five objects of a one-page PDF, and the table of where they begin."""
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.4f %.4f] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>" % (width_pt, height_pt),
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    )
    file = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    starts = []
    for number, body in enumerate(objects, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % start for start in starts)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(file)
