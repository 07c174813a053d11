"""Numbers, units and lead names as HL7 v2 waveforms write them."""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapters.hl7v2.text import Delimiters
from adapters.recording.leads import lead_from_code, lead_from_name
from schemas.rejection import Reason, Rejected

# Of a message. Sixteen channels of 30 s at 2000 Hz: more than any recording that passes later.
MAX_VALUES: Final = 16 * 30 * 2000

_INTEGERS: Final = re.compile(r"[-+]?\d{1,9}+(?:\^[-+]?\d{1,9}+)*+", re.ASCII)
# Also keeps out what Python reads as a number and HL7 does not: nan, inf, 1_000, digits of other scripts.
_NUMERIC: Final = re.compile(r"[-+.0-9eE^ ]*")
# MDC's block of ECG leads in HL7's numbering, and its reference ids: leads, though not necessarily one of the twelve.
_SOME_LEAD: Final = re.compile(r"MDC_ECG_\w+|131(?:32[89]|3[3-9]\d|[45]\d\d)")

# UCUM, with the spellings without capitals of HL7's older unit table, and IEEE 11073-10101. "MV" is left out: it is
# millivolt in one of them and megavolt in the other.
_UV_PER_UNIT: Final = {
    "mV": 1000.0, "mv": 1000.0, "266418": 1000.0, "MDC_DIM_MILLI_VOLT": 1000.0,
    "uV": 1.0, "uv": 1.0, "\u00b5V": 1.0, "\u03bcV": 1.0, "266419": 1.0, "MDC_DIM_MICRO_VOLT": 1.0,
    "nV": 0.001, "266420": 0.001, "MDC_DIM_NANO_VOLT": 0.001,
}  # fmt: skip
_PER_SECOND: Final = frozenset({"HZ", "/S", "1/S", "S-1", "264608", "MDC_DIM_PER_SEC", "MDC_DIM_HZ"})


def lead_of(words: Iterable[str | None]) -> str | None:
    """The lead that codes and names agree on; None if they mean none of the twelve.

    Raises Rejected `ecg.lead_names` if one says otherwise than another.
    """
    found: set[str | None] = set()
    for word in filter(None, words):
        lead = lead_from_code(word) or lead_from_name(word)
        if lead or _SOME_LEAD.fullmatch(word):
            found.add(lead)
    if len(found) > 1:
        raise Rejected(Reason.ECG_LEAD_NAMES, "a lead's code and name disagree")
    return found.pop() if found else None


def uv_per_unit(words: Iterable[str | None]) -> float | None:
    """Microvolts in the unit that codes and names agree on; None if it is no voltage.

    Raises Rejected `hl7.waveform` if they name two voltages.
    """
    factors = {_UV_PER_UNIT[word] for word in words if word in _UV_PER_UNIT}
    if len(factors) > 1:
        raise Rejected(Reason.HL7_WAVEFORM, "a unit's code and name disagree")
    return factors.pop() if factors else None


def is_per_second(words: Iterable[str | None]) -> bool:
    """Whether one of these codes and names is hertz."""
    return any(word.upper() in _PER_SECOND for word in filter(None, words))


def number(written: str) -> float | None:
    """One finite number, or None."""
    values = _numbers(written.strip(), "^")
    return float(values[0]) if values is not None and values.size == 1 and np.isfinite(values[0]) else None


def check_count(written: Iterable[str], delimiters: Delimiters) -> None:
    """Raise Rejected `hl7.too_complex` if NA or MA values have too many samples together, before any is read."""
    separators = (values.count(delimiters.repetition) + values.count(delimiters.component) for values in written)
    if sum(1 + count for count in separators) > MAX_VALUES:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "samples")


def matrix(written: str, delimiters: Delimiters) -> NDArray[np.float64]:
    """An NA or MA value: repetitions x components. A value left out, or the null `""`, is NaN.

    `check_count` has to be asked before. Raises Rejected `hl7.waveform` if it is empty, ragged, or holds anything but
    finite numbers.
    """
    component, repetition = delimiters.component, delimiters.repetition
    if not written.strip():
        raise Rejected(Reason.HL7_WAVEFORM, "OBX-5 is empty")
    rows = written.count(repetition) + 1
    if rows > 1 and len({row.count(component) for row in written.split(repetition)}) > 1:
        raise Rejected(Reason.HL7_WAVEFORM, "OBX-5 has rows of different length")
    values = _numbers(written.replace(repetition, component), component)
    if values is None:
        raise Rejected(Reason.HL7_WAVEFORM, "OBX-5 has a sample that is no number")
    return values.reshape(rows, -1)


def check_range(values: NDArray[np.float64], low: float | None, high: float | None) -> None:
    """Raise Rejected `hl7.waveform` if a sample lies outside what its channel is said to deliver."""
    if (low is not None and np.nanmin(values, initial=low) < low) or (
        high is not None and np.nanmax(values, initial=high) > high
    ):
        raise Rejected(Reason.HL7_WAVEFORM, "samples outside the stated range")


def _numbers(text: str, separator: str) -> NDArray[np.float64] | None:
    """The numbers between separators; None if one is none. Whole numbers, the usual case, take a third of the time."""
    if separator != "^":
        if "^" in text:
            return None
        text = text.replace(separator, "^")
    if _INTEGERS.fullmatch(text):
        return np.fromstring(text, dtype=np.int64, sep="^").astype(np.float64)
    text = text.replace('""', "")
    if not _NUMERIC.fullmatch(text):
        return None
    try:
        values = np.array([word or "nan" for word in text.split("^")], dtype=np.float64)
    except ValueError:
        return None
    return None if np.isinf(values).any() else values
