"""Edits of a real waveform do what they state, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.dicom.decode import decode_dicom
from adapters.recording.assemble import Identity, Waveform, assemble
from adapters.recording.site import SiteDefaults
from schemas.ecg import LEADS, Ecg, Order, Patient
from schemas.rejection import Rejected
from simulator.edits import (
    Noise,
    add_noise,
    flatten,
    invert_t_waves,
    real_ecg,
    resample,
    retaken,
    saturate,
    scale,
)
from simulator.writers.dicom import write_dicom

# R peaks of the real ECG, read off its plot; its T waves peak 0.25 s later.
R_PEAKS = (528, 1527, 2506, 3491, 4485, 5469, 6443, 7445, 8418, 9371)
ANTERIOR = ("V2", "V3", "V4")


def added_mv(before: Ecg, after: Ecg, lead: str) -> NDArray[np.floating]:
    return (after.lead_uv(lead).astype(np.float64) - before.lead_uv(lead)) / 1e3


def t_peaks_mv(ecg: Ecg, lead: str) -> NDArray[np.floating]:
    """The largest deflection of each T wave against the PR segment before it."""
    row_mv = ecg.lead_uv(lead).astype(np.float64) / 1e3
    peaks = []
    for r_peak in R_PEAKS:
        segment = row_mv[r_peak + 180 : r_peak + 340] - row_mv[r_peak - 80 : r_peak - 50].mean()
        peaks.append(segment[np.argmax(np.abs(segment))])
    return np.array(peaks)


def changed_leads(before: Ecg, after: Ecg) -> tuple[str, ...]:
    return tuple(lead for lead in LEADS if not np.array_equal(before.lead_uv(lead), after.lead_uv(lead)))


def still_assembles(ecg: Ecg) -> Ecg:
    channels = dict(zip(ecg.leads, ecg.samples_uv, strict=True))
    return assemble(Identity("dicom", None, ecg.patient, ecg.acquired_at), Waveform(channels, ecg.sampling_hz))


def test_the_real_ecg_has_upright_t_waves() -> None:
    assert real_ecg() is real_ecg()
    for lead in ("I", "II", "V2", "V3", "V4", "V5", "V6"):
        assert t_peaks_mv(real_ecg(), lead).min() > 0.05


@pytest.mark.parametrize("depth_mv", [0.15, 0.4, 1.0])
def test_every_t_wave_is_inverted_to_the_stated_depth_in_these_leads_only(depth_mv: float) -> None:
    after = invert_t_waves(real_ecg(), ANTERIOR, depth_mv=depth_mv)
    assert changed_leads(real_ecg(), after) == ANTERIOR
    for lead in ANTERIOR:
        peaks = t_peaks_mv(after, lead)
        assert np.median(peaks) == pytest.approx(-depth_mv, abs=0.03)
        assert peaks.max() < 0


def test_an_inverted_t_wave_has_no_steps_and_everything_beside_it_is_untouched() -> None:
    after = invert_t_waves(real_ecg(), ANTERIOR, depth_mv=0.4)
    for lead in ANTERIOR:
        change_mv = added_mv(real_ecg(), after, lead)
        # From one sample to the next the change goes on as it went: the recorder's own noise is 0.02 mV.
        assert np.abs(np.diff(change_mv, 2)).max() < 0.003
        for r_peak in R_PEAKS:
            assert not change_mv[r_peak - 200 : r_peak + 90].any()
            assert change_mv[r_peak + 200 : r_peak + 300].all()


def test_the_shape_is_symmetric_or_as_skewed_as_stated() -> None:
    def nadir_s(symmetry: float) -> float:
        flat = real_ecg()
        change = invert_t_waves(flat, ["V1"], depth_mv=0.8, symmetry=symmetry).lead_uv("V1")
        return float(np.argmin(change[R_PEAKS[3] + 90 : R_PEAKS[3] + 430]) / 1000 + 0.09)

    assert nadir_s(1.0) == pytest.approx(0.256, abs=0.015)
    assert nadir_s(2.0) == pytest.approx(0.256 + 0.158 / 3, abs=0.02)


def test_inferior_leads_follow_ii() -> None:
    after = invert_t_waves(real_ecg(), ["II", "III", "aVF"], depth_mv=0.3)
    assert changed_leads(real_ecg(), after) == ("II", "III", "aVR", "aVL", "aVF")
    for lead in ("II", "III", "aVF"):
        assert t_peaks_mv(after, lead).max() < -0.1
    assert np.median(t_peaks_mv(after, "II")) == pytest.approx(-0.3, abs=0.03)
    assert t_peaks_mv(after, "aVL").min() > 0.1


def test_high_lateral_leads_follow_i() -> None:
    after = invert_t_waves(real_ecg(), ["aVL", "V6"], depth_mv=0.2)
    assert changed_leads(real_ecg(), after) == ("I", "III", "aVR", "aVL", "aVF", "V6")
    for lead in ("I", "aVL", "V6"):
        assert t_peaks_mv(after, lead).max() < -0.1


@pytest.mark.parametrize(
    "edit",
    [
        lambda ecg: invert_t_waves(ecg, ["I", "II"], depth_mv=0.5),
        lambda ecg: flatten(ecg, "II"),
        lambda ecg: saturate(ecg, "I"),
        lambda ecg: add_noise(ecg, "I", rms_mv=0.3),
        lambda ecg: resample(ecg, 500),
        lambda ecg: scale(ecg, 2.0),
    ],
)
def test_limb_leads_stay_consistent(edit: Callable[[Ecg], Ecg]) -> None:
    after = edit(real_ecg())
    i, ii, iii, avr, avl, avf = (after.lead_uv(lead).astype(np.float64) for lead in LEADS[:6])
    # The source rounds each lead to 1.25 µV.
    np.testing.assert_allclose(iii, ii - i, atol=5)
    np.testing.assert_allclose(avr + avl + avf, 0, atol=8)
    assert still_assembles(after).leads == LEADS


def test_inversion_works_at_another_sampling_rate() -> None:
    after = invert_t_waves(resample(real_ecg(), 500), ANTERIOR, depth_mv=0.4)
    assert np.median(t_peaks_mv(resample(after, 1000), "V3")) == pytest.approx(-0.4, abs=0.03)


def test_inversion_refuses_what_it_cannot_do() -> None:
    for leads in (["aVR"], ["V7"]):
        with pytest.raises(ValueError, match="cannot invert"):
            invert_t_waves(real_ecg(), leads, depth_mv=0.3)
    with pytest.raises(ValueError, match="above zero"):
        invert_t_waves(real_ecg(), ["V2"], depth_mv=0)
    with pytest.raises(ValueError, match="rhythm"):
        invert_t_waves(scale(real_ecg(), 0), ["V2"], depth_mv=0.3)


def test_a_flat_lead_is_flat() -> None:
    after = flatten(real_ecg(), "V4")
    assert changed_leads(real_ecg(), after) == ("V4",)
    assert not after.lead_uv("V4").any()
    with pytest.raises(ValueError, match="follow from I and II"):
        flatten(real_ecg(), "aVF")


def test_a_saturated_lead_sits_at_its_rails() -> None:
    after = saturate(real_ecg(), "V5", limit_mv=0.3)
    row = after.lead_uv("V5")
    assert row.max() == 300.0
    assert np.count_nonzero(row == 300.0) > 500
    within = np.abs(real_ecg().lead_uv("V5")) < 300
    np.testing.assert_array_equal(row[within], real_ecg().lead_uv("V5")[within])


@pytest.mark.parametrize("kind", ["muscle", "mains", "wander"])
def test_noise_is_as_large_as_stated_and_repeatable(kind: Noise) -> None:
    after = add_noise(real_ecg(), "V3", rms_mv=0.2, kind=kind, seed=3)
    assert np.sqrt(np.mean(added_mv(real_ecg(), after, "V3") ** 2)) == pytest.approx(0.2, rel=0.05)
    again = add_noise(real_ecg(), "V3", rms_mv=0.2, kind=kind, seed=3)
    np.testing.assert_array_equal(after.samples_uv, again.samples_uv)
    other = add_noise(real_ecg(), "V3", rms_mv=0.2, kind=kind, seed=4)
    assert not np.array_equal(after.samples_uv, other.samples_uv)


@pytest.mark.parametrize("hz", [250, 360, 500, 512])
def test_resampling_keeps_duration_and_shape(hz: float) -> None:
    after = resample(real_ecg(), hz)
    assert after.sampling_hz == hz
    assert after.duration_s == pytest.approx(10.0, abs=1 / hz)
    assert t_peaks_mv(resample(after, 1000), "V4") == pytest.approx(t_peaks_mv(real_ecg(), "V4"), abs=0.02)


def test_every_edit_is_another_ecg_and_the_original_stays() -> None:
    before = real_ecg().samples_uv.copy()
    edits = [
        invert_t_waves(real_ecg(), ANTERIOR, depth_mv=0.3),
        invert_t_waves(real_ecg(), ANTERIOR, depth_mv=0.4),
        flatten(real_ecg(), "V1"),
        flatten(real_ecg(), "V2"),
        flatten(flatten(real_ecg(), "V2"), "V1"),
        saturate(real_ecg(), "V1"),
        add_noise(real_ecg(), "V1", rms_mv=0.1, seed=1),
        add_noise(real_ecg(), "V1", rms_mv=0.1, seed=2),
        resample(real_ecg(), 500),
        scale(real_ecg(), 2),
    ]
    assert len({ecg.message_id for ecg in [real_ecg(), *edits]}) == 1 + len(edits)
    assert flatten(real_ecg(), "V1").message_id == edits[2].message_id
    assert not any(ecg.samples_uv.flags.writeable for ecg in edits)
    np.testing.assert_array_equal(real_ecg().samples_uv, before)


def test_a_recording_can_be_retaken_for_another_patient_and_time() -> None:
    at = datetime(2026, 3, 3, 4, 5, tzinfo=UTC)
    other = retaken(real_ecg(), acquired_at=at, patient=Patient("P2", sex="male"), order=Order(filler="F2"))
    assert (other.acquired_at, other.patient.id, other.order.filler) == (at, "P2", "F2")
    assert other.message_id not in (None, real_ecg().message_id)
    assert retaken(real_ecg(), acquired_at=at, message_id="1.2.3").message_id == "1.2.3"
    assert other.samples_uv is real_ecg().samples_uv


def test_an_edited_ecg_travels_as_dicom() -> None:
    after = invert_t_waves(real_ecg(), ANTERIOR, depth_mv=0.4)
    found = decode_dicom(write_dicom(after), SiteDefaults())
    assert found.message_id == after.message_id
    np.testing.assert_allclose(found.samples_uv, after.samples_uv, atol=0.63)


def test_a_gain_error_is_noticed_when_it_is_absurd() -> None:
    with pytest.raises(Rejected):
        still_assembles(scale(real_ecg(), 1000))
