"""How urgent a DICOM object says it is, read off its bytes before anything is decoded.

Elements stand in the order of their tags, so Requested Procedure Priority comes before the waveform. Its bytes are
searched for there, not walked to: an item of a sequence or a text that holds the same bytes is taken for it, and a
deflated object is not read. A wrong guess changes the order of work, never a finding.
"""

from typing import Final

from adapters.dicom.decode import PRIORITIES
from schemas.ecg import Priority

# Where the waveform begins in an object that carries no picture or report beside it.
PEEKED_BYTES: Final = 64 * 1024

_PRIORITY: Final = b"\x40\x00\x03\x10"
# Station Name, Institutional Department Name, Current Patient Location
_UNITS: Final = ((b"\x08\x00\x10\x10", b"SH"), (b"\x08\x00\x40\x10", b"LO"), (b"\x38\x00\x00\x03", b"LO"))
_WAVEFORM: Final = b"\x00\x54\x00\x01"
_VALUE_BYTES: Final = 16  # all that value representation SH allows
_LONG_BYTES: Final = 64  # and LO


def peek_dicom(payload: bytes) -> Priority:
    """The priority stated before the waveform."""
    # The last one: items of the request attributes, which come earlier, may have one of their own.
    at = payload.rfind(_PRIORITY, 0, _end(payload))
    return "routine" if at < 0 else PRIORITIES.get(_value(payload, at, b"SH", _VALUE_BYTES), "routine")


def peek_dicom_units(payload: bytes) -> tuple[str, ...]:
    """The station, the department and the patient's place, as far as they are stated before the waveform."""
    end = _end(payload)
    places = [(payload.find(tag, 0, end), kind) for tag, kind in _UNITS]
    return tuple(filter(None, (_value(payload, at, kind, _LONG_BYTES) for at, kind in places if at >= 0)))


def _end(payload: bytes) -> int:
    """Where to stop looking."""
    end = payload.find(_WAVEFORM, 0, PEEKED_BYTES)
    return end if end >= 0 else PEEKED_BYTES


def _value(payload: bytes, at: int, kind: bytes, most_bytes: int) -> str:
    """The value of the element that begins here, if it is of this kind or names none."""
    explicit = payload[at + 4 : at + 6] == kind
    length = int.from_bytes(payload[at + 6 : at + 8] if explicit else payload[at + 4 : at + 8], "little")
    written = payload[at + 8 : at + 8 + min(length, most_bytes)]
    return written.strip(b" \0\r\n\t").decode("ascii", "replace")
