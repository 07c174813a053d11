"""How urgent an HL7 v2 message says it is, read off its bytes before anything is decoded.

The rule and the table are the decoder's. What it knows and this cannot is which results are the ECG: here the order is
the one above the message's first result. A wrong guess changes the order of work, never a finding.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

from adapters.hl7v2.identity import first_priority
from adapters.hl7v2.segments import FRAMING, LINE_ENDS, MAX_SEGMENTS, check_header, delimiters_of, named_codec
from adapters.hl7v2.text import Delimiters
from schemas.ecg import Priority

# As much as anyone writes above the results of one ECG.
PEEKED_BYTES: Final = 64 * 1024
# How often text above the first result may hold its name before the search is given up.
_TRIES: Final = 16
# Orders that are repeated, for one ECG.
_TIMINGS: Final = 16
_ENDS_A_LINE: Final = b"\r\n\x0b\x1c"
# Of a character set that is not named: every byte is a character, and no delimiter moves.
_UNNAMED: Final = "latin_1"


# A patient of class E (table 0004) is in an emergency department, whatever the site calls it.
EMERGENCY: Final = "ED"


def peek_hl7v2(payload: bytes) -> Priority:
    """The priority of the order above the first result. Raises Rejected or StopIteration if there is no usable MSH."""
    lines, read = _above_the_results(payload)
    return first_priority(_codes(lines, read))


def peek_hl7v2_units(payload: bytes) -> tuple[str, ...]:
    """Where the patient lies: the point of care in PV1-3, and the class in PV1-2 if it says emergency.

    Raises as `peek_hl7v2` does.
    """
    lines, read = _above_the_results(payload)
    visit = next((line for line in lines if line[:3] == b"PV1"), b"")
    units = (read.code(visit, 3), EMERGENCY if read.code(visit, 2).upper() == "E" else "")
    return tuple(filter(None, units))


def _above_the_results(payload: bytes) -> "tuple[list[bytes], _Reader]":
    lines = payload[: _first_result(payload)].lstrip(FRAMING).translate(LINE_ENDS).split(b"\r", MAX_SEGMENTS)
    header = next(line for line in lines if line[:3] == b"MSH")
    check_header(header)
    return lines, _Reader(header, delimiters_of(header))


def _first_result(payload: bytes) -> int:
    """Where the first OBX begins, or where to stop looking."""
    at = -1
    for _ in range(_TRIES):
        at = payload.find(b"OBX", at + 1, PEEKED_BYTES)
        if at < 1 or payload[at - 1] in _ENDS_A_LINE:
            break
    return at if at > 0 else PEEKED_BYTES


class _Reader:
    """Cuts lines into fields as the message's header says."""

    def __init__(self, header: bytes, delimiters: Delimiters) -> None:
        self._header, self._delimiters = header, delimiters

    def code(self, line: bytes, number: int, component: int = 1) -> str:
        """A value as `Segment.text` gives it, but with escapes unresolved; empty if there is none."""
        cut, written = self._delimiters, self._text(line)
        indices = ((cut.field, number), (cut.repetition, 0), (cut.component, component - 1), (cut.subcomponent, 0))
        for separator, index in indices:
            parts = written.split(separator, index + 1)
            written = parts[index].strip() if index < len(parts) else ""
        return "" if written == '""' else written

    def _text(self, line: bytes) -> str:
        """The line as text: in some character sets the second byte of a character can be that of a delimiter."""
        if line.isascii() and b"\x1b" not in line:
            return line.decode("ascii")
        return line.decode(self._codec, "replace")

    @cached_property
    def _codec(self) -> str:
        fields = self._header.split(self._delimiters.field.encode(), 18)
        charset = fields[17].decode("ascii", "replace") if len(fields) > 17 else ""
        return named_codec(charset, self._delimiters) or _UNNAMED


def _codes(lines: Iterable[bytes], read: _Reader) -> Iterator[str]:
    """TQ1-9, OBR-27, ORC-7, OBR-5, as `read_order` takes them, of the last group before the first result."""
    timings: list[bytes] = []
    obr = orc = coming = b""
    for line in lines:
        name = line[:3]
        if name == b"OBX":
            break
        if name == b"ORC":
            coming = line
        elif name == b"OBR":
            timings, obr, orc, coming = [], line, coming, b""
        elif name == b"TQ1":
            timings.append(line)
    for timing in timings[:_TIMINGS]:
        yield read.code(timing, 9)
    yield read.code(obr, 27, 6)
    yield read.code(orc, 7, 6)
    yield read.code(obr, 5)
