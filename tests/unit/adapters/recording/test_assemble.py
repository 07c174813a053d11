"""The checks that every decoded ECG has to pass, whatever format it came in."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters.recording.assemble import Identity, Waveform, assemble
from schemas.ecg import INDEPENDENT_LEADS, LEADS, Ecg, Filters, Order, Patient
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected
from simulator.edits import real_ecg

Channels = dict[str, NDArray[np.float64]]
IDENTITY = Identity("dicom", "1.2.3", Patient("P1"), datetime(2026, 3, 3, tzinfo=UTC), Order(filler="F"), "Cart 1")


def recorded(*leads: str) -> Channels:
    """The real ECG's channels, those of `leads` only, in the order given."""
    return {lead: real_ecg().lead_uv(lead).astype(np.float64) for lead in leads or LEADS}


def assembled(channels: Channels, sampling_hz: float = 1000.0) -> Ecg:
    return assemble(IDENTITY, Waveform(channels, sampling_hz))


def reason_of(channels: Channels, sampling_hz: float = 1000.0) -> Reason:
    with pytest.raises(Rejected) as refusal:
        assembled(channels, sampling_hz)
    return refusal.value.reason


def test_everything_arrives_in_its_place() -> None:
    note, other = QualityFlag(lead=None, problem="a"), QualityFlag(lead="I", problem="b", value=1.0)
    filters = Filters(high_pass_hz=0.05)
    ecg = assemble(IDENTITY, Waveform(recorded(), 1000.0, filters, (other,)), (note,))
    assert (ecg.format, ecg.message_id, ecg.patient, ecg.acquired_at) == (
        "dicom",
        "1.2.3",
        IDENTITY.patient,
        IDENTITY.acquired_at,
    )
    assert (ecg.order, ecg.device, ecg.filters, ecg.notes) == (IDENTITY.order, "Cart 1", filters, (note, other))
    assert (ecg.leads, ecg.derived_leads, ecg.sampling_hz, ecg.duration_s) == (LEADS, (), 1000.0, 10.0)
    np.testing.assert_array_equal(ecg.samples_uv, real_ecg().samples_uv)


def test_samples_are_float32_and_cannot_be_changed() -> None:
    samples_uv = assembled(recorded()).samples_uv
    assert samples_uv.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        samples_uv[0, 0] = 1.0


@given(st.permutations(LEADS))
def test_the_order_of_channels_does_not_matter(order: list[str]) -> None:
    np.testing.assert_array_equal(assembled(recorded(*order)).samples_uv, real_ecg().samples_uv)


def test_missing_limb_leads_are_computed_and_named() -> None:
    ecg = assembled(recorded(*INDEPENDENT_LEADS))
    assert ecg.derived_leads == ("III", "aVR", "aVL", "aVF")
    np.testing.assert_allclose(ecg.samples_uv, real_ecg().samples_uv, atol=1.3)
    assert assembled(recorded(*INDEPENDENT_LEADS, "III", "aVF")).derived_leads == ("aVR", "aVL")


@pytest.mark.parametrize("lead", INDEPENDENT_LEADS)
def test_each_independent_lead_is_needed(lead: str) -> None:
    assert reason_of({name: row for name, row in recorded().items() if name != lead}) == Reason.ECG_LEADS


def test_leads_of_different_length_are_refused() -> None:
    assert reason_of(recorded() | {"V3": recorded("V3")["V3"][:-1]}) == Reason.ECG_LEADS


@pytest.mark.parametrize(
    ("seconds", "reason"), [(7.99, Reason.ECG_TOO_SHORT), (8.0, None), (30.0, None), (30.01, Reason.ECG_TOO_LONG)]
)
def test_duration_limits(seconds: float, reason: Reason | None) -> None:
    channels = {lead: np.resize(row, round(seconds * 1000)) for lead, row in recorded().items()}
    if reason is None:
        assert assembled(channels).duration_s == seconds
    else:
        assert reason_of(channels) == reason


@pytest.mark.parametrize("sampling_hz", [0.0, -500.0, 239.0, 2001.0, float("nan"), float("inf")])
def test_sampling_rates_outside_those_of_a_diagnostic_ecg_are_refused(sampling_hz: float) -> None:
    assert reason_of(recorded(), sampling_hz) == Reason.ECG_SAMPLING


@pytest.mark.parametrize("offset_uv", [0.0, 300_000.0])
def test_electrode_offset_is_no_amplitude(offset_uv: float) -> None:
    channels = recorded()
    channels["V1"] = channels["V1"] + offset_uv
    assert assembled(channels).leads == LEADS


def test_amplitudes_beyond_an_amplifier_are_refused() -> None:
    channels = recorded()
    channels["V1"][5000] += 20_100.0
    assert reason_of(channels) == Reason.ECG_AMPLITUDE
    channels["V1"][5000] = np.inf
    assert reason_of(channels) == Reason.ECG_AMPLITUDE


def test_microvolts_taken_for_millivolts_are_refused() -> None:
    assert reason_of({lead: row * 1000 for lead, row in recorded().items()}) == Reason.ECG_AMPLITUDE


def test_swapped_bytes_are_refused() -> None:
    swapped = {lead: (row / 1.25).astype("<i2").byteswap() * 1.25 for lead, row in recorded().items()}
    assert reason_of(swapped) == Reason.ECG_AMPLITUDE


@pytest.mark.parametrize(("one", "other"), [("I", "II"), ("III", "aVF"), ("aVR", "aVL"), ("II", "V5")])
def test_exchanged_channels_are_refused(one: str, other: str) -> None:
    channels = recorded()
    channels[one], channels[other] = channels[other], channels[one]
    assert reason_of(channels) == Reason.ECG_INCONSISTENT


@pytest.mark.parametrize("lead", ["III", "aVR", "aVF"])
def test_a_limb_lead_with_another_gain_or_sign_is_refused(lead: str) -> None:
    for factor in (4.88, -1.0):
        assert reason_of(recorded() | {lead: recorded(lead)[lead] * factor}) == Reason.ECG_INCONSISTENT


def test_limb_leads_may_differ_by_an_offset_and_by_rounding() -> None:
    channels = {lead: np.round(row / 5) * 5 for lead, row in recorded().items()}
    channels["aVL"] = channels["aVL"] + 1500.0
    assert assembled(channels).derived_leads == ()


def test_padding_stays_nan_and_a_lead_of_nothing_else_is_refused() -> None:
    channels = recorded()
    for row in channels.values():
        row[-200:] = np.nan
    ecg = assembled(channels)
    assert np.isnan(ecg.samples_uv[:, -200:]).all()
    assert np.isfinite(ecg.samples_uv[:, :-200]).all()
    channels["V2"][:] = np.nan
    assert reason_of(channels) == Reason.ECG_LEADS


def test_leads_recorded_one_after_the_other_do_not_contradict_each_other() -> None:
    channels = recorded()
    for column, leads in enumerate((LEADS[:3], LEADS[3:6], LEADS[6:9], LEADS[9:])):
        for lead in leads:
            channels[lead][: column * 2500] = np.nan
            channels[lead][(column + 1) * 2500 :] = np.nan
    assert assembled(channels).derived_leads == ()
