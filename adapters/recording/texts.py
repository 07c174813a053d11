"""Bounds on the text of an ECG, the same for every inbound format.

What passes here stands in findings, in keys of a patient's history and in messages to an EHR, or is shown to the model:
none of it may be of any length, or hold what no reader shows. An identifier is never cut or cleaned, because what is
left of it may be somebody else's.
"""

import unicodedata
from itertools import groupby
from typing import Final

from schemas.ecg import Order, Patient
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

# The longest that a standard gives to an identifier with all of its parts: HL7 2.5, PID-3 (CX) 250; its EI.1 and MSH-10
# have 199, HD 227; DICOM's LO and UI have 64, SH 16.
MAX_IDENTIFIER_CHARACTERS: Final = 250
# What a clinician writes for one ECG, all of it together; beyond it, something else has been sent.
MAX_CLINICAL_CHARACTERS: Final = 64_000
# Unicode Standard Annex #15, 13: no text of any language puts more combining marks on one letter. Normalising sorts
# them in a time that grows with the square of their number.
MAX_MARKS: Final = 30

DEVICE_UNUSABLE: Final = QualityFlag(lead=None, problem="device_unusable")

# Control and format characters (which hide, reorder or join what is around them), halves of a surrogate pair, and line
# and paragraph separators.
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def check_identifiers(message_id: str | None, patient: Patient, order: Order) -> None:
    """Raise Rejected `ecg.field_too_long` or `ecg.field_unprintable` for an identifier that cannot be used as it is."""
    named = {
        "message id": message_id,
        "patient id": patient.id,
        "patient id's assigner": patient.assigner,
        "encounter": order.encounter,
        "placer order number": order.placer,
        "filler order number": order.filler,
    }
    for name, text in named.items():
        if text is not None and len(text) > MAX_IDENTIFIER_CHARACTERS:
            raise Rejected(Reason.ECG_FIELD_TOO_LONG, name)
        if text is not None and not _is_printable(text):
            raise Rejected(Reason.ECG_FIELD_UNPRINTABLE, name)


def check_clinical_texts(texts: tuple[str, ...]) -> None:
    """Raise Rejected `ecg.field_too_long` for more than anyone writes for one ECG, `ecg.field_unprintable` for no text.

    Nothing is cut here: the beginning of a text can say the opposite of its whole.
    """
    if sum(map(len, texts)) > MAX_CLINICAL_CHARACTERS:
        raise Rejected(Reason.ECG_FIELD_TOO_LONG, "clinical text")
    for text in texts:
        # Decomposed letters bring further marks of their own, at most three each; they come one by one.
        marks = (sum(1 for _ in run) for is_mark, run in groupby(map(_is_mark, text)) if is_mark)
        if not text.isascii() and max(marks, default=0) > MAX_MARKS:
            raise Rejected(Reason.ECG_FIELD_UNPRINTABLE, "clinical text")


def usable_device(device: str | None) -> tuple[str | None, tuple[QualityFlag, ...]]:
    """The device's description, or None and a note that says so: no ECG is lost for what only describes its cart.

    But for a text that no decoder reads at all, of whatever attribute.
    """
    if device is None or (len(device) <= MAX_IDENTIFIER_CHARACTERS and _is_printable(device)):
        return device, ()
    return None, (DEVICE_UNUSABLE,)


def _is_printable(text: str) -> bool:
    return text.isprintable() or not any(unicodedata.category(character) in _UNPRINTABLE for character in text)


def _is_mark(character: str) -> bool:
    return unicodedata.combining(character) != 0
