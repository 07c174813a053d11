"""The rejection, version 1: why a record became no finding. It points at the record and never repeats its content.

`Rejected` is how any stage says so. `docs/rejections.md` is written from `Reason`; a test keeps them the same.
"""

from typing import Literal

from pydantic import Field

from schemas.codes import Code
from schemas.finding import Contract, Source

Stage = Literal["read", "payload", "decode", "measure", "screen", "render", "assemble", "ask", "conclude", "publish"]


class Reason(Code):
    """Stable codes. The part before the dot is where the fault lies; codes are added, never renamed."""

    PAYLOAD_EMPTY = "payload.empty", "The record has no value, or one of zero bytes."
    PAYLOAD_TOO_LARGE = "payload.too_large", "The record is larger than the worker accepts."
    PAYLOAD_UNKNOWN_FORMAT = "payload.unknown_format", "The bytes are no format that the worker reads."
    PAYLOAD_TOO_SLOW = (
        "payload.too_slow",
        "Preparing the ECG did not end within its time limit; the stage says where it was by then.",
    )
    PAYLOAD_FATAL = (
        "payload.fatal",
        "Preparing the ECG ended the process that did it, twice: for memory, or by a crash in a library.",
    )

    HL7_MALFORMED = "hl7.malformed", "The message breaks HL7 v2's encoding rules."
    HL7_ENCODING = "hl7.encoding", "MSH-18 names a character set that is not supported, or the bytes do not follow it."
    HL7_TOO_COMPLEX = "hl7.too_complex", "More segments, fields or components than any real ECG message has."
    HL7_NOT_A_RESULT = "hl7.not_a_result", "The message is no ORU."
    HL7_TWO_MESSAGES = "hl7.two_messages", "More than one MSH: a batch, or two messages run together."
    HL7_TWO_PATIENTS = "hl7.two_patients", "More than one PID: the ECG's owner is not certain."
    HL7_PATIENT_MISMATCH = "hl7.patient_mismatch", "The message and the ECG object inside it name different patients."
    HL7_NO_PATIENT = "hl7.no_patient", "No PID segment."
    HL7_LOST_SEGMENTS = "hl7.lost_segments", "The parser did not keep every segment of the message."
    HL7_NO_WAVEFORM = "hl7.no_waveform", "The message carries no ECG waveform, only text, numbers, a PDF or a link."
    HL7_WAVEFORM = "hl7.waveform", "Waveform samples or their description are missing, unreadable or contradictory."
    HL7_ENCAPSULATED = "hl7.encapsulated", "Encapsulated data is not valid base64, or not what it says it is."

    DICOM_MALFORMED = "dicom.malformed", "The DICOM object is truncated or breaks the encoding rules."
    DICOM_SOP_CLASS = "dicom.sop_class", "The SOP class is no 12-lead, general or 32-bit general ECG."
    DICOM_TRANSFER_SYNTAX = "dicom.transfer_syntax", "The transfer syntax is not on the list of those decoded safely."
    DICOM_NO_WAVEFORM = "dicom.no_waveform", "The object has no waveform sequence, or no rhythm group in it."
    DICOM_WAVEFORM = (
        "dicom.waveform",
        "The waveform's length, sample format or channel definitions contradict each other.",
    )
    DICOM_CALIBRATION = "dicom.calibration", "A channel lacks sensitivity or unit, or states one that is not a voltage."
    DICOM_TOO_LARGE = "dicom.too_large", "The inflated object, or its waveform, is larger than the worker accepts."

    ECG_NO_PATIENT = "ecg.no_patient", "No patient identifier: a finding could not be filed."
    ECG_NO_TIME = "ecg.no_time", "No usable acquisition time: a finding could not be dated."
    ECG_FIELD_TOO_LONG = (
        "ecg.field_too_long",
        "An identifier, the clinical text or another text is longer than any standard allows; none is ever cut.",
    )
    ECG_FIELD_UNPRINTABLE = (
        "ecg.field_unprintable",
        "An identifier holds control or invisible characters, or the clinical text heaps of combining marks.",
    )
    ECG_LEADS = "ecg.leads", "Fewer than the eight independent leads, or one lead twice."
    ECG_LEAD_NAMES = "ecg.lead_names", "A lead's code and name disagree, or the lead is unknown."
    ECG_TOO_SHORT = "ecg.too_short", "The recording is too short for a resting ECG."
    ECG_TOO_LONG = "ecg.too_long", "The recording is too long for a resting ECG."
    ECG_SAMPLING = "ecg.sampling", "The sampling rate is missing or outside what a diagnostic ECG has."
    ECG_AMPLITUDE = (
        "ecg.amplitude",
        "Samples lie outside what an ECG amplifier can deliver: a unit or byte-order error.",
    )
    ECG_INCONSISTENT = (
        "ecg.inconsistent",
        "The limb leads contradict Einthoven's law: mislabelled or mis-scaled channels.",
    )

    ENGINE_NOT_FINITE = "engine.not_finite", "The model's numbers for this ECG were not finite."
    ENGINE_TOO_LONG = "engine.too_long", "The question, or its answer, does not fit into the model's context."
    ENGINE_CONTROL_TOKEN = "engine.control_token", "Text of the message would have become a control token of the model."
    ENGINE_OUT_OF_MEMORY = (
        "engine.out_of_memory",
        "The engine had no memory for this ECG, tried again with half of the work.",
    )
    ENGINE_FAILED = (
        "engine.failed",
        "The engine failed on this ECG alone, in a way it has no code for; the detail names the error.",
    )

    LOG_UNREADABLE_BATCH = (
        "log.unreadable_batch",
        "The log's batch with this record cannot be read (its codec, its size or damage); the detail names its "
        "offsets.",
    )
    LOG_RECORDS_GONE = (
        "log.records_gone",
        "The log no longer held these records when they were to be read; the detail names their offsets.",
    )

    RESULT_TOO_LARGE = "result.too_large", "What there is to say of this ECG is more than a message holds."

    INTERNAL = "internal.error", "The worker failed on this record in a way it has no code for; please report it."


class Rejected(Exception):
    """A record cannot become a finding.

    `detail` says where (a segment, a tag, a count), never a value of the record: it is published and logged.
    """

    def __init__(self, reason: Reason, detail: str = "", stage: Stage = "decode") -> None:
        super().__init__(reason, detail, stage)
        self.reason = reason
        self.detail = detail
        self.stage: Stage = stage


class Rejection(Contract):
    """What the worker publishes for a record that became no finding: a code, a pointer and a digest, no payload."""

    schema_: Literal["ecg-rejection/1"] = Field("ecg-rejection/1", alias="schema")
    reason: Reason
    stage: Stage
    detail: str
    source: Source
    worker_version: str

    def to_json(self) -> bytes:
        """The rejection as it travels: UTF-8 JSON with fields in the order of the contract."""
        return self.model_dump_json(by_alias=True).encode()
