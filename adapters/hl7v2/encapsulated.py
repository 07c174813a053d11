"""Objects that travel inside an HL7 v2 message as text (OBX-2 ED): the DICOM ECG is taken out, nothing else is opened.

An ED value is source^type^subtype^encoding^data. Senders differ in where they put the type and how they spell it, and
some send bare base64 instead: what an object is, its first bytes say. Links (OBX-2 RP) are never followed.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

from adapters.dicom.decode import looks_like_dicom
from adapters.hl7v2.fields import Segment
from schemas.rejection import Reason, Rejected

# The longest recording that passes is 2 MB as DICOM; four times that leaves room for what vendors put beside it.
MAX_OBJECT_BYTES: Final = 8 * 1024 * 1024
# One object an OBX is the rule.
MAX_REPETITIONS: Final = 16
# Enough, in hex too, to see DICOM's mark after its preamble of 128 bytes.
_HEAD_CHARACTERS: Final = 512


def read_encapsulated(observations: Sequence[Segment]) -> bytes | None:
    """The one DICOM object in these OBX segments; None if there is none.

    Raises Rejected: `hl7.encapsulated` if data that claims to be DICOM is not, or no data can be decoded at all;
    `hl7.too_complex` if the object is too large or one of many; `hl7.waveform` if there is more than one.
    """
    found: list[bytes] = []
    broken = False
    for obx in observations:
        if obx.raw.field(2).strip() != "ED":
            continue
        values = obx.raw.field(5).split(obx.delimiters.repetition, MAX_REPETITIONS)
        if len(values) > MAX_REPETITIONS:
            raise Rejected(Reason.HL7_TOO_COMPLEX, "repetitions of encapsulated data")
        for value in values:
            *described, data = value.split(obx.delimiters.component, 4)
            claimed = any("DICOM" in word.upper() for word in described)
            head = _decoded(obx, data, described, _HEAD_CHARACTERS)
            is_dicom = head is not None and looks_like_dicom(head)
            if claimed and not is_dicom:
                raise Rejected(Reason.HL7_ENCAPSULATED, "declared as DICOM, but is not")
            broken = broken or head is None
            if is_dicom:
                found.append(_whole(obx, data, described))
    if not found and broken:
        raise Rejected(Reason.HL7_ENCAPSULATED, "OBX-5 is no base64")
    if len(found) > 1:
        raise Rejected(Reason.HL7_WAVEFORM, "more than one DICOM object")
    return found[0] if found else None


def _whole(obx: Segment, data: str, described: Sequence[str]) -> bytes:
    if len(data) > MAX_OBJECT_BYTES * 2:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "encapsulated object")
    whole = _decoded(obx, data, described, len(data))
    if whole is None:
        raise Rejected(Reason.HL7_ENCAPSULATED, "OBX-5 is no base64")
    if len(whole) > MAX_OBJECT_BYTES:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "encapsulated object")
    return whole


def _decoded(obx: Segment, data: str, described: Sequence[str], limit: int) -> bytes | None:
    """The first `limit` characters as bytes: base64, unless ED-4 says hex or none (A). None if they are not."""
    mark = re.escape(obx.delimiters.escape)
    text = data[: limit * 2]
    if obx.delimiters.escape in text:
        text = re.sub(rf"{mark}(?:X(?:0[AaDd])+|\.br){mark}", "", text)
    text = "".join(text.split())[:limit]
    encoding = described[3].strip().upper() if len(described) > 3 else ""
    try:
        if encoding == "A":
            return text.encode()
        if encoding == "HEX":
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
