"""From the bytes of a record to an `Ecg`: recognise the format by its content, then let its decoder read it.

Every format is sniffed by what it must contain, never by a name or a header that can lie. Whatever goes wrong becomes a
`Rejected` with a code; no exception leaves here with a field's value in its text.
"""

from pathlib import Path
from typing import Final

from adapters.dicom.decode import decode_dicom, looks_like_dicom
from adapters.dicom.priority import peek_dicom, peek_dicom_units
from adapters.hl7v2.decode import decode_hl7v2, looks_like_hl7v2
from adapters.hl7v2.priority import peek_hl7v2, peek_hl7v2_units
from adapters.log import MAX_VALUE_BYTES, Headers
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg, Glimpse, Priority
from schemas.rejection import Reason, Rejected

PRIORITY_HEADER: Final = "ecg-priority"
# Both formats show themselves in their first bytes: DICOM behind a preamble of 128, HL7 behind framing.
_OPENING_BYTES: Final = 256
# Of a record's headers the last so many are looked at.
_PEEKED_HEADERS: Final = 64
_STATED: Final[dict[bytes, Priority]] = {b"STAT": "stat", b"ASAP": "asap", b"ROUTINE": "routine"}


def decode(payload: bytes, site: SiteDefaults) -> Ecg:
    """Decode a record. Raises Rejected, and nothing else, if it is no ECG that can be read safely."""
    if not payload:
        raise Rejected(Reason.PAYLOAD_EMPTY, stage="payload")
    if len(payload) > MAX_VALUE_BYTES:
        raise Rejected(Reason.PAYLOAD_TOO_LARGE, stage="payload")
    try:
        return _decode(payload, site)
    except Rejected:
        raise
    except Exception as error:  # noqa: BLE001 - a hole in a decoder must not stop the worker
        failure = type(error).__name__
    # Raised here, not in the handler: the error itself, whose text may hold a field's value, must not travel along.
    raise Rejected(Reason.INTERNAL, failure)


def looks_like_ecg_file(path: Path) -> bool:
    """Whether a file begins like a format that `decode` reads, whatever its name. Raises OSError."""
    with path.open("rb") as file:
        opening = file.read(_OPENING_BYTES)
    return looks_like_dicom(opening) or looks_like_hl7v2(opening)


def peek_priority(value: bytes, headers: Headers) -> Priority:
    """How urgent a record is, before it is decoded: by its header `ecg-priority`, else by what it says of its order.

    For the thread that keeps the group's heartbeats going: it takes microseconds, whatever the size, and never raises.
    It is a guess, for the order of work only: a finding goes by what the decoder reads.
    """
    try:
        for name, stated in reversed(headers[-_PEEKED_HEADERS:]):
            if name == PRIORITY_HEADER and stated[:_OPENING_BYTES].upper() in _STATED:
                return _STATED[stated.upper()]
        if looks_like_dicom(value):
            return peek_dicom(value)
        if looks_like_hl7v2(value):
            return peek_hl7v2(value)
    except Exception:  # noqa: BLE001 - whatever is wrong with the record, the decoder will say
        return "routine"
    return "routine"


def glance(value: bytes, headers: Headers) -> Glimpse:
    """What a record says of its urgency before it is decoded, as `peek_priority`: quick, a guess, never raising."""
    return Glimpse(peek_priority(value, headers), _peek_units(value))


def _peek_units(value: bytes) -> tuple[str, ...]:
    try:
        if looks_like_dicom(value):
            return peek_dicom_units(value)
        if looks_like_hl7v2(value):
            return peek_hl7v2_units(value)
    except Exception:  # noqa: BLE001 - as above
        return ()
    return ()


def _decode(payload: bytes, site: SiteDefaults) -> Ecg:
    if looks_like_dicom(payload):
        return decode_dicom(payload, site)
    if looks_like_hl7v2(payload):
        return decode_hl7v2(payload, site)
    raise Rejected(Reason.PAYLOAD_UNKNOWN_FORMAT, stage="payload")
