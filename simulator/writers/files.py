"""Simulated ECGs as the records a hospital would send: each form in turn."""

from dataclasses import dataclass
from typing import Final, Literal

from adapters.dicom.decode import GENERAL_ECG, TWELVE_LEAD_ECG
from schemas.ecg import Ecg
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import write_hl7v2

Form = Literal["na", "chapter7", "pcd", "ed_dicom", "dicom_12_lead", "dicom_general"]
FORMS: Final[tuple[Form, ...]] = ("na", "chapter7", "pcd", "ed_dicom", "dicom_12_lead", "dicom_general")
"""Four variants of HL7 v2, then two DICOM objects."""


@dataclass(frozen=True, slots=True)
class Written:
    """One ECG in one form; `suffix` is that of its file."""

    form: Form
    suffix: Literal[".hl7", ".dcm"]
    payload: bytes


def write_in_turn(ecg: Ecg, place: int) -> Written:
    """The ECG in the form whose turn it is at this place, counted from 0."""
    form = FORMS[place % len(FORMS)]
    if form == "dicom_12_lead":
        return Written(form, ".dcm", write_dicom(ecg, sop_class=TWELVE_LEAD_ECG))
    if form == "dicom_general":
        return Written(form, ".dcm", write_dicom(ecg, sop_class=GENERAL_ECG))
    inside = write_dicom(ecg) if form == "ed_dicom" else None
    return Written(form, ".hl7", write_hl7v2(ecg, variant=form, dicom=inside))
