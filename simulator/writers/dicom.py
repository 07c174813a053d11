"""An `Ecg` as a standard DICOM object: 12-lead or General ECG Waveform Storage, Part 10.

Nothing in it depends on a clock or on chance: the same ECG gives the same bytes.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.config import IGNORE
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from adapters.dicom.decode import GENERAL_ECG, TWELVE_LEAD_ECG
from schemas.ecg import LEADS, Ecg, Patient, Priority, Sex

# CID 3001: MDC codes of the standard leads.
_LEAD_CODES: Final = {
    "I": "2:1", "II": "2:2", "III": "2:61", "aVR": "2:62", "aVL": "2:63", "aVF": "2:64",
    "V1": "2:3", "V2": "2:4", "V3": "2:5", "V4": "2:6", "V5": "2:7", "V6": "2:8",
}  # fmt: skip
_CODE_MEANINGS: Final = {
    "aVR": "aVR, augmented voltage, right",
    "aVL": "aVL, augmented voltage, left",
    "aVF": "aVF, augmented voltage, foot",
}

# PS3.3 A.34.3.4 and A.34.4.4: 12-lead objects hold at most 16384 samples a channel; both are sampled at 200 to 1000 Hz.
_TWELVE_LEAD_MAX_SAMPLES: Final = 16384
_SAMPLING_HZ: Final = (200.0, 1000.0)
# The 16-bit value no amplifier delivers, set aside for "no sample".
_PADDING: Final = -32768
_LO_CHARACTERS: Final = 64

_SEXES: Final[dict[Sex | None, str]] = {"female": "F", "male": "M", None: ""}
_PRIORITIES: Final[dict[Priority, str]] = {"stat": "STAT", "asap": "HIGH", "routine": "ROUTINE"}


def derived_uid(*parts: object) -> str:
    """A UID that is a function of its parts: PS3.5 B.2, a UUID as an integer below 2.25."""
    digest = sha256("\0".join(str(part) for part in parts).encode()).digest()
    # RFC 9562: version 8 (the maker's own scheme), variant 10.
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return f"2.25.{number}"


def write_dicom(
    ecg: Ecg,
    *,
    leads: Sequence[str] = LEADS,
    sop_class: str = TWELVE_LEAD_ECG,
    sensitivity_uv: float = 1.25,
    transfer_syntax: str = ExplicitVRLittleEndian,
    patient_name: str = "",
) -> bytes:
    """The ECG as a DICOM Part 10 file; pass `leads=INDEPENDENT_LEADS` for a cart that stores eight.

    Samples are 16-bit integers of `sensitivity_uv` microvolts; NaN becomes the padding value. The SOP instance UID is
    the ECG's message id if that is a UID, else derived from the content. Raises ValueError if the SOP class cannot hold
    the recording, or 16 bits a sample.
    """
    raw = _raw_samples(ecg, leads, sensitivity_uv)
    if not _SAMPLING_HZ[0] <= ecg.sampling_hz <= _SAMPLING_HZ[1]:
        raise ValueError("DICOM ECGs are sampled at 200 to 1000 Hz")
    if sop_class == TWELVE_LEAD_ECG and raw.shape[0] > _TWELVE_LEAD_MAX_SAMPLES:
        raise ValueError(f"a 12-lead ECG object holds {_TWELVE_LEAD_MAX_SAMPLES} samples a lead; write a General ECG")
    if sop_class not in (TWELVE_LEAD_ECG, GENERAL_ECG):
        raise ValueError("the SOP class is no 16-bit resting ECG")

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    stated = UID(ecg.message_id or "", validation_mode=IGNORE)
    digest = sha256(raw.tobytes()).hexdigest()
    ds.SOPInstanceUID = stated if stated.is_valid else derived_uid("instance", ecg.message_id, ecg.patient.id, digest)
    _put_times(ds, ecg.acquired_at)
    _put_patient(ds, ecg.patient, patient_name)
    _put_order(ds, ecg)
    ds.Modality = "ECG"
    ds.Manufacturer = ecg.device or ""
    ds.StudyInstanceUID = derived_uid("study", ecg.patient.id, ecg.order.filler or ds.SOPInstanceUID)
    ds.SeriesInstanceUID = derived_uid("series", ds.SOPInstanceUID)
    ds.StudyID = ""
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.ReferringPhysicianName = ""
    ds.AcquisitionContextSequence = []
    ds.WaveformSequence = [_group(ecg, leads, raw, sensitivity_uv)]

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    ds.file_meta.ImplementationClassUID = UID(derived_uid("ecg-r1-worker simulator"))
    ds.file_meta.ImplementationVersionName = "ECG_SIMULATOR"
    file = BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def _raw_samples(ecg: Ecg, leads: Sequence[str], sensitivity_uv: float) -> NDArray[np.int16]:
    """Samples x channels, as they are stored."""
    samples_uv = np.stack([ecg.lead_uv(lead) for lead in leads], axis=1)
    raw = np.round(samples_uv.astype(np.float64) / sensitivity_uv)
    if np.nanmax(np.abs(raw)) >= -_PADDING:
        raise ValueError("a sample does not fit into 16 bits at this sensitivity")
    return np.where(np.isnan(raw), _PADDING, raw).astype("<i2")


def _put_times(ds: Dataset, acquired_at: datetime) -> None:
    ds.TimezoneOffsetFromUTC = f"{acquired_at:%z}"
    ds.AcquisitionDateTime = f"{acquired_at:%Y%m%d%H%M%S.%f%z}"
    ds.StudyDate = ds.ContentDate = f"{acquired_at:%Y%m%d}"
    ds.StudyTime = ds.ContentTime = f"{acquired_at:%H%M%S.%f}"


def _put_patient(ds: Dataset, patient: Patient, name: str) -> None:
    ds.PatientName = name
    ds.PatientID = patient.id
    if patient.assigner:
        ds.IssuerOfPatientID = patient.assigner
    ds.PatientBirthDate = ""
    ds.PatientSex = _SEXES[patient.sex]
    if patient.age_years is not None:
        ds.PatientAge = _age(patient.age_years)


def _age(age_years: float) -> str:
    """PS3.5, AS: years, or months for those who are younger than two."""
    return f"{int(age_years):03d}Y" if age_years >= 2 else f"{round(age_years * 12):03d}M"


def _put_order(ds: Dataset, ecg: Ecg) -> None:
    order = ecg.order
    ds.AccessionNumber = order.filler or ""
    if order.placer:
        ds.PlacerOrderNumberImagingServiceRequest = order.placer
    if order.encounter:
        ds.AdmissionID = order.encounter
    if order.priority != "routine":
        ds.RequestedProcedurePriority = _PRIORITIES[order.priority]
    texts = list(order.clinical_texts)
    # The reason is one short value; what does not fit into it is history.
    if texts and len(texts[0]) <= _LO_CHARACTERS and "\\" not in texts[0]:
        ds.ReasonForTheRequestedProcedure = texts.pop(0)
    if texts:
        ds.AdditionalPatientHistory = "\r\n".join(texts)


def _group(ecg: Ecg, leads: Sequence[str], raw: NDArray[np.int16], sensitivity_uv: float) -> Dataset:
    """The one multiplex group: the rhythm as recorded."""
    group = Dataset()
    group.MultiplexGroupTimeOffset = 0
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformSamples, group.NumberOfWaveformChannels = raw.shape
    group.SamplingFrequency = DSfloat(ecg.sampling_hz, auto_format=True)
    group.MultiplexGroupLabel = "RHYTHM"
    group.ChannelDefinitionSequence = [_channel(ecg, lead, sensitivity_uv) for lead in leads]
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    if (raw == _PADDING).any():
        group.WaveformPaddingValue = np.array(_PADDING, "<i2").tobytes()
    group.WaveformData = raw.tobytes()
    for keyword in ("WaveformData", "WaveformPaddingValue"):
        if keyword in group:
            group[keyword].VR = "OW"
    return group


def _channel(ecg: Ecg, lead: str, sensitivity_uv: float) -> Dataset:
    channel = Dataset()
    channel.ChannelLabel = lead
    channel.ChannelSourceSequence = [_code(_LEAD_CODES[lead], "MDC", _CODE_MEANINGS.get(lead, f"Lead {lead}"))]
    channel.ChannelSensitivity = DSfloat(sensitivity_uv, auto_format=True)
    channel.ChannelSensitivityUnitsSequence = [_code("uV", "UCUM", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor = 1
    channel.ChannelBaseline = 0
    channel.ChannelSampleSkew = 0
    channel.WaveformBitsStored = 16
    if ecg.filters.high_pass_hz is not None:
        channel.FilterLowFrequency = ecg.filters.high_pass_hz
    if ecg.filters.low_pass_hz is not None:
        channel.FilterHighFrequency = ecg.filters.low_pass_hz
    if ecg.filters.notch_hz is not None:
        channel.NotchFilterFrequency = ecg.filters.notch_hz
    return channel


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code
