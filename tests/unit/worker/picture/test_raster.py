"""The picture: true scale, the right lead in the right place, nothing invented, the same bytes every time."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.ecg import LEADS, Ecg
from simulator.edits import real_ecg, resample
from tests.support.analytic import analytic_ecg, ecg_of
from worker.picture.layout import CLIP_MARKER, LAYOUT_NAMES, Layout, cells, make_layout, make_page
from worker.picture.raster import image_digest, png, render_image
from worker.picture.traces import trace_paths

HZ = 500


def empty(seconds: float = 10.0) -> Ecg:
    return ecg_of(np.zeros((12, round(seconds * HZ))), HZ)


def step(lead: str, at_s: float, height_mv: float) -> Ecg:
    """Zero, and from `at_s` on a step in one lead, short enough to leave the median at zero."""
    samples_uv = np.zeros((12, 10 * HZ))
    samples_uv[LEADS.index(lead), round(at_s * HZ) : round((at_s + 0.4) * HZ)] = height_mv * 1000
    return ecg_of(samples_uv, HZ)


def ink(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the picture is darker than any grid line."""
    return np.asarray(picture.max(axis=2) < 110)


@pytest.mark.parametrize("name", LAYOUT_NAMES)
@pytest.mark.parametrize("size", [(1120, 840), (1680, 1260), (560, 420), (448, 336)])
def test_a_picture_is_rgb_bytes_of_the_size_asked_for(name: str, size: tuple[int, int]) -> None:
    picture = render_image(real_ecg(), make_layout(name, *size))
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.flags.writeable
    assert ink(picture).mean() > 0.003


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_the_same_ecg_gives_the_same_bytes(name: str) -> None:
    layout = make_layout(name)
    first = render_image(real_ecg(), layout)
    render_image(analytic_ecg(), layout)
    assert image_digest(render_image(real_ecg(), layout)) == image_digest(first)
    first[:] = 0  # the picture is the caller's: the cached form stays as it was
    assert image_digest(render_image(real_ecg(), layout)) != image_digest(first)


def test_the_digest_tells_pictures_and_shapes_apart() -> None:
    picture = render_image(empty(), make_layout())
    other = picture.copy()
    other[0, 0, 0] ^= 1
    assert len({image_digest(picture), image_digest(other), image_digest(picture.reshape(1120, 840, 3))}) == 3


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_every_lead_has_its_place_and_reacts_there_only(name: str) -> None:
    layout = make_layout(name)
    before = render_image(empty(), layout)
    for cell in cells(layout):
        seconds = layout.seconds / cell.columns
        after = render_image(step(cell.lead, cell.column * seconds + 0.5 * seconds, 0.5), layout)
        changed = (before != after).any(axis=2)
        assert changed.any()
        for same_lead in (other for other in cells(layout) if other.lead == cell.lead):
            left, right = same_lead.left_mm - 1, same_lead.left_mm + same_lead.width_mm + 1
            top, bottom = same_lead.baseline_mm - 0.5 * layout.gain_mm_per_mv - 1, same_lead.baseline_mm + 1
            left_px, right_px, top_px, bottom_px = (int(mm * layout.px_per_mm) for mm in (left, right, top, bottom))
            changed[top_px : bottom_px + 1, left_px : right_px + 1] = False
        assert not changed.any()


def test_columns_follow_one_another_in_time() -> None:
    order = [cell.lead for cell in cells(make_layout("3x4+II"))]
    assert order == ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"]
    late = render_image(step("I", 6.0, 1.0), make_layout("3x4+II"))
    assert np.array_equal(late, render_image(empty(), make_layout("3x4+II")))  # at 6 s the first row shows V1


@pytest.mark.parametrize("hz", [250, 500, 1000])
@pytest.mark.parametrize(("speed", "gain"), [(25.0, 10.0), (50.0, 10.0), (25.0, 5.0), (25.0, 20.0)])
def test_the_trace_is_true_to_scale(speed: float, gain: float, hz: int) -> None:
    samples_uv = np.zeros((12, 10 * hz))
    samples_uv[LEADS.index("II"), hz : hz + hz // 5] = 800
    layout = make_layout("12x1", 1120, 840, speed, gain)
    line = trace_paths(ecg_of(samples_uv, hz), layout).lines[LEADS.index("II")]
    cell = cells(layout)[LEADS.index("II")]
    high = line[line[:, 1] < cell.baseline_mm - 1]
    assert high[:, 1] == pytest.approx(cell.baseline_mm - 0.8 * gain, abs=1e-3)
    assert high[0, 0] == pytest.approx(cell.left_mm + speed * 1.0, abs=1e-3)
    assert high[-1, 0] - high[0, 0] == pytest.approx(speed * (0.2 - 1 / hz), abs=1e-3)


@pytest.mark.parametrize("size", [(1120, 840), (560, 420), (448, 336)])
def test_what_is_drawn_lies_where_the_signal_has_it(size: tuple[int, int]) -> None:
    samples_uv = np.zeros((12, 5000))
    samples_uv[LEADS.index("II"), 500:700] = 1300
    layout = make_layout("6x2", *size)
    cell = cells(layout)[2]
    assert cell.lead == "II"
    difference = render_image(empty(), layout).astype(int) - render_image(ecg_of(samples_uv, HZ), layout)
    column = difference[:, round((cell.left_mm + 25 * 1.2) * layout.px_per_mm)].sum(axis=1)
    top, bottom = round((cell.baseline_mm - 16) * layout.px_per_mm), round((cell.baseline_mm - 10) * layout.px_per_mm)
    darkness = column[top : bottom + 1].clip(0)
    centre_px = top + (darkness * np.arange(len(darkness))).sum() / darkness.sum()
    assert centre_px / layout.px_per_mm == pytest.approx(cell.baseline_mm - 13, abs=0.13)


@pytest.mark.parametrize("hz", [500, 1000])
def test_a_spike_of_one_sample_keeps_its_height(hz: int) -> None:
    layout = make_layout("6x2")
    cell = cells(layout)[2]
    blank = render_image(ecg_of(np.zeros((12, 10 * hz)), hz), layout)
    for at in range(2 * hz, 2 * hz + 6):
        samples_uv = np.zeros((12, 10 * hz))
        samples_uv[LEADS.index("II"), at] = 1300
        rows = np.nonzero((render_image(ecg_of(samples_uv, hz), layout) != blank).any(axis=2))[0]
        assert rows.min() / layout.px_per_mm == pytest.approx(cell.baseline_mm - 13, abs=0.5)


def test_the_grid_has_a_line_every_millimetre_and_a_strong_one_every_five() -> None:
    row = render_image(empty(), make_layout())[2].astype(int)  # between two horizontal lines, above the first row
    tinted = np.flatnonzero(row[:, 1] < 255)
    assert set(np.diff(tinted)) == {4}
    strong = np.flatnonzero(row[:, 1] < 200)
    assert set(np.diff(strong)) == {20}
    assert (row[:, 0] > row[:, 1]).sum() == len(tinted)  # pink: less green than red


def test_the_calibration_pulse_is_one_millivolt_high() -> None:
    layout = make_layout()
    cell = cells(layout)[0]
    dark = ink(render_image(empty(), layout))[:, round(17.5 * layout.px_per_mm)]
    rows = np.flatnonzero(dark[: round(cell.baseline_mm * layout.px_per_mm) + 8])
    assert rows.mean() / layout.px_per_mm == pytest.approx(cell.baseline_mm - layout.gain_mm_per_mv, abs=0.2)


def test_the_offset_of_a_lead_is_not_drawn() -> None:
    ecg = analytic_ecg()
    lifted = ecg_of(ecg.samples_uv + np.float32(4000), HZ)
    difference = np.abs(render_image(ecg, make_layout()).astype(int) - render_image(lifted, make_layout()))
    assert (difference > 40).mean() < 1e-4


def test_padding_is_left_open() -> None:
    samples_uv = np.zeros((12, 5000))
    samples_uv[:, 2000:3000] = np.nan
    layout = make_layout("12x1")
    lines = trace_paths(ecg_of(samples_uv, HZ), layout).lines
    assert [len(line) for line in lines] == [2000, 2000] * 12
    assert not any(((line[:, 0] > 25 + 101) & (line[:, 0] < 25 + 149)).any() for line in lines)
    render_image(ecg_of(samples_uv, HZ), layout)


def test_a_short_recording_leaves_its_tail_blank_and_loses_no_lead() -> None:
    traces = trace_paths(analytic_ecg(seconds=8.0), make_layout("3x4+II"))
    widths_mm = [float(np.ptp(line[:, 0])) for line in traces.lines]
    assert widths_mm[:12] == pytest.approx([50.0] * 12, abs=0.2)
    assert widths_mm[12] == pytest.approx(200.0, abs=0.2)


def test_of_a_long_recording_the_first_ten_seconds_are_drawn() -> None:
    long = analytic_ecg(seconds=20.0)
    first = ecg_of(long.samples_uv[:, :5000], HZ)
    for one, other in zip(trace_paths(long, make_layout()).lines, trace_paths(first, make_layout()).lines, strict=True):
        assert np.allclose(one, other, atol=0.2)  # the median is that of the whole recording


def test_a_missing_lead_is_an_empty_box() -> None:
    rows = [row for row, lead in enumerate(LEADS) if lead != "V3"]
    without = ecg_of(real_ecg().samples_uv[rows], 1000, tuple(LEADS[row] for row in rows))
    padded_uv = real_ecg().samples_uv.copy()
    padded_uv[LEADS.index("V3")] = np.nan
    for ecg in (without, ecg_of(padded_uv, 1000)):
        traces = trace_paths(ecg, make_layout())
        assert len(traces.empty_boxes) == 1
        assert len(traces.lines) == 12
        assert (render_image(ecg, make_layout()) == 150).all(axis=2).any()


@pytest.mark.parametrize(("height_mv", "direction"), [(9.0, -1), (-9.0, 1)])
def test_a_trace_that_leaves_its_row_is_clipped_and_marked(height_mv: float, direction: int) -> None:
    ecg = step("V1", 6.0, height_mv)
    traces = trace_paths(ecg, make_layout())
    (marker,) = traces.clip_markers
    (x_mm, y_mm), left, right = marker.tolist()
    assert (y_mm - left[1]) * direction > 0 and left[1] == right[1], "the tip points out of the row"
    assert x_mm == pytest.approx(25 + 6.2 * 25, abs=0.2)
    cell = next(cell for cell in cells(make_layout()) if cell.lead == "V1")
    assert y_mm in (cell.top_mm, cell.bottom_mm)
    assert all(((line[:, 1] >= 0) & (line[:, 1] <= make_layout().height_mm)).all() for line in traces.lines)
    assert min(np.abs(line[:, 1] - y_mm).min() for line in traces.lines) == 0
    assert (render_image(ecg, make_layout()) == CLIP_MARKER).all(axis=2).any()
    assert not trace_paths(real_ecg(), make_layout()).clip_markers


def test_a_png_holds_the_picture() -> None:
    picture = render_image(real_ecg(), make_layout())
    decoded = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), picture)


def test_one_traces_serves_every_sampling_rate() -> None:
    pictures = [render_image(resample(real_ecg(), hz), make_layout()) for hz in (250, 500, 1000)]
    for picture in pictures[1:]:
        grey = [cv2.GaussianBlur(one, (0, 0), 2).astype(float) for one in (pictures[0], picture)]
        assert np.abs(grey[0] - grey[1]).mean() < 1.0


def test_a_layout_digest_follows_every_parameter() -> None:
    forms: list[Layout] = [
        make_layout(), make_layout("3x4"), make_layout(width_px=560, height_px=420), make_layout(height_px=868),
        make_layout(speed_mm_per_s=50), make_layout(gain_mm_per_mv=20),
    ]  # fmt: skip
    assert len({layout.digest for layout in forms}) == len(forms)
    assert make_layout().digest == make_layout("3x4+II", 1120, 840, 25, 10).digest


def test_small_and_large_pictures_show_the_same_paper() -> None:
    small, large = make_layout(width_px=448, height_px=336), make_layout()
    assert cells(small) == cells(large)
    assert small.px_per_mm == pytest.approx(448 / make_page(small).width_mm)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "4x3"},
        {"speed_mm_per_s": 12.5},
        {"gain_mm_per_mv": 0.0},
        {"width_px": 100},
        {"name": "12x1", "height_px": 300},
    ],
)
def test_a_layout_that_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|too small"):
        make_layout(**wrong)  # type: ignore[arg-type] # wrong on purpose
