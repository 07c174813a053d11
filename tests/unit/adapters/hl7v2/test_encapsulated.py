from base64 import b64encode
from textwrap import wrap

import numpy as np
import pytest

from adapters.dicom.decode import decode_dicom
from adapters.hl7v2 import encapsulated
from schemas.finding import QualityFlag
from schemas.rejection import Reason
from tests.support.dicom_objects import changed, small_object
from tests.support.hl7_messages import OBR, PID, RATE, SITE, arrays, decoded, message, refused

OBJECT = decode_dicom(small_object(), SITE)
PATIENT = OBJECT.patient.id
OWNER = PID.replace("123", PATIENT)
PDF = b64encode(b"%PDF-1.7 " + bytes(600)).decode()
TEXT = b64encode(small_object()).decode()


def ed(data: str, described: str = "CART^Application^DICOM^Base64^") -> str:
    return f"OBX|1|ED|11524-6^EKG study^LN||{described}{data}||||||P"


def carrying(*obx: str, pid: str = OWNER, obr: str = OBR) -> str:
    return message(pid=pid, obr=obr, obx=obx)


def test_the_object_gives_the_waveform_and_the_message_the_rest() -> None:
    ecg = decoded(carrying(ed(TEXT)))
    np.testing.assert_array_equal(ecg.samples_uv, OBJECT.samples_uv)
    assert ecg.filters == OBJECT.filters
    assert ecg.format == "hl7v2"
    assert ecg.message_id == "M1"
    assert (ecg.patient.id, ecg.patient.assigner, ecg.patient.age_years) == (PATIENT, "HOSP", 67.0)
    assert ecg.order.placer == "P1"
    assert ecg.acquired_at.isoformat() == "2026-03-23T08:55:00-05:00"
    assert ecg.device == OBJECT.device


@pytest.mark.parametrize(
    "described",
    [
        "CART^Application^DICOM^Base64^",
        "CART^AP^Octet-stream^Base64^",
        "^TEXT^PDF^BASE64^",
        "^application/dicom^^base64^",
        "&&^IM^JPEG^Base64^",
        "",
    ],
)
def test_the_type_is_known_by_the_first_bytes_not_by_what_is_declared(described: str) -> None:
    assert decoded(carrying(ed(TEXT, described))).patient.id == PATIENT


@pytest.mark.parametrize("seam", ["\\X0A\\", "\\X0D0A\\", "\\X0d\\\\X0a\\", "\\.br\\", " ", "\n", "\r\n"])
def test_wrapped_base64_is_put_together(seam: str) -> None:
    ecg = decoded(carrying(ed(seam.join(wrap(TEXT, 76)))))
    np.testing.assert_array_equal(ecg.samples_uv, OBJECT.samples_uv)


def test_only_the_value_itself_may_be_wrapped() -> None:
    lines = "\n".join(wrap(TEXT, 76))
    assert refused(carrying(ed(lines), "pid|1||456")) is Reason.HL7_MALFORMED
    assert refused(carrying(ed(TEXT), "pid|1||456")) is Reason.HL7_MALFORMED
    assert refused(carrying(ed(lines) + "\rPID|1||456")) is Reason.HL7_TWO_PATIENTS


def test_hexadecimal_data_is_read() -> None:
    assert decoded(carrying(ed(small_object().hex(), "CART^AP^DICOM^Hex^"))).patient.id == PATIENT


def test_a_pdf_beside_the_object_is_left_alone() -> None:
    pdf = ed(PDF, "CART^Application^PDF^Base64^")
    assert decoded(carrying(pdf, ed(TEXT))).patient.id == PATIENT
    assert decoded(carrying(pdf, RATE, *arrays())).derived_leads
    repeated = ed(PDF + "~CART^Application^DICOM^Base64^" + TEXT, "CART^Application^PDF^Base64^")
    assert decoded(carrying(repeated)).patient.id == PATIENT


@pytest.mark.parametrize(
    "obx",
    [
        ed(PDF, "CART^Application^PDF^Base64^"),
        ed(b64encode(b"\x89PNG\r\n\x1a\n" + bytes(300)).decode(), "CART^IM^PNG^Base64^"),
        ed(b64encode(b"<?xml version='1.0'?><x/>").decode(), "CART^TEXT^XML^Base64^"),
        ed("plain words, no base64", "CART^TEXT^plain^A^"),
        ed("", "CART^Application^PDF^Base64^"),
    ],
)
def test_a_picture_or_document_is_no_waveform(obx: str) -> None:
    assert refused(carrying(obx)) is Reason.HL7_NO_WAVEFORM


@pytest.mark.parametrize(
    "obx",
    [
        ed(PDF),
        ed(""),
        ed("no base64 at all!", ""),
        ed(TEXT[:-1]),
        ed(TEXT[:1000] + "*" + TEXT[1000:]),
        ed("abc", "CART^AP^octet-stream^Hex^"),
    ],
)
def test_data_that_is_not_what_it_claims_is_rejected(obx: str) -> None:
    assert refused(carrying(obx)) is Reason.HL7_ENCAPSULATED


def test_a_truncated_object_is_rejected_by_the_dicom_reader() -> None:
    assert refused(carrying(ed(TEXT[:4000]))).startswith("dicom.")


def test_another_patient_inside_is_rejected() -> None:
    assert refused(carrying(ed(TEXT), pid=PID)) is Reason.HL7_PATIENT_MISMATCH
    assert refused(carrying(ed(TEXT), pid=PID.replace("123", PATIENT + "0"))) is Reason.HL7_PATIENT_MISMATCH


def test_any_of_the_patients_identifiers_may_be_the_one_inside() -> None:
    several = PID.replace("123^^^HOSP^MR", f"123^^^HOSP^MR~{PATIENT}^^^CARDIO^PI")
    assert decoded(carrying(ed(TEXT), pid=several)).patient.id == "123"


def test_an_object_without_a_patient_is_the_messages() -> None:
    anonymous = b64encode(changed(lambda ds: ds.pop("PatientID"))).decode()
    assert decoded(carrying(ed(anonymous), pid=PID)).patient.id == "123"


def test_the_objects_time_age_and_sex_fill_what_the_message_leaves_out() -> None:
    bare = "|".join(OWNER.split("|")[:4])
    ecg = decoded(carrying(ed(TEXT), pid=bare, obr="OBR|1|P1|F1|EKG"))
    assert ecg.acquired_at == OBJECT.acquired_at
    assert (ecg.patient.age_years, ecg.patient.sex) == (OBJECT.patient.age_years, OBJECT.patient.sex)
    undated = b64encode(
        changed(lambda ds: [ds.pop(name, None) for name in ("AcquisitionDateTime", "AcquisitionDate", "ContentDate")])
    ).decode()
    assert refused(carrying(ed(undated), obr="OBR|1|P1|F1|EKG")) is Reason.ECG_NO_TIME


def test_more_than_one_object_or_an_object_beside_arrays_is_rejected() -> None:
    assert refused(carrying(ed(TEXT), ed(TEXT))) is Reason.HL7_WAVEFORM
    assert refused(carrying(ed(TEXT), RATE, *arrays())) is Reason.HL7_WAVEFORM


def test_a_flood_of_repetitions_is_rejected_unread() -> None:
    assert refused(carrying(ed("~AAAA" * 100))) is Reason.HL7_TOO_COMPLEX


def test_a_withdrawn_object_is_not_read() -> None:
    assert refused(carrying(ed(TEXT)[:-1] + "W")) is Reason.HL7_NO_WAVEFORM


def test_an_object_larger_than_any_ecg_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (len(TEXT) // 2 - 1, len(small_object()) - 1):
        monkeypatch.setattr(encapsulated, "MAX_OBJECT_BYTES", limit)
        assert refused(carrying(ed(TEXT))) is Reason.HL7_TOO_COMPLEX
    monkeypatch.setattr(encapsulated, "MAX_OBJECT_BYTES", len(small_object()))
    assert decoded(carrying(ed(TEXT))).patient.id == PATIENT


def test_notes_about_the_objects_own_time_count_only_where_it_is_used() -> None:
    older = b64encode(changed(lambda ds: ds.pop("AcquisitionDateTime"))).decode()
    assumed = QualityFlag(lead=None, problem="acquisition_time_assumed")
    assert assumed not in decoded(carrying(ed(older))).notes
    assert assumed in decoded(carrying(ed(older), obr="OBR|1|P1|F1|EKG")).notes
