"""An ECG as a vector drawing, SVG or PDF, at true millimetres: what `raster` draws, for printing and for close reading.

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
from worker.picture.layout import Colour, Layout, Page, make_page
from worker.picture.traces import trace_paths

Point = tuple[float, float]

_POINTS_PER_MM: Final = 72 / 25.4  # PDF's unit is 1/72 inch
_CAPITALS: Final = 0.718  # of its size are as high as Helvetica's capitals
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
    page = make_page(layout)
    width, height, text_mm = _number(page.width_mm), _number(page.height_mm), _number(page.letter_mm / _CAPITALS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for path in _paths(ecg, layout, page):
        steps = "L".join(f"{_number(x)} {_number(y)}" for x, y in path.points)
        colour = "#{:02x}{:02x}{:02x}".format(*path.colour)
        paint = (
            f'fill="none" stroke="{colour}" stroke-width="{path.width_mm}" stroke-linejoin="round"'
            if path.width_mm
            else f'fill="{colour}"'
        )
        lines.append(f'<path d="M{steps}{"Z" if path.closed else ""}" {paint}/>')
    for text, (x, y) in page.lettering:
        origin = f'x="{_number(x)}" y="{_number(y)}" font-size="{text_mm}"'
        lines.append(
            f'<text {origin} font-family="Helvetica, Arial, sans-serif" xml:space="preserve">{escape(text)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def pdf(ecg: Ecg, layout: Layout) -> bytes:
    """The picture as a PDF 1.4 file of one page."""
    page = make_page(layout)
    scale, height_pt, text_mm = _POINTS_PER_MM, page.height_mm * _POINTS_PER_MM, _number(page.letter_mm / _CAPITALS)
    content = [f"{scale:.6f} 0 0 {-scale:.6f} 0 {height_pt:.4f} cm 1 j"]  # millimetres, y down
    for path in _paths(ecg, layout, page):
        colour = " ".join(f"{part / 255:.3f}" for part in path.colour)
        steps = " l ".join(f"{_number(x)} {_number(y)}" for x, y in path.points).replace(" l ", " m ", 1) + " l"
        if path.width_mm:
            content.append(f"{colour} RG {path.width_mm} w {steps} {'s' if path.closed else 'S'}")
        else:
            content.append(f"{colour} rg {steps} f")
    content.append("0 0 0 rg BT")  # letters, digits, blanks, slashes: nothing to escape
    for text, (x, y) in page.lettering:
        content.append(f"/F1 {text_mm} Tf 1 0 0 -1 {_number(x)} {_number(y)} Tm ({text}) Tj")
    content.append("ET")
    return _pdf_file(page.width_mm * _POINTS_PER_MM, height_pt, zlib.compress("\n".join(content).encode("ascii"), 6))


def _paths(ecg: Ecg, layout: Layout, page: Page) -> Iterator[_Path]:
    """Everything but the lettering, in the order in which it is painted."""
    for step, colour in page.grid:
        for x in page.columns_mm(step):
            yield _Path(((x, 0), (x, page.height_mm)), colour, _GRID_MM[step])
        for y in page.rows_mm(step):
            yield _Path(((0, y), (page.width_mm, y)), colour, _GRID_MM[step])
    for line in page.frame_lines:
        yield _Path(line, page.ink, _TRACE_MM)
    traces = trace_paths(ecg, layout)
    for left, top, right, bottom in traces.empty_boxes:
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        yield _Path(corners, page.empty_box, _TRACE_MM, closed=True)
    for trace in traces.lines:
        if len(trace) > 1:
            yield _Path(_points(trace), page.ink, _TRACE_MM)
    for marker in traces.clip_markers:
        yield _Path(_points(marker), page.clip_marker, 0, closed=True)


def _points(path: NDArray[np.floating]) -> list[Point]:
    return [(float(x), float(y)) for x, y in path.tolist()]


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
