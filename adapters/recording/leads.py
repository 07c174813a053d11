"""Lead names as ECG systems write them, brought to the twelve standard ones.

One number stands for a lead in three code systems: MDC in DICOM ("2:n"), SCP-ECG ("5.6.3-9-n"), and MDC in HL7 and IHE
PCD (131328 + n). IEEE 11073-10102 defines the numbers.
"""

import re
from typing import Final

_HL7_MDC_BASE: Final = 131328

_BY_NUMBER: Final = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
# DICOM's LO. No lead's name has half of it, and what takes decorations off needs the square of the length.
MAX_NAME_CHARACTERS: Final = 64

_BY_NAME: Final = {name.upper(): name for name in _BY_NUMBER.values()}

# "Lead I (Einthoven)", "MDC_ECG_LEAD_V1", "MDC_ECG_ELEC_POTL_AVR", "lead avf", "aVF, augmented voltage, foot"
_DECORATION: Final = re.compile(
    r"^(?:MDC_ECG_(?:LEAD|ELEC_POTL)_|LEAD[\s_]+)|\s*\(EINTHOVEN\)$|, augmented voltage, (?:right|left|foot)$",
    re.IGNORECASE,
)


def lead_from_number(number: int) -> str | None:
    """The lead with this code number; None for a channel that is none of the twelve."""
    return _BY_NUMBER.get(number)


def lead_from_code(code: str) -> str | None:
    """The lead of an MDC ("2:3", "131331") or SCP-ECG ("5.6.3-9-3") code; None if the code is no lead's."""
    match = re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d{1,3})", code.strip())
    if match:
        return lead_from_number(int(match[1]))
    if re.fullmatch(r"\d{6}", code.strip()):
        return lead_from_number(int(code) - _HL7_MDC_BASE)
    return None


def lead_from_name(name: str) -> str | None:
    """The lead that a display name or an MDC reference id means; None if it is none of the twelve."""
    if len(name) > MAX_NAME_CHARACTERS:
        return None
    bare = _DECORATION.sub("", _DECORATION.sub("", name.strip()))
    return _BY_NAME.get(bare.strip().upper())
