"""HL7 v2 result messages (ORU) that carry a 12-lead ECG, in versions 2.1 to 2.8.2.

The waveform is one of: a DICOM object (OBX-2 ED), one array a lead with its unit and rate (carts, IHE PCD), or chapter
7's waveform segments. PDFs, pictures and links are no waveform; links are never followed.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from adapters.dicom.decode import DicomEcg, read_dicom
from adapters.hl7v2.encapsulated import read_encapsulated
from adapters.hl7v2.fields import Segment, parse_structure
from adapters.hl7v2.identity import patient_ids, read_moment, read_order, read_patient
from adapters.hl7v2.observations import Observations, group_observations
from adapters.hl7v2.segments import looks_like_hl7v2, split_message
from adapters.hl7v2.waveform import Recording, has_samples, read_samples
from adapters.recording.assemble import Identity, assemble
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

__all__ = ["decode_hl7v2", "looks_like_hl7v2"]


def decode_hl7v2(payload: bytes, site: SiteDefaults) -> Ecg:
    """Read one ECG from one message.

    Raises Rejected: any `hl7.*` code; `dicom.*` for an object inside; `ecg.*` as `assemble` does, and `ecg.no_patient`,
    `ecg.no_time`, `ecg.leads` (a lead twice), `ecg.lead_names`.
    """
    segments, notes = parse_structure(split_message(payload, site))
    group, recording, embedded = _recording(group_observations(segments))
    header, pid = _only(segments, "MSH"), _only(segments, "PID")
    if embedded is not None and embedded.patient_id not in (None, *patient_ids(pid)):
        raise Rejected(Reason.HL7_PATIENT_MISMATCH, "PID-3 and the DICOM object's PatientID")
    acquired_at, time_notes = _acquired_at(header, group, recording, embedded, site)
    patient, age_notes = read_patient(pid, acquired_at.date())
    if embedded is not None and patient.age_years is None:
        patient = replace(patient, age_years=embedded.age_years)
    if embedded is not None and patient.sex is None:
        patient = replace(patient, sex=embedded.sex)
    identity = Identity(
        format="hl7v2",
        message_id=header.text(10),
        patient=patient,
        acquired_at=acquired_at,
        order=read_order(group, next((segment for segment in segments if segment.name == "PV1"), None)),
        device=_device(header, group, embedded),
    )
    return assemble(identity, recording.waveform, notes + time_notes + age_notes)


def _only(segments: Sequence[Segment], name: str) -> Segment:
    """The segment of which splitting has found exactly one."""
    return next(segment for segment in segments if segment.name == name)


def _recording(groups: Sequence[Observations]) -> tuple[Observations, Recording, DicomEcg | None]:
    """The one waveform of the message, with the results it stands among."""
    objects = [(group, dicom) for group in groups if (dicom := read_encapsulated(group.results)) is not None]
    sampled = [group for group in groups if has_samples(group.results)]
    # Before one of them is read: a message may have a hundred.
    if len(objects) + len(sampled) > 1:
        raise Rejected(Reason.HL7_WAVEFORM, "more than one waveform")
    if sampled:
        return sampled[0], read_samples(sampled[0].results), None
    if not objects:
        raise Rejected(Reason.HL7_NO_WAVEFORM, "no NA, MA or DICOM in any OBX that stands")
    group, dicom = objects[0]
    embedded = read_dicom(dicom)
    return group, Recording(embedded.waveform, None), embedded


def _acquired_at(
    header: Segment, group: Observations, recording: Recording, embedded: DicomEcg | None, site: SiteDefaults
) -> tuple[datetime, tuple[QualityFlag, ...]]:
    """OBR-7, else the recording's own start (TIM or OBX-14), else the DICOM object's time."""
    stated = group.obr.text(7) if group.obr is not None else None
    started = [recording.started] + [obx.text(14) for obx in group.results]
    found = read_moment([stated, *started], header.text(7), site)
    if found is not None:
        return found
    if embedded is None or embedded.acquired_at is None:
        raise Rejected(Reason.ECG_NO_TIME, "OBR-7 and OBX-14")
    acquired_at, zone_notes = site.localise(embedded.acquired_at)
    return acquired_at, embedded.notes + zone_notes


def _device(header: Segment, group: Observations, embedded: DicomEcg | None) -> str | None:
    """The equipment that a result names (OBX-18), else what a DICOM object says, else the sending application."""
    named = next(filter(None, (obx.text(18) for obx in group.results)), None)
    return named or (embedded.device if embedded is not None else None) or header.text(3) or header.text(4)
