"""From the bytes of a DICOM object to its data set, strictly.

pydicom reads what it can: a cut file loses elements without a word, of two PatientIDs the last wins, a private transfer
syntax is guessed, a deflated bomb is inflated whole, and warnings carry field values. Of a medical record all of that
has to be refused, so elements are framed here, every length checked, in a fifth of the time; pydicom supplies the
dictionary and the character sets.
"""

import math
import re
import zlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from struct import Struct
from typing import Final, NoReturn

from pydicom.charset import decode_bytes, python_encoding
from pydicom.config import strict_reading
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, TEXT_VR_DELIMS

from schemas.rejection import Reason, Rejected

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"

# As much as the log lets a record have that is not deflated; a test holds the two equal, as this room knows no log.
MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024
# A 24-channel ECG with 77 annotations has 1,900; a hundred thousand take a fifth of a second.
MAX_ELEMENTS: Final = 100_000
# Of a value that is read as text: LO has 64 characters, of up to four bytes.
MAX_TEXT_BYTES: Final = 1024
# Of free text that is shown to the model (LT has 10,240 characters, UT any number).
MAX_PROSE_BYTES: Final = 64_000
# Changes of character set in one value, and in one of free text; each costs 10 µs.
MAX_ESCAPES: Final = 16
MAX_PROSE_ESCAPES: Final = 2000
# Specific Character Set: all the terms that there are take less.
MAX_CHARACTER_SET_BYTES: Final = 512
# The deepest ECG object nests four.
MAX_DEPTH: Final = 12

# The only sequences whose content is kept; in implicit VR nothing else says that they are sequences.
_SEQUENCES: Final = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "WaveformSequence",
        "ChannelDefinitionSequence",
        "ChannelSourceSequence",
        "ChannelSensitivityUnitsSequence",
        "RequestAttributesSequence",
        "ReasonForRequestedProcedureCodeSequence",
    )
)

_LONG_FORM: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_EXPLICIT: Final = Struct("<HH2sH")
_IMPLICIT: Final = Struct("<HHL")
_LENGTH: Final = Struct("<L")
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_CHARACTER_SET: Final = 0x00080005
_TRANSFER_SYNTAX: Final = 0x00020010

# PS3.5, value representation DS. float() alone would also take "nan", "1_0" and digits of other scripts.
_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

# What stands for text that its character set does not explain.
UNREADABLE: Final = "\ufffd"


def malformed(detail: str) -> NoReturn:
    """Reject the object; `detail` is structural, never a value."""
    raise Rejected(Reason.DICOM_MALFORMED, detail) from None


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Python codecs for the text of a data set, the first one until an escape sequence changes it.

    `known` is False if the object names a set that is not the standard's: then only ASCII is taken for readable.
    """

    codecs: tuple[str, ...] = ("ascii",)
    known: bool = True


@dataclass(frozen=True, slots=True)
class DataSet:
    """The elements of a data set or of a sequence item, by tag, and the character set of its text.

    The accessors take DICOM keywords. They return None for an element that is absent or empty, and raise Rejected for
    one whose value is not of its kind. The values stay out of its repr.
    """

    elements: dict[int, "bytes | list[DataSet]"] = field(repr=False)
    character_set: CharacterSet

    def __contains__(self, keyword: str) -> bool:
        return tag_for_keyword(keyword) in self.elements

    def raw(self, keyword: str) -> bytes | None:
        """The value's bytes."""
        value = self.elements.get(tag_for_keyword(keyword) or 0)
        if isinstance(value, list):
            malformed(f"{keyword} is a sequence")
        return value or None

    def text(self, keyword: str) -> str | None:
        """Text without its padding; what the character set does not explain reads as U+FFFD.

        Raises Rejected `ecg.field_too_long` for what no value representation of one line allows.
        """
        return self._text(keyword, MAX_TEXT_BYTES, MAX_ESCAPES)

    def prose(self, keyword: str) -> str | None:
        """Free text, as `text` has it; raises Rejected `ecg.field_too_long` for more than anyone writes."""
        return self._text(keyword, MAX_PROSE_BYTES, MAX_PROSE_ESCAPES)

    def _text(self, keyword: str, max_bytes: int, max_escapes: int) -> str | None:
        value = self.raw(keyword)
        if value is None:
            return None
        if len(value) > max_bytes:
            raise Rejected(Reason.ECG_FIELD_TOO_LONG, keyword)
        if value.count(b"\x1b") > max_escapes:
            return UNREADABLE
        return _decode(value, self.character_set.codecs).strip(" \0\r\n\t") or None

    def single(self, keyword: str) -> str | None:
        """Text that must be one value and readable: an identifier that is half understood names somebody else."""
        value = self.text(keyword)
        if value is not None and "\\" in value:
            malformed(f"{keyword} has several values")
        if value is not None and UNREADABLE in value:
            malformed(f"{keyword} is not in the stated character set")
        return value

    def number(self, keyword: str) -> float | None:
        """A decimal string."""
        value = self.text(keyword)
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value) or not math.isfinite(float(value)):
            malformed(f"{keyword} is no number")
        return float(value)

    def integer(self, keyword: str) -> int | None:
        """An unsigned binary integer of 16 or 32 bits."""
        value = self.raw(keyword)
        if value is None:
            return None
        if len(value) not in (2, 4):
            malformed(f"{keyword} is no integer")
        return int.from_bytes(value, "little")

    def items(self, keyword: str) -> list["DataSet"]:
        """The items of a sequence; none if it is absent."""
        value = self.elements.get(tag_for_keyword(keyword) or 0, [])
        if not isinstance(value, list):
            malformed(f"{keyword} is no sequence")
        return value


def looks_like_dicom(payload: bytes) -> bool:
    """Whether the bytes are DICOM Part 10, or begin like a little-endian meta group or data set without preamble."""
    if _has_preamble(payload):
        return True
    return len(payload) >= 8 and payload[:2] in (b"\x02\x00", b"\x08\x00")


def read_data_set(payload: bytes) -> DataSet:
    """The data set of a DICOM object: Part 10, or bare as some carts send it.

    Raises Rejected: `dicom.transfer_syntax` unless it is implicit, explicit or deflated little endian,
    `dicom.too_large`, and `dicom.malformed` for whatever breaks the encoding rules or ends too early.
    """
    start = 132 if _has_preamble(payload) else 0
    if payload[start : start + 2] != b"\x02\x00":
        # PS3.5, 7.1: in explicit VR two capitals follow the tag; no length in implicit VR looks like that.
        implicit = not (payload[4:6].isalpha() and payload[4:6].isupper())
        return _Reader(payload).read(0, implicit)
    meta = _Reader(payload)
    elements, at = meta.file_meta(start)
    syntax = elements.get(_TRANSFER_SYNTAX, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if syntax == DEFLATED_LITTLE_ENDIAN:
        return _Reader(_inflate(payload[at:])).read(0, implicit=False)
    if syntax not in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN):
        raise Rejected(Reason.DICOM_TRANSFER_SYNTAX, "stated in the meta information" if syntax else "not stated")
    return meta.read(at, implicit=syntax == IMPLICIT_LITTLE_ENDIAN)


def _has_preamble(payload: bytes) -> bool:
    # The meta group has to follow: text that happens to say DICM at 128 is not DICOM.
    return payload[128:134] == b"DICM\x02\x00"


def _inflate(deflated: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(deflated, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        malformed("deflated data set is corrupt")
    if len(inflated) > MAX_INFLATED_BYTES:
        raise Rejected(Reason.DICOM_TOO_LARGE, "inflated data set")
    if not inflater.eof:
        malformed("deflated data set is cut")
    return inflated


def _decode(raw: bytes, codecs: tuple[str, ...]) -> str:
    if b"\x1b" not in raw:
        return raw.decode(codecs[0], "replace")
    try:
        with strict_reading():
            return decode_bytes(raw, codecs, TEXT_VR_DELIMS)
    except (ValueError, LookupError):
        return UNREADABLE


@dataclass(frozen=True, slots=True)
class _Context:
    """What holds for the elements of a data set and is handed down into its sequences."""

    implicit: bool
    character_set: CharacterSet = CharacterSet()
    depth: int = 0

    def inside(self, vr: bytes) -> "_Context":
        """The context within a sequence of this VR."""
        if self.depth == MAX_DEPTH:
            malformed("sequences are nested too deep")
        # PS3.5, 6.2.2: a sequence of unknown VR is encoded in implicit VR.
        return replace(self, implicit=self.implicit or vr == b"UN", depth=self.depth + 1)


@dataclass(slots=True)
class _Reader:
    """Walks the elements of one object. `at` and `end` are offsets into `data`."""

    data: bytes = field(repr=False)
    elements_read: int = field(default=0, init=False)

    def read(self, at: int, implicit: bool) -> DataSet:
        """The data set that begins at `at` and ends with the data."""
        found, _ = self._elements(at, len(self.data), _Context(implicit))
        return found

    def file_meta(self, at: int) -> tuple[dict[int, bytes], int]:
        """The elements of group 0002, always in explicit VR, and where they end."""
        found: dict[int, bytes] = {}
        while self.data[at : at + 2] == b"\x02\x00":
            tag, vr, length, at = self._header(at, len(self.data), implicit=False)
            if vr == b"SQ" or length > len(self.data) - at:
                malformed("the meta information is cut")
            found[tag] = self.data[at : at + length]
            at += length
        return found, at

    def _header(self, at: int, end: int, implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty in implicit VR and for delimiters), length, and where the value begins."""
        self.elements_read += 1
        if self.elements_read > MAX_ELEMENTS:
            raise Rejected(Reason.DICOM_TOO_LARGE, "too many elements")
        if end - at < 8:
            malformed("an element's header is cut")
        group, element, length = _IMPLICIT.unpack_from(self.data, at)
        tag = group << 16 | element
        if implicit or group == 0xFFFE:
            return tag, b"", length, at + 8
        _, _, vr, length = _EXPLICIT.unpack_from(self.data, at)
        if not (vr.isalpha() and vr.isupper()):
            malformed("an element has no value representation")
        if vr not in _LONG_FORM:
            return tag, vr, length, at + 8
        if end - at < 12:
            malformed("an element's header is cut")
        return tag, vr, _LENGTH.unpack_from(self.data, at + 8)[0], at + 12

    def _elements(self, at: int, end: int, context: _Context, delimited: bool = False) -> tuple[DataSet, int]:
        """Elements up to `end`, or to an item delimiter if `delimited`; and where they ended."""
        found: dict[int, bytes | list[DataSet]] = {}
        while at < end:
            tag, vr, length, at = self._header(at, end, context.implicit)
            if tag == _ITEM_END and delimited:
                return DataSet(found, context.character_set), at
            if tag in found or tag >> 16 == 0xFFFE:
                malformed("an element occurs twice, or a delimiter where none belongs")
            if length != _UNDEFINED and length > end - at:
                malformed("an element ends beyond its data set")
            if length == _UNDEFINED or tag in _SEQUENCES:
                if vr not in (b"", b"SQ", b"UN"):
                    malformed("a sequence has another value representation")
                found[tag], at = self._items(at, length, end, context.inside(vr))
                continue
            value = self.data[at : at + length]
            found[tag] = value
            at += length
            if tag == _CHARACTER_SET:
                if length > MAX_CHARACTER_SET_BYTES:
                    malformed("SpecificCharacterSet is longer than all sets together")
                context = replace(context, character_set=_character_set(value))
        if delimited:
            malformed("an item is not closed")
        return DataSet(found, context.character_set), at

    def _items(self, at: int, length: int, end: int, context: _Context) -> tuple[list[DataSet], int]:
        """The items of a sequence, and where it ended."""
        items: list[DataSet] = []
        delimited = length == _UNDEFINED
        end = end if delimited else at + length
        while at < end:
            tag, _, length, at = self._header(at, end, implicit=True)
            if tag == _SEQUENCE_END and delimited:
                return items, at
            if tag != _ITEM or (length != _UNDEFINED and length > end - at):
                malformed("a sequence holds something else than items")
            if length == _UNDEFINED:
                item, at = self._elements(at, end, context, delimited=True)
            else:
                item, at = self._elements(at, at + length, context)
            items.append(item)
        if delimited:
            malformed("a sequence is not closed")
        return items, at


@lru_cache(maxsize=64)
def _character_set(value: bytes) -> CharacterSet:
    """What SpecificCharacterSet means."""
    terms = [term.strip() for term in value.decode("ascii", "replace").rstrip("\0 ").split("\\")]
    if any(term not in python_encoding for term in terms):
        return CharacterSet(known=False)
    # The default repertoire is ASCII. pydicom takes Latin-1 for it, which gives wrong letters instead of none.
    return CharacterSet(
        tuple("ascii" if term in ("", "ISO_IR 6", "ISO 2022 IR 6") else python_encoding[term] for term in terms)
    )
