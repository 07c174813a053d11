"""Simulated ECGs as the records a hospital would send: each variant in turn."""

from dataclasses import dataclass
from typing import Final, Literal

from adapters.dicom.decode import GENERAL_ECG, TWELVE_LEAD_ECG
from schemas.ecg import Ecg
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import write_hl7v2

Variant = Literal["na", "chapter7", "pcd", "ed_dicom", "dicom_12_lead", "dicom_general"]
VARIANTS: Final[tuple[Variant, ...]] = ("na", "chapter7", "pcd", "ed_dicom", "dicom_12_lead", "dicom_general")
"""Four variants of HL7 v2, then two DICOM objects."""


@dataclass(frozen=True, slots=True)
class Written:
    """One ECG in one variant; `suffix` is that of its file."""

    variant: Variant
    suffix: Literal[".hl7", ".dcm"]
    payload: bytes


def write_in_turn(ecg: Ecg, index: int) -> Written:
    """The ECG in the variant whose turn it is at this place, counted from 0."""
    variant = VARIANTS[index % len(VARIANTS)]
    if variant == "dicom_12_lead":
        return Written(variant, ".dcm", write_dicom(ecg, sop_class=TWELVE_LEAD_ECG))
    if variant == "dicom_general":
        return Written(variant, ".dcm", write_dicom(ecg, sop_class=GENERAL_ECG))
    inside = write_dicom(ecg) if variant == "ed_dicom" else None
    return Written(variant, ".hl7", write_hl7v2(ecg, variant=variant, dicom=inside))
