"""DICOM objects that are made to cost, written element by element: pydicom would not write most of them."""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword

from schemas.ecg import LEADS
from tests.support.dicom_objects import deflated, with_syntax

Maker = Callable[[int], bytes]

IMPLICIT: Final = b"1.2.840.10008.1.2"
EXPLICIT: Final = b"1.2.840.10008.1.2.1"
DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
GENERAL_32_BIT: Final = b"1.2.840.10008.5.1.4.1.1.9.1.4"

_NUMBERS: Final = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
_OPEN: Final = 0xFFFFFFFF

# Implicit VR, in which every value may have any length.


def raw(tag: int, value: bytes) -> bytes:
    """One element."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def put(keyword: str, value: bytes) -> bytes:
    """One element by its keyword."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return raw(tag, value)


def sequence(keyword: str, items: list[bytes], tag: int | None = None) -> bytes:
    """A sequence of undefined length, its items too."""
    found = tag or tag_for_keyword(keyword) or 0
    opened = struct.pack("<HHL", found >> 16, found & 0xFFFF, _OPEN)
    return opened + b"".join(item(content) for content in items) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def item(content: bytes) -> bytes:
    """An item of undefined length."""
    return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"


def _code(value: bytes, scheme: bytes, **changed: bytes) -> bytes:
    return _elements({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": b""} | changed)


def _elements(values: Mapping[str, bytes]) -> bytes:
    return b"".join(put(keyword, value) for keyword, value in values.items())


def channel(lead: str, sources: int = 1, changed: Mapping[str, bytes] | None = None) -> bytes:
    """A channel definition. What is changed is looked for in the channel, then in its source."""
    own = {"ChannelLabel": b"", "ChannelSensitivity": b"1", "ChannelSensitivityCorrectionFactor": b"1",
           "ChannelBaseline": b"0", "ChannelSampleSkew": b"0", "FilterLowFrequency": b"0.05"}  # fmt: skip
    source = {
        "CodeValue": f"2:{_NUMBERS[lead]}".encode() if lead in _NUMBERS else b"9:9",
        "CodingSchemeDesignator": b"MDC",
        "CodeMeaning": b"",
    }
    for keyword, value in (changed or {}).items():
        (own if keyword in own else source)[keyword] = value
    return (
        _elements(own)
        + sequence("ChannelSourceSequence", [_elements(source)] * sources)
        + sequence("ChannelSensitivityUnitsSequence", [_code(b"uV", b"UCUM")])
    )


def group(
    samples: NDArray[np.integer],
    channels: list[bytes] | None = None,
    sampling_hz: bytes = b"250",
    changed: Mapping[str, bytes] | None = None,
) -> bytes:
    """A multiplex group of samples x channels."""
    definitions = [channel(lead) for lead in LEADS] if channels is None else channels
    values = {
        "WaveformOriginality": b"ORIGINAL",
        "NumberOfWaveformChannels": struct.pack("<H", min(len(definitions), 65535)),
        "NumberOfWaveformSamples": struct.pack("<L", samples.shape[0]),
        "SamplingFrequency": sampling_hz,
        "MultiplexGroupLabel": b"RHYTHM",
        "WaveformBitsAllocated": struct.pack("<H", samples.dtype.itemsize * 8),
        "WaveformSampleInterpretation": b"SL" if samples.dtype.itemsize == 4 else b"SS",
    } | dict(changed or {})
    data = put("WaveformData", samples.tobytes())
    return _elements(values) + sequence("ChannelDefinitionSequence", definitions) + data


def data_set(groups: list[bytes] | None = None, changed: Mapping[str, bytes] | None = None, more: bytes = b"") -> bytes:
    """A data set in implicit VR."""
    values = {
        "SOPClassUID": GENERAL_32_BIT,
        "SOPInstanceUID": b"1.2.3",
        "PatientID": b"1",
        "AcquisitionDateTime": b"20260323085500+0100",
    } | dict(changed or {})
    if groups is None:
        groups = [group(np.zeros((2000, 12), "<i2"))]
    return _elements(values) + sequence("WaveformSequence", groups) + more


def part_10(content: bytes) -> bytes:
    """A file in implicit VR."""
    return with_syntax(IMPLICIT, content)


_TOP: Final = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "PatientID", "IssuerOfPatientID", "AdmissionID",
    "AccessionNumber", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "ReasonForStudy", "ReasonForTheRequestedProcedure", "AdmittingDiagnosesDescription", "AdditionalPatientHistory",
    "Manufacturer", "ManufacturerModelName", "PatientAge", "PatientBirthDate", "PatientSex", "AcquisitionDateTime",
    "TimezoneOffsetFromUTC", "ContentDate", "ContentTime", "RequestedProcedurePriority",
)  # fmt: skip
_IN_GROUP: Final = ("WaveformOriginality", "SamplingFrequency", "MultiplexGroupLabel", "WaveformPaddingValue")
_IN_CHANNEL: Final = (
    "ChannelLabel", "ChannelSensitivity", "ChannelSensitivityCorrectionFactor", "ChannelBaseline", "ChannelSampleSkew",
    "FilterLowFrequency", "CodeValue", "CodingSchemeDesignator", "CodeMeaning",
)  # fmt: skip
_FILLINGS: Final = (b"\\", b"\x01", b"\x1b$B", b"\xff")


def _filled(unit: bytes, size: int) -> bytes:
    # Blanks at the ends are padding: letters around them make them count.
    return b"A" + unit * (size // len(unit)) + b"A" if unit == b" " else unit * (size // len(unit))


def _top(keyword: str, unit: bytes, size: int) -> bytes:
    codes = {"SpecificCharacterSet": b"\\ISO 2022 IR 87"}
    return part_10(data_set(changed=codes | {keyword: _filled(unit, size)}))


def _in_group(keyword: str, unit: bytes, size: int) -> bytes:
    return part_10(data_set([group(np.zeros((2000, 12), "<i2"), changed={keyword: _filled(unit, size)})]))


def _in_channels(keyword: str, unit: bytes, count: int, sources: int, size: int) -> bytes:
    """The field in every channel, the channels named after no lead or, twelve of them, after all."""
    names = LEADS if count == 12 else ("other",) * count
    value = {keyword: _filled(unit, max(1, size // count // sources))}
    samples = np.zeros((2000, min(count, 64)), "<i2")
    top = {"SpecificCharacterSet": b"\\ISO 2022 IR 87"}
    return part_10(data_set([group(samples, [channel(name, sources, value) for name in names])], top))


def _texts_at_their_limits(unit: bytes, size: int) -> bytes:
    """Everything that is read of a channel, in as many channels, groups and sources as there may be."""
    del size
    value = dict.fromkeys(("ChannelLabel", "CodeMeaning", "CodingSchemeDesignator", "CodeValue"), unit)
    groups = [group(np.zeros((1, 1), "<i2"), [channel("other", 4, value)] * 8)] * 32
    top = {"SpecificCharacterSet": b"\\ISO 2022 IR 87", "AdditionalPatientHistory": b"\x1b" * 2000 + b"A" * 60_000}
    return part_10(data_set(groups, top))


def _texts() -> Iterator[tuple[str, Maker]]:
    for unit in (b"A", b"9", b" ", b"\x1b", b"\x1b$B\x1b(B", b"\\ISO 2022 IR 87"):
        yield f"ManufacturerModelName of {unit!r}", partial(_top, "ManufacturerModelName", unit)
    for keyword, unit in product(_TOP, _FILLINGS):
        yield f"{keyword} of {unit!r}", partial(_top, keyword, unit)
    for keyword, unit in product(_IN_GROUP, _FILLINGS):
        yield f"{keyword} of {unit!r}", partial(_in_group, keyword, unit)
    for keyword, unit, count in product(_IN_CHANNEL, (b"9", b"\x1b", b" "), (12, 64, 250)):
        yield f"{keyword} of {unit!r} in {count} channels", partial(_in_channels, keyword, unit, count, 1)
    for unit in (b"\x1b" * 16 + b"A" * 900, b"9" * 1000, b"A" + b" " * 900 + b"A"):
        name = f"every text of {len(unit)} {unit[:2]!r}"
        yield name, partial(_texts_at_their_limits, unit)
    for unit in (b"A", b"\x1b"):
        yield f"100 sources of {unit!r}", partial(_in_channels, "CodeMeaning", unit, 64, 100)


def _many_elements(size: int) -> bytes:
    each = max(0, size // 99_000 - 8)
    return part_10(data_set(more=b"".join(raw(0x00990000 + n, bytes(each)) for n in range(99_000))))


def _many_sequences(size: int) -> bytes:
    del size
    return part_10(data_set(more=b"".join(sequence("", [], 0x00990000 + n) for n in range(49_000))))


def _many_items(size: int) -> bytes:
    del size
    return part_10(data_set(more=sequence("", [b""] * 49_000, 0x00990000)))


def _deep(size: int) -> bytes:
    """Twelve deep and wide: thousands of items, each with the deepest sequence that is allowed."""
    del size
    nested = b""
    for n in range(11):
        nested = sequence("", [nested], 0x00990000 + n)
    return part_10(data_set(more=sequence("", [nested] * 2100, 0x00980000)))


def _too_deep(size: int) -> bytes:
    return part_10(data_set(more=b"\x99\x00\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * (size // 16)))


def _item_character_sets(value: bytes, size: int) -> bytes:
    """A character set of its own in every item."""
    one = put("SpecificCharacterSet", value * max(1, size // 30_000 // len(value)))
    return part_10(data_set(more=sequence("", [one] * 30_000, 0x00990000)))


def _many_groups(count: int, channels: int, size: int) -> bytes:
    del size
    one = group(np.zeros((1, 1), "<i2"), [channel("other")] * channels)
    return part_10(data_set([one] * count))


def _reasons(size: int) -> bytes:
    reason = put("CodeMeaning", b"\x1b$B" * max(1, size // 20_000 // 3))
    more = sequence("ReasonForRequestedProcedureCodeSequence", [reason] * 20_000)
    return part_10(data_set(changed={"SpecificCharacterSet": b"\\ISO 2022 IR 87"}, more=more))


def _samples(bits: int, channels: int, samples: int, sampling_hz: bytes, size: int) -> bytes:
    """As many samples as the limits and the size allow."""
    kind = np.dtype(f"<i{bits // 8}")
    count = min(samples, size // channels // kind.itemsize)
    definitions = [channel(lead) for lead in LEADS] + [channel("other")] * (channels - 12)
    return part_10(data_set([group(np.zeros((count, channels), kind), definitions, sampling_hz)]))


def _bomb(of: Maker, size: int) -> bytes:
    """Deflated: a few kilobytes that become as much as a record may have."""
    del size
    return with_syntax(DEFLATED, deflated(of(15_900_000)))


def _explicit(elements: int) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        each = max(0, min(60_000, size // elements - 8))
        one = [struct.pack("<HH2sH", 0x99, n, b"LO", each) + b"\x1b" * each for n in range(min(elements, 65_536))]
        return b"".join(one)

    return make


def _shapes() -> Iterator[tuple[str, Maker]]:
    yield "100000 elements", _many_elements
    yield "one long private element", lambda size: part_10(data_set(more=raw(0x00990000, bytes(size))))
    yield "49000 sequences", _many_sequences
    yield "49000 items", _many_items
    yield "twelve deep and wide", _deep
    yield "too deep", _too_deep
    for value in (b"\\", b"\\ISO 2022 IR 87", b"\\ISO_IR 100", b"A"):
        yield f"30000 character sets of {value!r}", partial(_item_character_sets, value)
    for count, channels in ((10_000, 0), (5000, 1), (100, 64), (1, 6000)):
        yield f"{count} groups of {channels} channels", partial(_many_groups, count, channels)
    yield "20000 reasons", _reasons
    for bits, channels, samples, hz in (
        (16, 12, 120_000, b"2000"), (32, 24, 120_000, b"2000"), (16, 64, 120_000, b"2000"), (32, 64, 60_000, b"2000"),
        (16, 64, 120_000, b"500"),
    ):  # fmt: skip
        yield f"{channels} channels x {samples} of {bits} bits", partial(_samples, bits, channels, samples, hz)
    yield "bomb of zeros", partial(_bomb, bytes)
    yield "bomb of elements", partial(_bomb, _explicit(65_000))
    yield "deflated junk", lambda size: with_syntax(DEFLATED, bytes(range(256)) * (size // 256))
    yield "junk", lambda size: part_10(bytes(range(256)) * (size // 256))
    yield "preamble only", lambda size: with_syntax(EXPLICIT, b"\x02\x00\x10\x00UI\x02\x001\x00" * (size // 10))
    yield "bare data set", lambda size: b"\x08\x00\x05\x00" + struct.pack("<L", size) + b"\\" * size


DICOM: Final[dict[str, Maker]] = dict([*_shapes(), *_texts()])
