"""Fields and segments of HL7 v2 as text. A value becomes a `Field` only here, where everything is escaped.

A bare string does not type-check as one, so that no value reaches a message unescaped by oversight. `Field(...)` itself
is for constants, and for what is put together from fields.
"""

from datetime import datetime
from typing import Final, NewType

from adapters.hl7v2.text import STANDARD

Field = NewType("Field", str)  # encoded: delimiters in it delimit, everything else is escaped
NO_VALUE: Final = Field("")

LOCAL: Final = "99ECG"  # HL7 table 0396: "99" and letters is a local code system
LOINC: Final = "LN"
_NULL: Final = '""'  # a field of two quotes tells the receiver to delete what it has
_CONTROL: Final = {code: f"\\X{code:02X}\\" for code in (*range(0x20), 0x7F)}


def text_field(value: str) -> Field:
    """ST, ID or SI: one value, its delimiters and control characters escaped."""
    if value == _NULL:
        return Field("\\X2222\\")
    return Field(STANDARD.escaped(value).translate(_CONTROL))


def component_field(*values: str) -> Field:
    """CE, CWE, EI or MSG: components, each escaped; empty ones at the end are left out."""
    return Field("^".join(text_field(value) for value in values).rstrip("^"))


def formatted_field(text: str) -> Field:
    r"""FT: lines end in `\.br\`, which a receiver shows as a line break."""
    return Field("\\.br\\".join(text_field(line) for line in text.splitlines()))


def time_field(moment: datetime) -> Field:
    """TS to the second, with the zone it came with."""
    return Field(f"{moment.year:04d}{moment:%m%d%H%M%S%z}"[:19])  # %Y has no zeros before the year 1000


def number_field(value: float, digits: int) -> Field:
    """NM, with so many digits after the point."""
    return Field(f"{round(value, digits) + 0.0:.{digits}f}")  # adding 0.0 makes -0.0 a plain zero


def segment(name: str, fields: dict[int, Field]) -> str:
    """A segment from its fields by their numbers in the standard."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])
