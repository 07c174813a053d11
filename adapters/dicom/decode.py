"""DICOM ECG objects: 12-lead, General and 32-bit General ECG Waveform Storage, as Part 10 or as a bare data set."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from adapters.dicom.data_set import UNREADABLE, DataSet, looks_like_dicom, malformed, read_data_set
from adapters.dicom.waveform import read_waveform
from adapters.recording.assemble import Identity, Waveform, assemble
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg, Order, Patient, Priority, Sex
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

__all__ = ["GENERAL_ECG", "TWELVE_LEAD_ECG", "DicomEcg", "decode_dicom", "looks_like_dicom", "read_dicom"]

TWELVE_LEAD_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
GENERAL_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.2"
GENERAL_32_BIT_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.4"
_SOP_CLASSES: Final = (TWELVE_LEAD_ECG, GENERAL_ECG, GENERAL_32_BIT_ECG)

# PS3.5, 6.2: an age is three digits and a unit.
_AGE: Final = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
# DT allows less, down to the year; an ECG that is not dated to the minute is not dated.
_DATE_TIME: Final = re.compile(r"(\d{8})(\d{4})(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d{2})([0-5]\d)", re.ASCII)

_SEXES: Final[dict[str | None, Sex]] = {"F": "female", "M": "male"}
PRIORITIES: Final[dict[str | None, Priority]] = {"STAT": "stat", "HIGH": "asap"}
# Coded reasons for the procedure; one or two are usual.
MAX_REASONS: Final = 32
_CLINICAL_TEXTS: Final = (
    "ReasonForStudy",
    "ReasonForTheRequestedProcedure",
    "AdmittingDiagnosesDescription",
    "AdditionalPatientHistory",
)


@dataclass(frozen=True, slots=True, eq=False)
class DicomEcg:
    """One ECG object: its signal, and what it says of itself, each part None if the object leaves it out.

    `acquired_at` is naive if the object states no offset from UTC. `notes` are the identity's
    (`character_set_unknown`, `acquisition_time_assumed`); the waveform has its own.
    """

    waveform: Waveform
    sop_instance_uid: str
    patient_id: str | None
    assigner: str | None
    age_years: float | None
    sex: Sex | None
    acquired_at: datetime | None
    device: str | None
    order: Order
    notes: tuple[QualityFlag, ...] = ()


def decode_dicom(payload: bytes, site: SiteDefaults) -> Ecg:
    """Read an ECG object that travels by itself.

    Raises Rejected as `read_dicom` and `assemble` do, and `ecg.no_patient` or `ecg.no_time` if it lacks those.
    """
    found = read_dicom(payload)
    if found.patient_id is None:
        raise Rejected(Reason.ECG_NO_PATIENT, "PatientID")
    if found.acquired_at is None:
        raise Rejected(Reason.ECG_NO_TIME, "AcquisitionDateTime")
    acquired_at, zone_notes = site.localise(found.acquired_at)
    identity = Identity(
        format="dicom",
        message_id=found.sop_instance_uid,
        patient=Patient(found.patient_id, found.assigner, found.age_years, found.sex),
        acquired_at=acquired_at,
        order=found.order,
        device=found.device,
    )
    return assemble(identity, found.waveform, found.notes + zone_notes)


def read_dicom(payload: bytes) -> DicomEcg:
    """Read one ECG object; of its identity only the SOP instance UID is insisted on.

    Raises Rejected with a `dicom.*` code, or with `ecg.leads`, `ecg.lead_names` or `ecg.sampling`.
    """
    data_set = read_data_set(payload)
    if data_set.text("SOPClassUID") not in _SOP_CLASSES:
        raise Rejected(Reason.DICOM_SOP_CLASS, "SOPClassUID")
    sop_instance_uid = data_set.single("SOPInstanceUID")
    if sop_instance_uid is None:
        malformed("no SOPInstanceUID")
    waveform = read_waveform(data_set)
    acquired_at, time_notes = _acquired_at(data_set)
    order, device = _order(data_set), _device(data_set)
    unreadable = any(UNREADABLE in text for text in (*order.clinical_texts, device or ""))
    charset_notes = (QualityFlag(lead=None, problem="character_set_unknown"),)
    return DicomEcg(
        waveform=waveform,
        sop_instance_uid=sop_instance_uid,
        patient_id=data_set.single("PatientID"),
        assigner=data_set.single("IssuerOfPatientID"),
        age_years=_age_years(data_set, acquired_at),
        sex=_SEXES.get(data_set.text("PatientSex")),
        acquired_at=acquired_at,
        device=device,
        order=order,
        notes=time_notes + (charset_notes if unreadable or not data_set.character_set.known else ()),
    )


def _order(data_set: DataSet) -> Order:
    """Order and encounter; what the object does not say itself, its first request attributes may."""
    request = next(iter(data_set.items("RequestAttributesSequence")), data_set)
    reasons = data_set.items("ReasonForRequestedProcedureCodeSequence")
    if len(reasons) > MAX_REASONS:
        raise Rejected(Reason.DICOM_TOO_LARGE, "reasons for the procedure")
    texts = [part.prose(keyword) for part in (data_set, request) for keyword in _CLINICAL_TEXTS]
    texts += [reason.text("CodeMeaning") for reason in reasons]
    return Order(
        encounter=data_set.single("AdmissionID"),
        placer=data_set.single("PlacerOrderNumberImagingServiceRequest"),
        # PS3.3: the accession number is the filler's; the older attribute says so by name.
        filler=data_set.single("FillerOrderNumberImagingServiceRequest")
        or data_set.single("AccessionNumber")
        or request.single("AccessionNumber"),
        priority=PRIORITIES.get(data_set.text("RequestedProcedurePriority"), "routine"),
        clinical_texts=tuple(dict.fromkeys(text for text in texts if text)),
    )


def _device(data_set: DataSet) -> str | None:
    words = (data_set.text("Manufacturer"), data_set.text("ManufacturerModelName"))
    return " ".join(word for word in words if word) or None


def _age_years(data_set: DataSet, acquired_at: datetime | None) -> float | None:
    """The age as stated, or from the birth date at the time of the ECG, which is not today."""
    stated = _AGE.fullmatch(data_set.text("PatientAge") or "")
    if stated:
        return int(stated[1]) * _YEARS[stated[2]]
    born = _date(data_set.text("PatientBirthDate") or "")
    if born is None or acquired_at is None or born > acquired_at.date():
        return None
    return (acquired_at.date() - born).days / 365.25


def _acquired_at(data_set: DataSet) -> tuple[datetime | None, tuple[QualityFlag, ...]]:
    """When the recording began: AcquisitionDateTime, else the dates and times that older carts fill in instead."""
    zone = _zone(data_set.text("TimezoneOffsetFromUTC") or "")
    moment = _moment(data_set.text("AcquisitionDateTime") or "", zone)
    if moment is not None:
        return moment, ()
    for kind in ("Acquisition", "Content"):
        written = (data_set.text(f"{kind}Date") or "") + (data_set.text(f"{kind}Time") or "")
        moment = _moment(written, zone)
        if moment is not None:
            return moment, (QualityFlag(lead=None, problem="acquisition_time_assumed"),)
    return None, ()


def _moment(written: str, zone: timezone | None) -> datetime | None:
    """A DT value, or a DA and a TM value run together; naive if neither it nor the object has an offset."""
    match = _DATE_TIME.fullmatch(written)
    day = _date(match[1]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = int(match[2][:2]), int(match[2][2:]), int(match[3] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    # PS3.5 allows 60 for a leap second, which no clock here knows.
    fraction_us = int((match[4] or "0").ljust(6, "0"))
    own_zone = _zone(match[5]) if match[5] else zone
    return datetime(day.year, day.month, day.day, hour, minute, min(second, 59), fraction_us, tzinfo=own_zone)


def _date(written: str) -> date | None:
    """A DA value."""
    if not re.fullmatch(r"\d{8}", written, re.ASCII):
        return None
    try:
        return date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError:
        return None


def _zone(written: str) -> timezone | None:
    """An offset from UTC; None, and with it the site's own zone and a note, if it is none."""
    match = _OFFSET.fullmatch(written)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    # PS3.5: from -1200 to +1400.
    if offset > timedelta(hours=14):
        return None
    return timezone(offset if match[1] == "+" else -offset) if offset else UTC
