"""DICOM ECG objects that are to be read: what they say arrives, in the right unit, with what was assumed noted."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from adapters.dicom.decode import GENERAL_ECG, TWELVE_LEAD_ECG, decode_dicom, looks_like_dicom, read_dicom
from adapters.recording.site import SiteDefaults
from schemas.ecg import INDEPENDENT_LEADS, LEADS, Ecg, Filters, Order, Patient
from simulator.edits import retaken, scale
from simulator.writers.dicom import write_dicom
from tests.support.dicom_objects import (
    SITE,
    changed,
    changed_channel,
    changed_group,
    changed_source,
    data_set_of,
    delete,
    element,
    put,
    small_ecg,
    small_object,
)

QUANTUM_UV = 1.25


def problems(payload: bytes) -> set[str]:
    return {note.problem for note in decode_dicom(payload, SITE).notes}


def assert_same_signal(ecg: Ecg, other: Ecg, limit_uv: float = QUANTUM_UV / 2 + 0.01) -> None:
    assert ecg.leads == other.leads == LEADS
    np.testing.assert_allclose(ecg.samples_uv, other.samples_uv, atol=limit_uv)


def test_a_real_object_is_read_as_pydicom_reads_it() -> None:
    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    ecg = decode_dicom(path.read_bytes(), SiteDefaults(zone=ZoneInfo("Europe/Rome")))
    np.testing.assert_array_equal(ecg.samples_uv, dcmread(path).waveform_array(0).T)
    assert (ecg.format, ecg.sampling_hz, ecg.duration_s, ecg.derived_leads) == ("dicom", 1000.0, 10.0, ())
    assert ecg.message_id == "1.3.6.1.4.1.20029.40.20130125105919.5407.1.1"
    assert ecg.patient == Patient("642341", None, 42.0, "female")
    assert ecg.order == Order(encounter="13002689", filler="03028041970546")
    assert ecg.acquired_at == datetime(2013, 1, 25, 10, 59, 19, tzinfo=ZoneInfo("Europe/Rome"))
    assert ecg.filters == Filters(high_pass_hz=0.05, low_pass_hz=300.0)
    assert ecg.device == "Mortara Instrument, Inc. el250"
    assert [note.problem for note in ecg.notes] == ["time_zone_assumed"]
    assert not ecg.samples_uv.flags.writeable


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("sop_class", [TWELVE_LEAD_ECG, GENERAL_ECG])
def test_what_is_written_is_read_back(syntax: str, sop_class: str) -> None:
    order = Order("V-1", "P-2", "F-3", "stat", ("Chest pain für 2 h", "Hypertension; \\ no history of MI"))
    ecg = retaken(
        small_ecg(),
        acquired_at=datetime(2026, 3, 3, 4, 5, 6, 789000, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
        patient=Patient("A^1 Ü", "HOSPITAL", 71.0, "male"),
        order=order,
    )
    payload = write_dicom(ecg, transfer_syntax=syntax, sop_class=sop_class)
    found = decode_dicom(payload, SITE)
    assert_same_signal(found, ecg)
    assert (found.patient, found.order, found.acquired_at) == (ecg.patient, order, ecg.acquired_at)
    assert (found.message_id, found.device, found.filters) == (ecg.message_id, ecg.device, ecg.filters)
    assert found.notes == ()
    np.testing.assert_allclose(dcmread(BytesIO(payload)).waveform_array(0).T, found.samples_uv, atol=1e-3)


def test_writing_is_deterministic_and_every_ecg_has_its_own_uid() -> None:
    assert write_dicom(small_ecg()) == write_dicom(small_ecg())
    later = retaken(small_ecg(), acquired_at=datetime(2026, 1, 1, tzinfo=UTC), message_id="no uid")
    louder = scale(later, 1.5)
    uids = {dcmread(BytesIO(write_dicom(ecg))).SOPInstanceUID for ecg in (small_ecg(), later, louder)}
    assert len(uids) == 3
    assert all(uid.is_valid for uid in uids)


def test_a_writer_refuses_what_the_object_cannot_hold() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        write_dicom(small_ecg(), sensitivity_uv=0.01)
    with pytest.raises(ValueError, match="SOP class"):
        write_dicom(small_ecg(), sop_class="1.2.840.10008.5.1.4.1.1.9.1.3")


def test_eight_recorded_leads_become_twelve() -> None:
    found = decode_dicom(write_dicom(small_ecg(), leads=INDEPENDENT_LEADS), SITE)
    assert found.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert_same_signal(found, small_ecg(), limit_uv=2.5)


@given(st.sampled_from([0.5, 1.0, 1.25, 2.44, 4.88]))
def test_any_sensitivity_gives_the_same_microvolts(sensitivity_uv: float) -> None:
    found = decode_dicom(write_dicom(small_ecg(), sensitivity_uv=sensitivity_uv), SITE)
    assert_same_signal(found, small_ecg(), limit_uv=sensitivity_uv / 2 + 0.01)


@pytest.mark.parametrize(
    ("unit", "sensitivity", "factor", "gain"),
    [("mV", "0.00125", "1", 1.0), ("V", "1.25E-6", "1.0", 1.0), ("uV", "1", "4.88", 3.904), ("uV", "-1.25", "1", -1.0)],
)
def test_unit_sensitivity_and_factor_all_count(unit: str, sensitivity: str, factor: str, gain: float) -> None:
    def recalibrate(group: Dataset) -> None:
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = sensitivity, factor
            channel.ChannelSensitivityUnitsSequence[0].CodeValue = unit

    found = decode_dicom(changed_group(recalibrate), SITE)
    expected = decode_dicom(small_object(), SITE).samples_uv * gain
    np.testing.assert_allclose(found.samples_uv, expected, rtol=1e-5)


def test_the_baseline_is_added_in_the_stated_unit() -> None:
    shift = changed_channel(put("ChannelBaseline", "-200"), index=6)
    moved_uv = decode_dicom(shift, SITE).lead_uv("V1") - decode_dicom(small_object(), SITE).lead_uv("V1")
    assert set(moved_uv) == {-200.0}


def test_an_absent_correction_factor_is_one_and_noted() -> None:
    payload = changed_channel(delete("ChannelSensitivityCorrectionFactor"))
    found = decode_dicom(payload, SITE)
    assert_same_signal(found, decode_dicom(small_object(), SITE), limit_uv=0.0)
    assert [(note.lead, note.problem) for note in found.notes] == [("I", "sensitivity_correction_assumed")]


@pytest.mark.parametrize(("bits", "interpretation", "dtype"), [(32, "SL", "<i4"), (8, "SB", "i1")])
def test_other_sample_widths(bits: int, interpretation: str, dtype: str) -> None:
    def rewrite(group: Dataset) -> None:
        raw = np.frombuffer(group.WaveformData, "<i2") // 16
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = bits, interpretation
        group.WaveformData = np.clip(raw, -128, 127).astype(dtype).tobytes()
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelSensitivityCorrectionFactor = "16"

    found = decode_dicom(changed_group(rewrite), SITE)
    assert_same_signal(found, small_ecg(), limit_uv=21)


def test_a_32_bit_general_ecg_is_read() -> None:
    def widen(ds: Dataset) -> None:
        group = ds.WaveformSequence[0]
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.4"
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 32, "SL"
        # Finer than 16 bits can hold: 50 nV a unit.
        group.WaveformData = (np.frombuffer(group.WaveformData, "<i2").astype("<i4") * 25).tobytes()
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelSensitivity = "0.05"

    assert_same_signal(decode_dicom(changed(widen), SITE), decode_dicom(small_object(), SITE), limit_uv=1e-3)


def test_unsigned_samples_around_their_baseline() -> None:
    def rewrite(group: Dataset) -> None:
        raw = np.frombuffer(group.WaveformData, "<i2").astype(np.int32) + 32768
        group.WaveformSampleInterpretation = "US"
        group.WaveformData = raw.astype("<u2").tobytes()
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelBaseline = str(-32768 * QUANTUM_UV)

    assert_same_signal(decode_dicom(changed_group(rewrite), SITE), decode_dicom(small_object(), SITE), limit_uv=0.0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_padding_becomes_nan(syntax: str) -> None:
    samples_uv = small_ecg().samples_uv.copy()
    samples_uv[:, -100:] = np.nan
    padded = Ecg("dicom", None, LEADS, samples_uv, 250.0, small_ecg().acquired_at, small_ecg().patient)
    found = decode_dicom(write_dicom(padded, transfer_syntax=syntax), SITE)
    np.testing.assert_array_equal(np.isnan(found.samples_uv), np.isnan(samples_uv))


@pytest.mark.parametrize(
    ("code", "scheme", "meaning"),
    [
        ("2:1", "MDC", "Ableitung I"),
        ("5.6.3-9-1", "SCPECG", "Lead I (Einthoven)"),
        ("131329", "MDC", "MDC_ECG_LEAD_I"),
        ("X1", "99LOCAL", "Lead I"),
    ],
)
def test_a_lead_is_known_by_code_or_by_name(code: str, scheme: str, meaning: str) -> None:
    assert_same_signal(decode_dicom(changed_source(code, scheme, meaning), SITE), small_ecg())


def test_leads_are_put_in_order() -> None:
    def reverse(group: Dataset) -> None:
        group.ChannelDefinitionSequence = list(group.ChannelDefinitionSequence)[::-1]
        raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
        group.WaveformData = raw[:, ::-1].tobytes()

    assert_same_signal(decode_dicom(changed_group(reverse), SITE), small_ecg())


def test_a_channel_that_is_no_standard_lead_is_left_out_and_noted() -> None:
    found = decode_dicom(changed_source("2:75", "MDC", "Lead V7", index=2), SITE)
    assert found.derived_leads == ("III",)
    assert [(note.problem, note.value) for note in found.notes] == [("channel_ignored", 1.0)]


def test_the_rhythm_is_chosen_by_content_not_by_position() -> None:
    def add_groups(ds: Dataset) -> None:
        rhythm = ds.WaveformSequence[0]
        data = np.frombuffer(rhythm.WaveformData, "<i2").reshape(-1, 12)

        def group(channels: int, repeat: int, label: str, originality: str) -> Dataset:
            made: Dataset = deepcopy(rhythm)
            made.MultiplexGroupLabel, made.WaveformOriginality = label, originality
            made.ChannelDefinitionSequence = list(rhythm.ChannelDefinitionSequence)[:channels]
            made.NumberOfWaveformChannels, made.NumberOfWaveformSamples = channels, len(data) * repeat
            made.WaveformData = np.tile(data[:, :channels] * 0, (repeat, 1)).tobytes()
            return made

        ds.WaveformSequence = [
            group(12, 3, "Median", "ORIGINAL"),
            group(12, 3, "RHYTHM", "DERIVED"),
            group(3, 2, "RHYTHM STRIP", "ORIGINAL"),
            rhythm,
        ]

    assert_same_signal(decode_dicom(changed(add_groups), SITE), small_ecg())


def test_filters_of_a_monitor_are_noted() -> None:
    payload = changed_channel(put("FilterLowFrequency", "0.5"), index=4)
    found = decode_dicom(payload, SITE)
    assert found.filters.high_pass_hz == 0.5
    assert [(note.problem, note.value) for note in found.notes] == [("monitor_bandwidth", 0.5)]


def test_channels_sampled_late_are_noted() -> None:
    payload = changed_channel(put("ChannelSampleSkew", "1"), index=7)
    assert [(note.lead, note.value) for note in decode_dicom(payload, SITE).notes] == [("V2", 4.0)]
    assert problems(changed_channel(put("ChannelTimeSkew", "0.0005"))) == set()


@pytest.mark.parametrize("start", [0, 132], ids=["bare data set", "meta group first"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_objects_without_preamble_are_read(start: int, syntax: str) -> None:
    payload = write_dicom(small_ecg(), transfer_syntax=syntax)
    bare = payload[start:] if start else data_set_of(payload)
    assert looks_like_dicom(bare)
    assert_same_signal(decode_dicom(bare, SITE), small_ecg())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"MSH|^~\\&|A",
        b"\xff\xd8\xff\xe0" + bytes(200),
        b"DICM" + bytes(200),
        b"MSH|".ljust(128) + b"DICM",
        b"\x08",
    ],
)
def test_other_formats_do_not_look_like_dicom(payload: bytes) -> None:
    assert not looks_like_dicom(payload)


@pytest.mark.parametrize(
    ("age", "born", "years"),
    [
        ("042Y", "", 42.0),
        ("018M", "19000101", 1.5),
        ("002W", "", 14 / 365.25),
        ("010D", "", 10 / 365.25),
        ("", "19710123", 42.0),
        ("42", "19710123", 42.0),
        ("", "20140101", None),
        ("", "1971", None),
        ("", "", None),
    ],
)
def test_age_is_that_at_the_time_of_the_ecg(age: str, born: str, years: float | None) -> None:
    def set_age(ds: Dataset) -> None:
        ds.PatientAge, ds.PatientBirthDate = age, born

    found = decode_dicom(changed(set_age), SITE).patient.age_years
    assert found == (None if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(("written", "sex"), [("F", "female"), ("M", "male"), ("O", None), ("", None)])
def test_sex(written: str, sex: str | None) -> None:
    assert decode_dicom(changed(put("PatientSex", written)), SITE).patient.sex == sex


@pytest.mark.parametrize(
    ("written", "offset", "content", "expected", "noted"),
    [
        ("20260303040506", "", "", "2026-03-03T04:05:06+01:00", {"time_zone_assumed"}),
        ("20260303040506.5+0200", "-0500", "", "2026-03-03T04:05:06.500000+02:00", set()),
        ("202603030405", "-0530", "", "2026-03-03T04:05:00-05:30", set()),
        ("20260303040560", "+0000", "", "2026-03-03T04:05:59+00:00", set()),
        ("20260303040506", "+9900", "", "2026-03-03T04:05:06+01:00", {"time_zone_assumed"}),
        ("20260303", "+0000", "20260303 0405", "2026-03-03T04:05:00+00:00", {"acquisition_time_assumed"}),
        (
            "20261399040506",
            "+0000",
            "20260303 040506.25",
            "2026-03-03T04:05:06.250000+00:00",
            {"acquisition_time_assumed"},
        ),
    ],
)
def test_acquisition_time(written: str, offset: str, content: str, expected: str, noted: set[str]) -> None:
    def set_time(ds: Dataset) -> None:
        ds.AcquisitionDateTime, ds.TimezoneOffsetFromUTC = written, offset
        ds.ContentDate, _, ds.ContentTime = content.partition(" ")

    found = decode_dicom(changed(set_time), SiteDefaults(zone=ZoneInfo("Europe/Berlin")))
    assert found.acquired_at == datetime.fromisoformat(expected)
    assert {note.problem for note in found.notes} == noted


def test_a_naive_time_stays_naive_for_whoever_knows_better() -> None:
    def strip_zone(ds: Dataset) -> None:
        ds.AcquisitionDateTime = "202603030405"
        del ds.TimezoneOffsetFromUTC

    payload = changed(strip_zone)
    assert read_dicom(payload).acquired_at == datetime(2026, 3, 3, 4, 5)


def test_reasons_are_collected_once_each() -> None:
    def set_reasons(ds: Dataset) -> None:
        ds.ReasonForStudy = ds.ReasonForTheRequestedProcedure = "Chest pain"
        ds.AdditionalPatientHistory = "Diabetes"
        request, code = Dataset(), Dataset()
        request.ReasonForTheRequestedProcedure, request.AccessionNumber = "R07.9", "A-7"
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "29857009", "SCT", "Chest pain (finding)"
        ds.RequestAttributesSequence, ds.ReasonForRequestedProcedureCodeSequence = [request], [code]
        ds.AccessionNumber, ds.RequestedProcedurePriority = "", "HIGH"

    order = decode_dicom(changed(set_reasons), SITE).order
    assert order.clinical_texts == ("Chest pain", "Diabetes", "R07.9", "Chest pain (finding)")
    assert (order.filler, order.priority) == ("A-7", "asap")


@pytest.mark.parametrize(
    ("terms", "raw", "expected", "known"),
    [
        (b"ISO_IR 100", b"Schmerz f\xfcr 2 h", "Schmerz für 2 h", True),
        (b"ISO_IR 192", "Ångest".encode(), "Ångest", True),
        (b"GB18030", "胸痛".encode("gb18030"), "胸痛", True),
        (b"\\ISO 2022 IR 87", b"\x1b$B6;DK\x1b(B ok", "胸痛 ok", True),
        (b"", b"f\xfcr", "f\ufffdr", False),
        (b"ISO_IR 999", b"f\xfcr", "f\ufffdr", False),
        (b"ISO_IR 999", b"ascii", "ascii", False),
        (b"ISO_IR 192", b"f\xfcr", "f\ufffdr", False),
        (b"ISO_IR 100", b"\x1b$Bxx", "\ufffd", False),
    ],
)
def test_character_sets(terms: bytes, raw: bytes, expected: str, known: bool) -> None:
    found = decode_dicom(with_reason(terms, raw), SITE)
    assert found.order.clinical_texts == (expected,)
    assert {note.problem for note in found.notes} == (set() if known else {"character_set_unknown"})


@pytest.mark.parametrize("codec", sorted(set(python_encoding.values())))
def test_every_character_set_of_the_standard_has_a_codec(codec: str) -> None:
    assert b"ok".decode(codec) == "ok"


def with_reason(terms: bytes, raw: bytes) -> bytes:
    """The object with these bytes as character set and reason, put in by hand: pydicom would re-encode them."""

    data_set = data_set_of(changed(delete("SpecificCharacterSet")))
    reason = element(b"\x32\x00\x30\x10", b"LO", raw)
    before, waveform, after = data_set.partition(b"\x40\x00\x55\x05SQ")
    assert after
    return element(b"\x08\x00\x05\x00", b"CS", terms) + before + reason + waveform + after
