"""The structured fields of an HL7 v2 message, read through hl7apy.

hl7apy gets a skeleton: of each segment only the fields that are read here, never a payload, a name or an address. It
costs about a millisecond a segment, and what it is not given it can neither lose nor quote in an exception.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from adapters.hl7v2.segments import RawMessage, RawSegment
from adapters.hl7v2.text import Delimiters
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

VERSION_ASSUMED: Final = QualityFlag(lead=None, problem="hl7_version_assumed")

# The structured fields read of each segment. Others are not parsed: free text (NTE, DG1, OBR-13, OBR-31), values and
# plain codes (OBX-2, OBX-5, OBX-11, OBR-25) are read as they were cut, the rest says nothing about an ECG.
_READ: Final = {
    "MSH": (1, 2, 3, 4, 7, 9, 10, 12),
    "PID": (3, 7, 8),
    "PV1": (19,),
    "ORC": (2, 3, 7),
    "OBR": (2, 3, 5, 7, 27),
    "TQ1": (9,),
    "OBX": (3, 4, 6, 14, 18),
}
# Waveforms, their descriptions, and encapsulated objects; other results need no parsing.
_SIGNAL_TYPES: Final = frozenset({"NA", "MA", "CD", "TS", "DTM", "ED"})
_FACET: Final = "MDC_ATTR_"

# Twelve leads with five facets each are 72 segments; each costs about 2 ms.
MAX_SIGNAL_SEGMENTS: Final = 200
# Parts of all fields read together; a PCD message of twelve leads with facets has about a thousand. 0.2 ms each.
MAX_PARTS: Final = 3000
# PID-3 with thirty identifiers. The parser's time grows with the square of repetitions, and of digits.
MAX_FIELD_CHARACTERS: Final = 2000

# Times, in which the parser's time grows with the square of digits: a whole one has 24 characters, and a precision.
MAX_TIME_CHARACTERS: Final = 64
_TIMES: Final = {"MSH": 7, "PID": 7, "OBR": 7, "OBX": 14}

# The schema that reads every message. A field keeps its place from version to version, and 2.6 is the last that has all
# of those above: under 2.1 hl7apy reads PID-3 as a number and drops leading zeros, before 2.5 it does not know TQ1, and
# from 2.7 on it loses OBR-5 and OBR-27, which senders still fill.
_SCHEMA: Final = "2.6"
_PUBLISHED: Final = frozenset(
    {"2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"}
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its fields as written, and those of `_READ` through hl7apy."""

    raw: RawSegment
    delimiters: Delimiters
    codec: str
    fields: dict[int, list[Any]]

    @property
    def name(self) -> str:
        """PID, OBX, ..."""
        return self.raw.name

    def repetitions(self, field: int) -> int:
        """How often the field is given."""
        return len(self.fields.get(field, ()))

    def text(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 0) -> str | None:
        """One value, unescaped; None if it is absent, blank, or the explicit null `""`."""
        repetitions = self.fields.get(field, [])
        if repetition >= len(repetitions):
            return None
        found = _child(_child(repetitions[repetition], component), subcomponent)
        written = "" if found is None else _written(found.value)
        return self.plain(written)

    def plain(self, written: str) -> str | None:
        """A value as written, unescaped; None if it is blank or the explicit null."""
        text = self.delimiters.unescaped(written, self.codec).strip()
        return None if text in ("", '""') else text


def parse_structure(message: RawMessage) -> tuple[tuple[Segment, ...], tuple[QualityFlag, ...]]:
    """The message's segments in order, all of them, and a note if its version had to be assumed.

    Raises Rejected: `hl7.not_a_result`, `hl7.too_complex`, `hl7.malformed`, `hl7.lost_segments`.
    """
    delimiters = message.delimiters
    header = message.segments[0]
    kind = header.field(9).split(delimiters.component)[0].strip()
    if kind != "ORU":
        raise Rejected(Reason.HL7_NOT_A_RESULT, "MSH-9")
    notes = _version_notes(header.field(12).split(delimiters.component)[0].strip())
    read = [segment for segment in message.segments if segment.name in _READ]
    _check_size(read, delimiters)
    skeleton = "\r".join(_skeleton(segment, delimiters) for segment in read)
    parsed = _parsed(skeleton)
    if parsed is None:
        raise Rejected(Reason.HL7_MALFORMED, "hl7apy cannot parse the message's structure")
    if [segment.name for segment in parsed] != [segment.name for segment in read]:
        raise Rejected(Reason.HL7_LOST_SEGMENTS, f"{len(read)} in, {len(parsed)} out")
    by_raw = {id(raw): segment for raw, segment in zip(read, parsed, strict=True)}
    segments = tuple(
        Segment(raw, delimiters, message.codec, _by_number(by_raw.get(id(raw)))) for raw in message.segments
    )
    return segments, notes


def _version_notes(declared: str) -> tuple[QualityFlag, ...]:
    """A note if MSH-12 names no version that this reader was checked against; rejected if it names no version 2."""
    if declared and not re.fullmatch(r"2\.\d{1,2}(\.\d{1,2})?", declared, re.ASCII):
        raise Rejected(Reason.HL7_MALFORMED, "MSH-12")
    return () if declared in _PUBLISHED else (VERSION_ASSUMED,)


def _carries_signal(segment: RawSegment) -> bool:
    return segment.field(2).strip() in _SIGNAL_TYPES or _FACET in segment.field(3).upper()


def _check_size(segments: Sequence[RawSegment], delimiters: Delimiters) -> None:
    if sum(segment.name != "OBX" or _carries_signal(segment) for segment in segments) > MAX_SIGNAL_SEGMENTS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "segments to parse")
    inner = delimiters.component + delimiters.repetition + delimiters.subcomponent
    written = [segment.field(number) for segment in segments for number in _READ[segment.name]]
    if max(map(len, written)) > MAX_FIELD_CHARACTERS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "a field's length")
    times = [segment.field(_TIMES[segment.name]) for segment in segments if segment.name in _TIMES]
    if max(map(len, times)) > MAX_TIME_CHARACTERS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "a time's length")
    if sum(map("".join(written).count, inner)) > MAX_PARTS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "components")


def _skeleton(segment: RawSegment, delimiters: Delimiters) -> str:
    if segment.name == "OBX" and not _carries_signal(segment):
        return "OBX"
    wanted = _READ[segment.name]
    fields = [segment.field(number) if number in wanted else "" for number in range(1, wanted[-1] + 1)]
    if segment.name == "MSH":
        fields[0:2] = [delimiters.encoding_characters]  # MSH-1 is the separator that the join writes
        fields[-1] = _SCHEMA
    return delimiters.field.join([segment.name, *fields])


def _parsed(skeleton: str) -> list[Any] | None:
    """hl7apy's segments, flat: grouping drops those it does not expect. None if it fails.

    Its exceptions quote field values: none leaves here, not even as a context.
    """
    try:
        return list(parse_message(skeleton, find_groups=False).children)
    except (HL7apyException, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None


def _by_number(segment: Any | None) -> dict[int, list[Any]]:
    """hl7apy's fields by their number; a field it has no name for is one that nobody reads."""
    fields: dict[int, list[Any]] = {}
    for field in segment.children if segment is not None else ():
        number = _number(field)
        if number is not None:
            fields.setdefault(number, []).append(field)
    return fields


def _number(element: Any) -> int | None:
    """3 of "PID_3" or "CX_3"; None for parts of a simple type, which bear the type's name."""
    digits = (element.name or "").rpartition("_")[2]
    return int(digits) if digits.isdecimal() else None


def _child(element: Any | None, number: int) -> Any | None:
    """The component or subcomponent at a place. Parts of a composite type are numbered, with blank ones left out;
    parts of a simple type, which by the standard has one, stand in order.
    """
    children = [] if element is None else list(element.children)
    numbered = {_number(child): child for child in children if _number(child) is not None}
    if numbered:
        return numbered.get(number)
    return children[number - 1] if number <= len(children) else None


def _written(value: Any) -> str:
    """A leaf's text as it stood in the message. Dates lose their zone if taken any other way."""
    if value is None or isinstance(value, str):
        return value or ""
    return value.value if isinstance(value.value, str) else str(value.to_er7())
