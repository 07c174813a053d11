"""Records that are made to cost: each shape is one way to make a decoder work, at any size up to the largest record.

`HL7` and `DICOM` map a shape's name to a maker, which takes a size in bytes and gives a record of about that size.
`legal()` holds the dearest recordings that must still be read.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import product
from typing import Final

from tests.support.hl7_messages import MSH, OBR, PID, RATE, arrays, message
from tests.support.hostile_objects import DICOM, data_set, part_10

Maker = Callable[[int], bytes]

PV1: Final = "PV1|1|I"
ORC: Final = "ORC|RE|P1|F1"

# Units that a field is filled with: what separates, what stands for something else, what looks like a number or a date.
_UNITS: Final = ("A", "9", " ", "~", "^", "&", "~^&", "\\", "\\E\\", "\\X41\\", "\\X", "é", "1.", "<", "\x00", "\x1b$B")
_FIELDS: Final = {
    "MSH": (3, 4, 7, 9, 10, 12, 18, 21),
    "PID": (2, 3, 5, 7, 8),
    "PV1": (3, 19),
    "ORC": (2, 3, 7),
    "OBR": (2, 3, 5, 7, 13, 16, 25, 27, 31),
}
_CHARSETS: Final = {
    "8859/1": "é",
    "GB 18030-2000": "中",
    "BIG-5": "中",
    "KS X 1001": "가",
    "ISO IR87": "あA",
    "UTF-8": "é",
}  # fmt: skip
_CODECS: Final = {
    "8859/1": "latin-1", "GB 18030-2000": "gb18030", "BIG-5": "big5", "KS X 1001": "euc_kr",
    "ISO IR87": "iso2022_jp_ext", "UTF-8": "utf-8",
}  # fmt: skip


def filled(unit: str, size: int) -> str:
    """So many bytes of a unit."""
    return unit * max(1, size // len(unit.encode()))


def with_field(line: str, number: int, text: str) -> str:
    """A segment with another field; MSH-1 is the separator."""
    index = number - 1 if line.startswith("MSH") else number
    fields = line.split("|")
    fields += [""] * (index + 1 - len(fields))
    fields[index] = text
    return "|".join(fields)


def built(lines: Mapping[str, str], before: Iterable[str] = (), obx: Iterable[str] | None = None) -> bytes:
    """A message with some of its segments replaced."""
    head = {"MSH": MSH, "PID": PID, "PV1": PV1, "ORC": ORC, "OBR": OBR} | dict(lines)
    pid = "\r".join((head["PID"], head["PV1"], head["ORC"]))
    return message(msh=head["MSH"], pid=pid, obr=head["OBR"], before=before, obx=obx).encode()


def _one_field(name: str, number: int, unit: str, size: int) -> bytes:
    base = {"MSH": MSH, "PID": PID, "PV1": PV1, "ORC": ORC, "OBR": OBR}[name]
    return built({name: with_field(base, number, filled(unit, size))})


def _between(name: str, number: int, unit: str, size: int) -> bytes:
    """Blanks and the like are cut off at the ends of a value: here they stand between letters."""
    base = {"MSH": MSH, "PID": PID, "PV1": PV1, "ORC": ORC, "OBR": OBR}[name]
    return built({name: with_field(base, number, f"A{filled(unit, size)}A")})


def _fields() -> Iterator[tuple[str, Maker]]:
    for unit in _UNITS:
        yield f"MSH-18 of {unit!r}", partial(_one_field, "MSH", 18, unit)
    for name, numbers in _FIELDS.items():
        for number in numbers:
            for unit in ("~", "\\E\\", "é"):
                yield f"{name}-{number} of {unit!r}", partial(_one_field, name, number, unit)
            yield f"{name}-{number} of blanks between letters", partial(_between, name, number, " ")
    for listed in ("8859/1~", "ISO IR87~", "ASCII~8859/1~", "X~", "UNICODE UTF-8~8859/1~"):
        yield f"MSH-18 of {listed!r}", partial(_one_field, "MSH", 18, listed)


def _repeated(line: str, count: int, unit: str, size: int) -> bytes:
    """One segment many times, its `{}` filled so that all together have the size."""
    text = line.format(filled(unit, min(size // count, size)))
    return built({}, before=[text] * count)


def _results(line: str, count: int, unit: str, size: int) -> bytes:
    """The same among the results, each under a number of its own (`{n}`)."""
    text = filled(unit, size // count)
    return built({}, obx=[RATE, *arrays(), *(line.format(text, n=n) for n in range(count))])


_SEGMENTS: Final = ("NTE|1||{}", "DG1|1||{}", "DG1|1|||{}", "ZXX|{}", "TQ1|1||||||||{}", "ORC|RE|{}", "OBR|1||||{}")
_SIGNAL: Final = {
    "NA of another signal": "OBX|9|NA|1^HR^L|1.{n}|{}|uV",
    "NA of one lead": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|{}|uV",
    "MA of one lead": "OBX|9|MA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|{}|uV",
    "NM": "OBX|9|NM|1^HR^L|1.{n}|{}|uV",
    "TX": "OBX|9|TX|1^HR^L|1.{n}|{}|uV",
    "OBX-3": "OBX|9|NA|{}|1.{n}|1^2|uV",
    "OBX-4": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|{}|1^2|uV",
    "OBX-6": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|1^2|{}",
    "OBX-11": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|1^2|uV|||||{}",
    "OBX-14": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|1^2|uV||||||||{}",
    "OBX-18": "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.{n}|1^2|uV||||||||||||{}",
    "rate facet": "OBX|9|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.{n}.1|{}|Hz",
    "range facet": "OBX|9|NR|0^MDC_ATTR_DATA_RANGE^MDC|1.{n}.1|{}|uV",
    "ED": "OBX|9|ED|1^ECG^L|{n}|CART^IM^X^Base64^{}",
    "ED in hex": "OBX|9|ED|1^ECG^L|{n}|CART^IM^X^HEX^{}",
    "ED as text": "OBX|9|ED|1^ECG^L|{n}|CART^IM^X^A^{}",
    "ED of DICOM": "OBX|9|ED|1^ECG^L|{n}|CART^IM^DICOM^Base64^{}",
    "ED without a type": "OBX|9|ED|1^ECG^L|{n}|{}",
    "wrapped ED": "OBX|9|ED|1^ECG^L|{n}|CART^IM^X^Base64^\r{}",
}  # fmt: skip
_VALUES: Final = (
    "1", "12^", "^", "1.5^", "1e5^", '""^', "-1.234567890123456^", "~", "1~", "1^2~", "junk", "A", "\\E\\", "\\.br\\",
    "QUJD ", "QUJD\r", "1.1.", "A^", "&",
)  # fmt: skip


def _segments() -> Iterator[tuple[str, Maker]]:
    for line in _SEGMENTS:
        for count in (1, 150, 1900):
            for unit in ("~", "\\E\\", "A \u0316\u0301"):
                yield f"{count} of {line} of {unit!r}", partial(_repeated, line, count, unit)
    for name, line in _SIGNAL.items():
        many = "lead" in name or "facet" in name or "wrapped" in name
        for count in (1, 17, 180) if many else (1, 180, 1900):
            for unit in _VALUES if many else ("A", "~", "\\.br\\", "QUJD "):
                yield f"{count} {name} of {unit!r}", partial(_results, line, count, unit)


def _facet(line: str, unit: str, size: int) -> bytes:
    """What describes every lead."""
    rate = [RATE] if "RANGE" in line else []
    return built({}, obx=[*rate, line.format(filled(unit, size) + "1"), *arrays()])


def _chapter_7(part: str, count: int, unit: str, size: int) -> bytes:
    """Chapter 7's notation with one of its parts filled."""
    parts = {
        "TIM": "OBX|1|TS|1&TIM|1|20260323085500",
        "CHN": "OBX|2|CD|1&CHN|1|1&MDC_ECG_LEAD_I^^1&uV^1^500^0&1",
        "WAV": "OBX|3|NA|1&WAV|1|1^2^3",
    }
    lines = [*parts.values(), *[with_field(parts[part], 5, filled(unit, size // count))] * count]
    return built({}, obx=lines)


def _charset(name: str, count: int, unit: bytes, size: int) -> bytes:
    """A text of one character set's costliest bytes."""
    head = message(msh=MSH.replace("UNICODE UTF-8", name), obx=[]).encode()
    one = b"NTE|1||" + unit * (size // count // len(unit))
    tail = "\r".join([RATE, *arrays()]).encode()
    return head + b"\r".join([*[one] * count, tail])


def _line_ends(unit: bytes, size: int) -> bytes:
    return message().encode() + unit * (size // len(unit))


def _near_limits(fields: Iterable[int], text: str, size: int) -> bytes:
    """As many results as are parsed, some fields of each as long as they may be."""
    del size
    line = "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.1|1^2|uV"
    for field in fields:
        line = with_field(line, field, text)
    return built({}, obx=[RATE, "OBX|1|NR|0^MDC_ATTR_DATA_RANGE^MDC|1.1|-9999^9999|uV", *arrays(), *[line] * 180])


def _above_near_limits(name: str, fields: Iterable[int], text: str, size: int) -> bytes:
    """The same above the results."""
    del size
    line = name
    for field in fields:
        line = with_field(line, field, text)
    return built({}, before=[line] * 180)


def _groups(line: str, count: int, size: int) -> bytes:
    """Many orders, each with a waveform of its own."""
    one = [OBR, RATE, line.format(filled("12^", size // count))]
    return built({}, obx=one * count)


def _object_of(unit: str, encoding: str, size: int) -> bytes:
    """What begins like DICOM, so that all of it is decoded."""
    head = part_10(data_set())[:400]
    written = head.hex() if encoding == "HEX" else base64.b64encode(head[:399]).decode()
    return built({}, obx=[f"OBX|1|ED|1^ECG^L|1|CART^IM^DICOM^{encoding}^{written}{filled(unit, size)}"])


@cache
def _inside(name: str, size: int) -> str:
    return base64.b64encode(DICOM[name](size)).decode()


def _embedded(name: str, count: int, size: int) -> bytes:
    """A hostile object inside a message, once or under many orders."""
    value = _inside(name, max(1, size * 3 // 4 // count - 60_000))
    one = [OBR, f"OBX|1|ED|1^ECG^L|1|CART^IM^DICOM^Base64^{value}"]
    return built({}, obx=one * count)


def _others() -> Iterator[tuple[str, Maker]]:
    for part in ("TIM", "CHN", "WAV"):
        for count in (1, 17):
            for unit in _VALUES:
                yield f"{count} {part} of {unit!r}", partial(_chapter_7, part, count, unit)
    for name, kind in (("SAMP_RATE", "NM"), ("DATA_RANGE", "NR")):
        for unit in _VALUES:
            line = f"OBX|1|{kind}|0^MDC_ATTR_{name}^MDC|1.0|{{}}|Hz"
            yield f"{name} of all leads of {unit!r}", partial(_facet, line, unit)
    for name, text in _CHARSETS.items():
        dense = text.encode(_CODECS[name])
        for count in (1, 1900):
            yield f"{count} NTE in {name}", partial(_charset, name, count, dense)
    for raw in (b"\x1b$B\x1b(B", b'\x1b$B$"', b"\x1b", b"\xff", b"\x0e"):
        yield f"NTE of {raw!r} in ISO IR87", partial(_charset, "ISO IR87", 1, raw)
    for raw in (
        b"\r",
        b"\n",
        b"\r\n",
        b"\x0b",
        b"\x1c",
        b" \r",
        b"\x00",
        b"\x00\r",
        b"MSH|",
        b"\rMSH|^~\\&|",
        b"\rPID|",
    ):
        yield f"line ends {raw!r}", partial(_line_ends, raw)
    long = ("A" * 1990, "9" * 1990, "1." * 995, f"A{' ' * 1980}A", "\\E\\" * 660, "é" * 1990)
    short = ("9" * 64, *(mark * 10 for mark in "^~&"), *(mark * 3 for mark in "^~&"))
    for fields in ((3,), (4,), (6,), (14,), (18,), (3, 4, 6, 18)):
        for text in (*long, *short):
            name = f"180 results, OBX-{fields} of {len(text)} {text[:3]!r}"
            yield name, partial(_near_limits, fields, text)
    above = {"ORC": (2, 3, 7), "OBR": (2, 3, 5, 27), "TQ1": (9,), "PV1": (19,)}
    for segment, numbers in above.items():
        for text in (*long, *short):
            yield f"180 {segment} of {len(text)} {text[:3]!r}", partial(_above_near_limits, segment, numbers, text)
    for unit, encoding in product(("\\.br\\", "\\X0D0A\\", "\\X0D", " ", "QUJD ", "41 "), ("Base64", "HEX")):
        yield f"object of {unit!r} in {encoding}", partial(_object_of, unit, encoding)
    for count in (60, 90):
        yield f"{count} orders with arrays", partial(_groups, "OBX|9|NA|131329^MDC_ECG_LEAD_I^MDC|1.1|{}1|uV", count)
        yield f"{count} orders with objects", partial(_embedded, "one long private element", count)
    for name in ("100000 elements", "49000 items", "twelve deep and wide", "PatientID of b'\\x01'", "bomb of zeros"):
        yield f"object inside: {name}", partial(_embedded, name, 1)


HL7: Final[dict[str, Maker]] = dict([*_fields(), *_segments(), *_others()])
