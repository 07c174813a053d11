"""MLLP release 1: how a message is framed in a stream of bytes, and what an acknowledgement says."""

import re
from typing import Final, NamedTuple

from schemas.delivery import AckCode

START: Final = 0x0B
END: Final = 0x1C
RETURN: Final = 0x0D

# The largest acknowledgement that is read: real ones have a few hundred bytes.
MAX_ACK_BYTES: Final = 64 * 1024
# MSA-1: original mode and, of enhanced mode, the commit level. Any other code is no answer.
_CODES: Final[dict[str, AckCode | None]] = {"AA": None, "CA": None, "AE": "AE", "CE": "CE", "AR": "AR", "CR": "CR"}


class FramingError(Exception):
    """The other side does not keep to the framing; the connection is of no more use."""


class Ack(NamedTuple):
    """What an acknowledgement says: MSA-2, MSA-1 unless it accepts, and the error code of ERR-3 if there is one."""

    control_id: str
    refusal: AckCode | None
    error_code: str | None


def framed(message: bytes) -> bytes:
    """The message between its start and end marks. Raises FramingError if it holds one of them."""
    if START in message or END in message:
        raise FramingError("a message must not hold VT or FS")
    return bytes((START,)) + message + bytes((END, RETURN))


class FrameReader:
    """Cuts what arrives, in pieces of any size, into messages. Bytes before a start mark are ignored."""

    def __init__(self, max_bytes: int = MAX_ACK_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole message, or None until more arrived. Raises FramingError."""
        start = self._buffer.find(START)
        del self._buffer[: len(self._buffer) if start < 0 else start]
        end = self._buffer.find(END)
        if (end if end >= 0 else len(self._buffer)) > self._max_bytes:
            raise FramingError("an acknowledgement is too large")
        if end < 0 or end + 1 == len(self._buffer):
            return None
        message = bytes(self._buffer[1:end])
        if self._buffer[end + 1] != RETURN or START in message:
            raise FramingError("a message does not end as it must")
        del self._buffer[: end + 2]
        return message


def read_ack(message: bytes) -> Ack | None:
    """The acknowledgement in a message; None if it is none."""
    # Whatever the character set: codes and control ids are ASCII.
    segments = re.split(r"[\r\n]+", message.decode("latin-1"))
    if not segments[0].startswith("MSH") or len(segments[0]) < 5:
        return None
    separator, component = segments[0][3], segments[0][4]
    # Backwards, so that of several segments with one name the first counts.
    fields: dict[str, list[str]] = {name: rest for name, *rest in (s.split(separator) for s in segments[:0:-1])}
    code, control_id, *_ = [*fields.get("MSA", []), "", ""]
    if code not in _CODES:
        return None
    error = "".join(fields.get("ERR", [])[2:3]).split(component)[0]
    return Ack(control_id, _CODES[code], error if re.fullmatch(r"[0-9]{3}", error) else None)
