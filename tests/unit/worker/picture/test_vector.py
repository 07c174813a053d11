"""SVG and PDF: well-formed, at true millimetres, and the same geometry as the picture."""

import re
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from schemas.ecg import LEADS, Patient
from simulator.edits import real_ecg
from tests.support.analytic import ecg_of
from worker.picture.layout import LAYOUT_NAMES, make_layout
from worker.picture.traces import trace_paths
from worker.picture.vector import pdf, svg

SVG = "{http://www.w3.org/2000/svg}"


def pdf_content(file: bytes) -> str:
    match = re.search(rb"/Length (\d+) /Filter /FlateDecode >>\nstream\n", file)
    assert match
    return zlib.decompress(file[match.end() : match.end() + int(match[1])]).decode("ascii")


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_an_svg_is_well_formed_and_measured_in_millimetres(name: str) -> None:
    root = ElementTree.fromstring(svg(real_ecg(), make_layout(name)))
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("280mm", "210mm", "0 0 280 210")
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert set(texts) >= set(LEADS)
    assert any("mm/mV" in (text or "") for text in texts)


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_an_svg_holds_every_sample_of_the_picture(name: str) -> None:
    paths = [
        path.get("d", "") for path in ElementTree.fromstring(svg(real_ecg(), make_layout(name))).iter(f"{SVG}path")
    ]
    traces = [path for path in paths if path.count("L") > 100]
    lines = trace_paths(real_ecg(), make_layout(name)).lines
    assert len(traces) == len(lines)
    for trace, line in zip(traces, lines, strict=True):
        points = np.array([step.split() for step in trace[1:].split("L")], float)
        assert np.allclose(points, line, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_a_pdf_finds_its_objects_where_its_table_says(name: str) -> None:
    file = pdf(real_ecg(), make_layout(name))
    assert file.startswith(b"%PDF-1.4\n")
    assert file.endswith(b"%%EOF\n")
    table = int(file.split(b"startxref\n")[1].split(b"\n")[0])
    assert file[table:].startswith(b"xref\n0 6\n")
    for number, start in enumerate(re.findall(rb"(\d{10}) 00000 n \n", file), 1):
        assert file[int(start) :].startswith(b"%d 0 obj" % number)


def test_a_pdf_page_is_as_large_as_the_paper() -> None:
    match = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf(real_ecg(), make_layout()))
    assert match
    assert float(match[1]) / 72 * 25.4 == pytest.approx(280, abs=0.01)
    assert float(match[2]) / 72 * 25.4 == pytest.approx(210, abs=0.01)


def test_a_pdf_is_drawn_in_millimetres_from_the_top() -> None:
    scale_x, _, _, scale_y, left, top = map(float, pdf_content(pdf(real_ecg(), make_layout())).split()[:6])
    assert (scale_x, scale_y) == pytest.approx((72 / 25.4, -72 / 25.4), abs=1e-5)
    assert (left, top) == pytest.approx((0, 210 * 72 / 25.4), abs=1e-3)


def test_a_pdf_draws_the_same_lines_as_the_svg() -> None:
    content = pdf_content(pdf(real_ecg(), make_layout()))
    traces = [line for line in content.splitlines() if line.count(" l") > 100]
    lines = trace_paths(real_ecg(), make_layout()).lines
    assert len(traces) == len(lines)
    for trace, line in zip(traces, lines, strict=True):
        numbers = re.findall(r"(-?[\d.]+) (-?[\d.]+) [ml]", trace)
        assert np.allclose(np.array(numbers, float), line, rtol=0, atol=1e-3)
    assert all(f"({lead}) Tj" in content for lead in LEADS)


def test_both_are_the_same_every_time_and_name_nobody() -> None:
    samples_uv = real_ecg().samples_uv
    one, other = ecg_of(samples_uv, 1000), real_ecg()
    assert one.patient != other.patient
    assert isinstance(one.patient, Patient)
    assert svg(one, make_layout()) == svg(other, make_layout())
    assert pdf(one, make_layout()) == pdf(other, make_layout())


def test_gaps_cuts_and_missing_leads_are_drawn() -> None:
    samples_uv = np.zeros((12, 5000))
    samples_uv[LEADS.index("V1"), 3000:3100] = 9000
    samples_uv[LEADS.index("V6")] = np.nan
    samples_uv[LEADS.index("I"), 200:600] = np.nan
    ecg = ecg_of(samples_uv, 500)
    colours = [
        path.get("stroke") or path.get("fill") for path in ElementTree.fromstring(svg(ecg, make_layout())).iter()
    ]
    assert colours.count("#c80000") == 1
    assert colours.count("#969696") == 1
    content = pdf_content(pdf(ecg, make_layout()))
    assert "nan" not in content
    assert content.count(" f\n") == 1
