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
_WAVEFORM: Final = b"\x00\x54\x00\x01"
_VALUE_BYTES: Final = 16  # all that value representation SH allows


def peek_dicom(payload: bytes) -> Priority:
    """The priority stated before the waveform."""
    end = payload.find(_WAVEFORM, 0, PEEKED_BYTES)
    # The last one: items of the request attributes, which come earlier, may have one of their own.
    at = payload.rfind(_PRIORITY, 0, end if end >= 0 else PEEKED_BYTES)
    if at < 0:
        return "routine"
    explicit = payload[at + 4 : at + 6] == b"SH"
    length = int.from_bytes(payload[at + 6 : at + 8] if explicit else payload[at + 4 : at + 8], "little")
    written = payload[at + 8 : at + 8 + min(length, _VALUE_BYTES)]
    return PRIORITIES.get(written.strip(b" \0\r\n\t").decode("ascii", "replace"), "routine")
