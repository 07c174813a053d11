"""From the bytes of an HL7 v2 record to its segments, with nothing lost and nothing merged.

hl7apy is never given a raw message: it takes two messages run together for one, reads only MSH if lines end in LF,
turns a line broken inside a value into a segment, and needs seconds for a waveform. Here the framing comes off, the
character set is settled before anything is cut (the second byte of a GB 18030 or Big5 character can be a delimiter),
and counts are taken.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.text import Delimiters
from adapters.recording.site import SiteDefaults
from schemas.rejection import Reason, Rejected

# Carts send up to 600 measurements, one segment each; everything that is read of a segment costs parser time.
MAX_SEGMENTS: Final = 2000
# The longest segment of any version, PV1, has 54 fields; sites append a few.
MAX_FIELDS: Final = 100
# MSH is decoded once for every character set that there is, to find the one it names: real ones have 500 bytes.
MAX_HEADER_BYTES: Final = 8000
# All sets of table 0211 together.
MAX_CHARSETS: Final = 24
# Base64 wrapped at 76 characters needs this many lines for as large a record as the worker takes.
MAX_LINES: Final = 250_000

# Byte order mark of UTF-8, MLLP's VT and FS, and blanks: what may stand before the first segment.
FRAMING: Final = b"\xef\xbb\xbf\x0b\x1c\r\n\t "
# MLLP's VT and FS and both line ends become CR. None of them is part of a multi-byte character in any set below.
LINE_ENDS: Final = bytes.maketrans(b"\n\x0b\x1c", b"\r\r\r")
_OPENING: Final = re.compile(rb"(?:MSH|FHS|BHS)[^\w\s]")
_BATCH: Final = frozenset({"FHS", "BHS", "BTS", "FTS"})

# HL7 table 0211, and spellings in use. Every set here writes the letters of MSH as ASCII does.
_CODECS: Final = {
    "ASCII": "ascii", "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "UNICODE UTF-8": "utf_8", "UNICODE": "utf_8", "UTF-8": "utf_8", "UTF8": "utf_8",
    "GB 18030-2000": "gb18030", "GB18030": "gb18030", "BIG-5": "big5", "KS X 1001": "euc_kr",
    "ISO IR13": "iso2022_jp_ext", "ISO IR14": "iso2022_jp_ext",
    "ISO IR87": "iso2022_jp_ext", "ISO IR159": "iso2022_jp_ext",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawSegment:
    """A segment's name and its fields as written: `fields[n]` is field n, in MSH too, where MSH-1 is the separator."""

    name: str
    fields: Sequence[str]

    def field(self, number: int) -> str:
        """The field as written, with its delimiters and escapes; empty if the segment ends before it."""
        return self.fields[number] if number < len(self.fields) else ""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message: exactly one MSH, which comes first, and exactly one PID."""

    delimiters: Delimiters
    codec: str
    segments: tuple[RawSegment, ...]


def looks_like_hl7v2(payload: bytes) -> bool:
    """Whether the bytes begin as an HL7 v2 message or batch does, framed or not."""
    return _OPENING.match(payload[:256].lstrip(FRAMING)) is not None


def split_message(payload: bytes, site: SiteDefaults) -> RawMessage:
    """Cut a record into segments. A batch is accepted if it holds one message.

    Raises Rejected: `hl7.malformed`, `hl7.encoding`, `hl7.too_complex`, `hl7.two_messages`, `hl7.two_patients`,
    `hl7.no_patient`.
    """
    unframed = payload.lstrip(FRAMING).translate(LINE_ENDS).rstrip(b"\r")
    if unframed.count(b"\r") > MAX_LINES:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "lines")
    lines = [line for line in unframed.split(b"\r") if line.strip()]
    headers = [line for line in lines if line[:3] == b"MSH" and _OPENING.match(line)]
    if not headers:
        raise Rejected(Reason.HL7_MALFORMED, "no MSH")
    if len(headers) > 1:
        raise Rejected(Reason.HL7_TWO_MESSAGES, f"{len(headers)} MSH")
    check_header(headers[0])
    delimiters = delimiters_of(headers[0])
    codec = _codec(headers[0], delimiters, site)
    texts = _decoded(lines, codec)
    if texts is None:
        raise Rejected(Reason.HL7_ENCODING, "bytes do not follow the character set")
    segments = _without_batch(_segments(texts, delimiters))
    if segments[0].name != "MSH":
        raise Rejected(Reason.HL7_MALFORMED, "MSH is not first")
    patients = sum(segment.name == "PID" for segment in segments)
    if patients != 1:
        raise Rejected(Reason.HL7_TWO_PATIENTS if patients else Reason.HL7_NO_PATIENT, f"{patients} PID")
    return RawMessage(delimiters, codec, segments)


def check_header(header: bytes) -> None:
    """Raise Rejected `hl7.too_complex` if MSH is longer than any is: looked at before anything of it is read."""
    if len(header) > MAX_HEADER_BYTES:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "MSH's length")


def delimiters_of(header: bytes) -> Delimiters:
    """MSH-1 and MSH-2; a fifth encoding character, the truncation mark of version 2.7, means nothing here."""
    separator = header[3:4]
    encoding = header[4:].split(separator, 1)[0]
    declared = separator + encoding[:4]
    if len(encoding) not in (4, 5) or len(set(declared)) != 5 or not re.fullmatch(rb"[!-/:-@\[-`{-~]{5}", declared):
        raise Rejected(Reason.HL7_MALFORMED, "MSH-1 or MSH-2")
    return Delimiters(*declared.decode("ascii"))


def _codec(header: bytes, delimiters: Delimiters, site: SiteDefaults) -> str:
    """The character set under which the header names that very set.

    A peek at the bytes is not enough: a name in MSH-4 can hold a delimiter as the second half of a character.
    """
    for codec in dict.fromkeys(_CODECS.values()):
        text = _decoded([header], codec)
        if text is not None and named_codec(_msh_18(text[0], delimiters), delimiters) == codec:
            return codec
    fallback = site.charset or "utf_8"
    text = _decoded([header], fallback)
    if text is None or _msh_18(text[0], delimiters).strip(delimiters.repetition + ' "'):
        raise Rejected(Reason.HL7_ENCODING, "MSH-18")
    return fallback


def _msh_18(header: str, delimiters: Delimiters) -> str:
    fields = header.split(delimiters.field)
    return fields[17] if len(fields) > 17 else ""


def named_codec(charset: str, delimiters: Delimiters) -> str | None:
    """The one codec for all that MSH-18 lists: sets that switch by escape sequences share one, ASCII is in all.

    None if it lists none, several, or more than there are.
    """
    if charset.count(delimiters.repetition) >= MAX_CHARSETS:
        return None
    names = [name.strip().upper() for name in charset.split(delimiters.repetition)]
    codecs = {_CODECS.get(name) for name in names if name}
    if len(codecs) > 1:
        codecs.discard("ascii")
    return codecs.pop() if len(codecs) == 1 else None


def _decoded(lines: Sequence[bytes], codec: str) -> list[str] | None:
    """Line by line, because a set that switches starts anew on every segment."""
    try:
        return [line.decode(codec) for line in lines]
    except UnicodeDecodeError:
        return None


def _segments(lines: Sequence[str], delimiters: Delimiters) -> list[RawSegment]:
    """The lines as segments. Encapsulated data (OBX-5 of type ED) may be wrapped: until its field ends, lines go on."""
    field = re.escape(delimiters.field)
    opening = re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{field}|$)")
    in_data = re.compile(rf"OBX{field}[^{field}]*{field}ED(?:{field}[^{field}]*){{3}}")
    whole: list[list[str]] = []
    wrapped = False
    for line in lines:
        if opening.match(line):
            whole.append([line])
            wrapped = in_data.fullmatch(line) is not None
        elif wrapped:
            whole[-1].append(line)
            wrapped = delimiters.field not in line
        else:
            raise Rejected(Reason.HL7_MALFORMED, f"line {len(whole) + 1} is no segment")
    if len(whole) > MAX_SEGMENTS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "segments")
    return [_segment("".join(parts), delimiters) for parts in whole]


def _segment(line: str, delimiters: Delimiters) -> RawSegment:
    fields = line.split(delimiters.field, MAX_FIELDS + 1)
    if len(fields) > MAX_FIELDS + 1:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "fields of a segment")
    if fields[0] == "MSH":
        fields.insert(1, delimiters.field)
    return RawSegment(fields[0], fields)


def _without_batch(segments: Sequence[RawSegment]) -> tuple[RawSegment, ...]:
    """The message inside a batch of one; the trailer's count, if given, has to say one."""
    for segment in segments:
        if segment.name == "BTS" and segment.field(1).strip() not in ("", "1"):
            raise Rejected(Reason.HL7_TWO_MESSAGES, "BTS-1")
    return tuple(segment for segment in segments if segment.name not in _BATCH)
