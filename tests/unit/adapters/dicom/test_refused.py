"""DICOM objects that must not become an ECG. Each test builds exactly the input it names."""

import logging
import warnings
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from adapters.dicom.data_set import (
    MAX_CHARACTER_SET_BYTES,
    MAX_ELEMENTS,
    MAX_ESCAPES,
    MAX_INFLATED_BYTES,
    MAX_PROSE_BYTES,
    MAX_TEXT_BYTES,
    read_data_set,
)
from adapters.dicom.decode import MAX_REASONS, decode_dicom, looks_like_dicom
from adapters.dicom.waveform import MAX_CHANNELS, MAX_DEFINITIONS, MAX_GROUPS, MAX_SAMPLES, MAX_SOURCES
from adapters.log import MAX_VALUE_BYTES
from schemas.rejection import Reason, Rejected
from simulator.writers.dicom import write_dicom
from tests.support.dicom_objects import (
    SITE,
    Change,
    changed,
    changed_channel,
    changed_group,
    changed_source,
    data_set_of,
    deflated,
    delete,
    put,
    small_ecg,
    small_object,
    with_syntax,
)
from tests.support.hostile_objects import channel, data_set, group, part_10, sequence

EXPLICIT = b"1.2.840.10008.1.2.1\0"
WAVEFORM_SEQUENCE = b"\x00\x54\x00\x01SQ\0\0"


def reason_of(payload: bytes) -> Reason:
    """Why the payload is refused; the test fails if it is not."""
    with pytest.raises(Rejected) as refusal:
        decode_dicom(payload, SITE)
    assert refusal.value.stage == "decode"
    return refusal.value.reason


@pytest.mark.parametrize("length", [134, 140, 300, 1000, 1500])
def test_a_file_cut_early_is_refused(length: int) -> None:
    assert looks_like_dicom(small_object()[:length])
    assert reason_of(small_object()[:length]) in (
        Reason.DICOM_MALFORMED,
        Reason.DICOM_TRANSFER_SYNTAX,
        Reason.DICOM_SOP_CLASS,
    )


def test_a_file_cut_inside_the_waveform_or_by_one_byte_is_refused() -> None:
    payload = small_object()
    inside = payload.index(WAVEFORM_SEQUENCE) + 600
    assert reason_of(payload[:inside]) == Reason.DICOM_MALFORMED
    assert reason_of(payload[: len(payload) // 2]) == Reason.DICOM_MALFORMED
    assert reason_of(payload[:-1]) == Reason.DICOM_MALFORMED


@given(st.integers(134, len(small_object()) - 1))
@settings(max_examples=200)
def test_no_cut_file_is_read(length: int) -> None:
    reason_of(small_object()[:length])


@pytest.mark.parametrize("extra", [b"\0", bytes(64), b"junk after the data set"])
def test_trailing_bytes_are_refused(extra: bytes) -> None:
    assert reason_of(small_object() + extra) == Reason.DICOM_MALFORMED


def test_bytes_that_only_begin_like_dicom_are_refused() -> None:
    for start in (b"\x08\x00", b"\x02\x00"):
        junk = start + np.random.default_rng(7).bytes(4000)
        assert looks_like_dicom(junk)
        assert reason_of(junk) in (Reason.DICOM_MALFORMED, Reason.DICOM_SOP_CLASS)


@pytest.mark.parametrize(
    "uid",
    [
        b"1.2.840.10008.1.2.2",  # explicit big endian, which pydicom reads into garbage without a word
        b"1.2.840.10008.1.2.4.50",  # JPEG
        b"1.2.840.113619.5.2",  # private
        b"",
    ],
)
def test_other_transfer_syntaxes_are_refused(uid: bytes) -> None:
    assert reason_of(with_syntax(uid, data_set_of(small_object()))) == Reason.DICOM_TRANSFER_SYNTAX


def test_a_real_big_endian_object_is_refused_whatever_it_claims() -> None:
    ds = dcmread(BytesIO(small_object()))
    file = BytesIO()
    dcmwrite(file, ds, implicit_vr=False, little_endian=False, force_encoding=True)
    big_endian = data_set_of(file.getvalue())
    assert reason_of(with_syntax(b"1.2.840.10008.1.2.2", big_endian)) == Reason.DICOM_TRANSFER_SYNTAX
    assert reason_of(with_syntax(EXPLICIT, big_endian)) == Reason.DICOM_MALFORMED
    assert not looks_like_dicom(big_endian)


def test_a_data_set_encoded_otherwise_than_stated_is_refused() -> None:
    assert reason_of(with_syntax(b"1.2.840.10008.1.2", data_set_of(small_object()))) == Reason.DICOM_MALFORMED
    implicit = data_set_of(write_dicom(small_ecg(), transfer_syntax="1.2.840.10008.1.2"))
    assert reason_of(with_syntax(EXPLICIT, implicit)) == Reason.DICOM_MALFORMED


def test_deflated_data_that_is_cut_corrupt_or_a_bomb_is_refused() -> None:
    uid = DeflatedExplicitVRLittleEndian.encode()
    whole = deflated(data_set_of(small_object()))
    assert decode_dicom(with_syntax(uid, whole), SITE).leads
    assert reason_of(with_syntax(uid, whole[: len(whole) // 2])) == Reason.DICOM_MALFORMED
    assert reason_of(with_syntax(uid, b"\xff" * 100)) == Reason.DICOM_MALFORMED
    assert reason_of(with_syntax(uid, deflated(bytes(4 * MAX_INFLATED_BYTES)))) == Reason.DICOM_TOO_LARGE


def test_deep_nesting_is_refused() -> None:
    opened = (WAVEFORM_SEQUENCE + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * 300
    closed = (b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)) * 300
    assert reason_of(with_syntax(EXPLICIT, opened + closed)) == Reason.DICOM_MALFORMED


def test_more_elements_than_any_ecg_has_are_refused() -> None:
    empty_items = b"\xfe\xff\x00\xe0" + bytes(4)
    sequence = empty_items * (MAX_ELEMENTS + 1)
    data_set = WAVEFORM_SEQUENCE + len(sequence).to_bytes(4, "little") + sequence
    assert reason_of(with_syntax(EXPLICIT, data_set)) == Reason.DICOM_TOO_LARGE


SAMPLES = np.zeros((2000, 12), "<i2")
JAPANESE = {"SpecificCharacterSet": b"\\ISO 2022 IR 87"}


@pytest.mark.parametrize(
    ("keyword", "limit"),
    [("PatientID", MAX_TEXT_BYTES), ("Manufacturer", MAX_TEXT_BYTES), ("AdditionalPatientHistory", MAX_PROSE_BYTES)],
)
def test_a_text_longer_than_any_is_refused_before_it_is_decoded(keyword: str, limit: int) -> None:
    read = {keyword: b"1".ljust(limit)}
    assert decode_dicom(part_10(data_set(changed=read)), SITE).patient.id == "1"
    assert reason_of(part_10(data_set(changed={keyword: read[keyword] + b" "}))) == Reason.ECG_FIELD_TOO_LONG


def test_a_text_that_changes_its_character_set_all_the_time_is_not_read() -> None:
    once = "\u3042".encode("iso2022_jp")
    for count, device in ((MAX_ESCAPES // 2, "\u3042" * (MAX_ESCAPES // 2)), (MAX_ESCAPES // 2 + 1, "\ufffd")):
        ecg = decode_dicom(part_10(data_set(changed=JAPANESE | {"Manufacturer": once * count})), SITE)
        assert ecg.device == device


def test_a_list_of_character_sets_longer_than_any_is_refused() -> None:
    terms = b"\\ISO 2022 IR 87"
    assert reason_of(part_10(data_set(changed={"SpecificCharacterSet": terms * 64}))) == Reason.DICOM_MALFORMED
    most = terms * (MAX_CHARACTER_SET_BYTES // len(terms))
    assert decode_dicom(part_10(data_set(changed={"SpecificCharacterSet": most})), SITE).notes == ()


def test_more_groups_channels_sources_or_reasons_than_any_ecg_has_are_refused() -> None:
    usual = group(SAMPLES)
    few = group(SAMPLES[:1, :1], [])
    assert decode_dicom(part_10(data_set([usual, *[few] * (MAX_GROUPS - 1)])), SITE).sampling_hz == 250
    assert reason_of(part_10(data_set([usual, *[few] * MAX_GROUPS]))) == Reason.DICOM_TOO_LARGE
    wide = group(SAMPLES[:1, :1], [channel("other")] * (MAX_DEFINITIONS - 11))
    assert reason_of(part_10(data_set([usual, wide]))) == Reason.DICOM_TOO_LARGE
    sources = group(SAMPLES, [channel("I", MAX_SOURCES + 1)])
    assert reason_of(part_10(data_set([sources]))) == Reason.DICOM_TOO_LARGE
    reasons = sequence("ReasonForRequestedProcedureCodeSequence", [b""] * (MAX_REASONS + 1))
    assert reason_of(part_10(data_set(more=reasons))) == Reason.DICOM_TOO_LARGE


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0xFFFFFFFF, 10, 10**9])
def test_a_length_that_lies_is_refused(length: int) -> None:
    payload = small_object()
    at = payload.index(WAVEFORM_SEQUENCE) + len(WAVEFORM_SEQUENCE)
    lie = payload[:at] + length.to_bytes(4, "little") + payload[at + 4 :]
    assert reason_of(lie) == Reason.DICOM_MALFORMED


def test_two_patient_ids_are_refused() -> None:
    data_set = data_set_of(small_object())
    at = data_set.index(b"\x10\x00\x20\x00LO")
    twice = data_set[:at] + b"\x10\x00\x20\x00LO\x04\x00OTHR" + data_set[at:]
    assert reason_of(with_syntax(EXPLICIT, twice)) == Reason.DICOM_MALFORMED
    assert reason_of(changed(put("PatientID", ["A", "B"]))) == Reason.DICOM_MALFORMED


def test_a_patient_id_that_is_only_half_readable_is_refused() -> None:
    unexplained = data_set_of(changed(put("PatientID", "AB12"))).replace(b"AB12", b"AB\xfc2")
    assert reason_of(with_syntax(EXPLICIT, unexplained)) == Reason.DICOM_MALFORMED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.9.1.3"), Reason.DICOM_SOP_CLASS),  # ambulatory
        (put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"), Reason.DICOM_SOP_CLASS),  # encapsulated PDF
        (delete("SOPClassUID"), Reason.DICOM_SOP_CLASS),
        (delete("SOPInstanceUID"), Reason.DICOM_MALFORMED),
        (delete("PatientID"), Reason.ECG_NO_PATIENT),
        (put("PatientID", ""), Reason.ECG_NO_PATIENT),
        (put("PatientID", "   "), Reason.ECG_NO_PATIENT),
        (delete("WaveformSequence"), Reason.DICOM_NO_WAVEFORM),
        (put("WaveformSequence", []), Reason.DICOM_NO_WAVEFORM),
    ],
)
def test_an_object_without_what_makes_it_an_ecg_is_refused(change: Change, reason: Reason) -> None:
    assert reason_of(changed(change)) == reason


def test_an_object_without_a_time_is_refused() -> None:
    def forget(ds: Dataset) -> None:
        ds.AcquisitionDateTime = "2026"
        del ds.ContentDate

    assert reason_of(changed(forget)) == Reason.ECG_NO_TIME


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("MultiplexGroupLabel", "MEDIAN BEAT"), Reason.DICOM_NO_WAVEFORM),
        (put("WaveformOriginality", "DERIVED"), Reason.DICOM_NO_WAVEFORM),
        (put("NumberOfWaveformSamples", 2499), Reason.DICOM_WAVEFORM),
        (put("NumberOfWaveformSamples", 2501), Reason.DICOM_WAVEFORM),
        (put("NumberOfWaveformSamples", 0), Reason.DICOM_WAVEFORM),
        (put("NumberOfWaveformSamples", MAX_SAMPLES + 1), Reason.DICOM_TOO_LARGE),
        (put("NumberOfWaveformChannels", 11), Reason.DICOM_WAVEFORM),
        (put("NumberOfWaveformChannels", 13), Reason.DICOM_WAVEFORM),
        (put("NumberOfWaveformChannels", MAX_CHANNELS + 1), Reason.DICOM_TOO_LARGE),
        (delete("NumberOfWaveformChannels"), Reason.DICOM_WAVEFORM),
        (delete("WaveformData"), Reason.DICOM_WAVEFORM),
        (put("WaveformData", bytes(59_998)), Reason.DICOM_WAVEFORM),
        (put("WaveformData", bytes(60_002)), Reason.DICOM_WAVEFORM),
        (lambda group: group.add_new("WaveformPaddingValue", "OW", b"\0\x80\0\x80"), Reason.DICOM_WAVEFORM),
        (put("WaveformBitsAllocated", 12), Reason.DICOM_WAVEFORM),
        (put("WaveformSampleInterpretation", "SL"), Reason.DICOM_WAVEFORM),
        (put("WaveformSampleInterpretation", ""), Reason.DICOM_WAVEFORM),
        (delete("SamplingFrequency"), Reason.ECG_SAMPLING),
        (put("SamplingFrequency", "0"), Reason.ECG_SAMPLING),
        (put("SamplingFrequency", "-250"), Reason.ECG_SAMPLING),
        (put("SamplingFrequency", "100"), Reason.ECG_SAMPLING),
        (put("SamplingFrequency", "400"), Reason.ECG_TOO_SHORT),
        (delete("ChannelDefinitionSequence"), Reason.ECG_LEADS),
    ],
)
def test_a_group_that_contradicts_itself_is_refused(change: Change, reason: Reason) -> None:
    assert reason_of(changed_group(change)) == reason


def test_samples_in_mu_law_are_refused() -> None:
    def expand(group: Dataset) -> None:
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, "MB"
        group.WaveformData = bytes(30_000)

    assert reason_of(changed_group(expand)) == Reason.DICOM_WAVEFORM


def unit(code: str, scheme: str = "UCUM") -> Change:
    def rename(channel: Dataset) -> None:
        item = channel.ChannelSensitivityUnitsSequence[0]
        item.CodeValue, item.CodingSchemeDesignator = code, scheme

    return rename


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete("ChannelSensitivity"), Reason.DICOM_CALIBRATION),
        (put("ChannelSensitivity", None), Reason.DICOM_CALIBRATION),
        (put("ChannelSensitivity", "0"), Reason.DICOM_CALIBRATION),
        (put("ChannelSensitivity", "1e9"), Reason.DICOM_CALIBRATION),
        (put("ChannelBaseline", "1e300"), Reason.DICOM_CALIBRATION),
        (put("ChannelSensitivityCorrectionFactor", None), Reason.DICOM_CALIBRATION),
        (put("ChannelSensitivityUnitsSequence", []), Reason.DICOM_CALIBRATION),
        (delete("ChannelSensitivityUnitsSequence"), Reason.DICOM_CALIBRATION),
        (unit("MV"), Reason.DICOM_CALIBRATION),
        (unit("mm[Hg]"), Reason.DICOM_CALIBRATION),
        (unit("uV", "99LOCAL"), Reason.DICOM_CALIBRATION),
        (unit(""), Reason.DICOM_CALIBRATION),
        (put("ChannelTimeSkew", "5"), Reason.DICOM_WAVEFORM),
    ],
)
def test_a_channel_whose_numbers_mean_nothing_is_refused(change: Change, reason: Reason) -> None:
    assert reason_of(changed_channel(change)) == reason


@pytest.mark.parametrize("value", [b"nan ", b"1,25", b"1_25", b"1\\25", b"1e99", b"inf "])
def test_a_sensitivity_that_is_no_number_is_refused(value: bytes) -> None:
    payload = small_object().replace(b"DS\x04\x001.25", b"DS\x04\x00" + value, 1)
    assert reason_of(payload) in (Reason.DICOM_MALFORMED, Reason.DICOM_CALIBRATION)


@pytest.mark.parametrize(
    ("code", "scheme", "meaning", "reason"),
    [
        ("2:2", "MDC", "Lead I", Reason.ECG_LEAD_NAMES),
        ("2:75", "MDC", "Lead I", Reason.ECG_LEAD_NAMES),
        ("131330", "MDC", "MDC_ECG_LEAD_I", Reason.ECG_LEAD_NAMES),
        ("5.6.3-9-2", "SCPECG", "Lead II", Reason.ECG_LEADS),  # a second II, and no I
        ("2:75", "MDC", "Lead V7", Reason.ECG_LEADS),
        ("?", "99LOCAL", "Kanal 1", Reason.ECG_LEADS),
        ("", "", "", Reason.ECG_LEADS),
    ],
)
def test_a_lead_that_is_not_certain_is_refused(code: str, scheme: str, meaning: str, reason: Reason) -> None:
    assert reason_of(changed_source(code, scheme, meaning)) == reason


def test_a_label_that_contradicts_the_code_is_refused() -> None:
    assert reason_of(changed_channel(put("ChannelLabel", "V2"))) == Reason.ECG_LEAD_NAMES


def test_swapped_and_mis_scaled_limb_leads_are_refused() -> None:
    def swap(group: Dataset) -> None:
        raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
        group.WaveformData = raw[:, [1, 0, *range(2, 12)]].tobytes()

    assert reason_of(changed_group(swap)) == Reason.ECG_INCONSISTENT
    assert reason_of(changed_channel(put("ChannelSensitivityCorrectionFactor", "4.88"), 1)) == Reason.ECG_INCONSISTENT
    assert reason_of(changed_channel(unit("mV"), 8)) == Reason.ECG_AMPLITUDE


def test_no_value_of_the_record_leaves_in_a_refusal_a_log_or_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(Rejected) as refusal:
            decode_dicom(changed(put("PatientID", ["SECRET", "B"])), SITE)
        caplog.clear()
        data_set = read_data_set(changed(put("PatientID", "SECRET")))
    assert "SECRET" not in repr(refusal.value) + repr(data_set) + caplog.text
    assert refusal.value.__cause__ is None


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_read_or_refused_and_never_fail_otherwise(data: st.DataObject) -> None:
    payload = bytearray(small_object())
    # Damage the structure; the waveform's samples may be anything.
    header = bytes(payload).index(b"\x00\x54\x10\x10OW")
    for _ in range(data.draw(st.integers(1, 6))):
        payload[data.draw(st.integers(0, header + 12))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decode_dicom(bytes(payload), SITE)
        except Rejected as refusal:
            assert "." in refusal.reason


def test_a_deflated_object_may_be_as_large_as_any_other() -> None:
    assert MAX_INFLATED_BYTES == MAX_VALUE_BYTES
