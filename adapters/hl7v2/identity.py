"""Whose ECG an HL7 v2 message carries, when it was taken, and who asked for it.

Name, address and birth date stay behind: they are never read, or turned into an age at once.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from typing import Final

from adapters.hl7v2.fields import Segment
from adapters.hl7v2.observations import Observations
from adapters.recording.site import SiteDefaults
from adapters.recording.texts import MAX_CLINICAL_CHARACTERS
from schemas.ecg import Order, Patient, Priority, Sex
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

AGE_UNUSABLE: Final = QualityFlag(lead=None, problem="age_unusable")

_SEXES: Final[dict[str | None, Sex]] = {"F": "female", "M": "male"}
_PRIORITIES: Final[dict[str, Priority]] = {"S": "stat", "STAT": "stat", "A": "asap", "ASAP": "asap"}

# HL7 allows less, down to the year; an ECG that is not dated to the minute is not dated.
_MOMENT: Final = re.compile(r"(\d{8})(\d{2})(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?([+-]\d{4})?", re.ASCII)
_BIRTH: Final = re.compile(r"(\d{4})(\d{2})?(\d{2})?\d*(?:\.\d+)?(?:[+-]\d{4})?", re.ASCII)
_OLDEST_YEARS: Final = 130


def patient_ids(pid: Segment) -> list[str]:
    """Every identifier in PID-3."""
    return [found for index in range(pid.repetitions(3)) if (found := pid.text(3, repetition=index))]


def read_patient(pid: Segment, acquired_on: date) -> tuple[Patient, tuple[QualityFlag, ...]]:
    """The patient: of PID-3's repetitions the first of type MR, else the first. Raises Rejected `ecg.no_patient`."""
    indices = [index for index in range(pid.repetitions(3)) if pid.text(3, repetition=index)]
    if not indices:
        raise Rejected(Reason.ECG_NO_PATIENT, "PID-3")
    chosen = next((index for index in indices if pid.text(3, 5, repetition=index) == "MR"), indices[0])
    assigner = pid.text(3, 4, 1, chosen) or pid.text(3, 4, 2, chosen)
    born = pid.text(7)
    age_years = _age_years(born, acquired_on) if born else None
    notes = (AGE_UNUSABLE,) if born and age_years is None else ()
    sex = _SEXES.get((pid.text(8) or "").upper())
    return Patient(pid.text(3, repetition=chosen) or "", assigner, age_years, sex), notes


def _age_years(born: str, on: date) -> float | None:
    """Completed years at the time of the ECG, under two in months; None if that is no age.

    Whole numbers, because an age to the day would be a birth date. A year alone counts as its middle.
    """
    match = _BIRTH.fullmatch(born)
    if match is None:
        return None
    try:
        birth = date(int(match[1]), int(match[2] or 7), int(match[3] or 1))
    except ValueError:
        return None
    months = (on.year - birth.year) * 12 + on.month - birth.month - (on.day < birth.day)
    if not 0 <= months <= _OLDEST_YEARS * 12:
        return None
    return float(months // 12) if months >= 24 else months / 12


def read_order(group: Observations, visit: Segment | None) -> Order:
    """The order behind the ECG, with ids as received. Raises Rejected as `clinical_texts` does."""
    return Order(
        encounter=_text(visit, 19),
        placer=_text(group.obr, 2) or _text(group.orc, 2),
        filler=_text(group.obr, 3) or _text(group.orc, 3),
        priority=_priority(group),
        clinical_texts=clinical_texts(group),
    )


def _text(segment: Segment | None, number: int, component: int = 1) -> str | None:
    return segment.text(number, component) if segment is not None else None


def _priority(group: Observations) -> Priority:
    """TQ1-9 since version 2.5, OBR-27 and ORC-7 before it, OBR-5 in 2.1 and 2.2: the first that is filled."""
    written = [timing.text(9) for timing in group.timings]
    return first_priority([*written, _text(group.obr, 27, 6), _text(group.orc, 7, 6), _text(group.obr, 5)])


def first_priority(codes: Iterable[str | None]) -> Priority:
    """What the first code that is filled means."""
    return next((_PRIORITIES.get(code.upper(), "routine") for code in codes if code), "routine")


def clinical_texts(group: Observations) -> tuple[str, ...]:
    """Relevant clinical information (OBR-13), reasons for study (OBR-31), notes to the order, diagnoses.

    Raises Rejected `hl7.too_complex` for more of it than anyone writes for one ECG.
    """
    reasons = [(group.obr, number) for number in (13, 31)] if group.obr is not None else []
    notes = [(note, 3) for note in group.notes]
    diagnoses = [(diagnosis, number) for diagnosis in group.diagnoses for number in (4, 3)]
    if sum(len(segment.raw.field(number)) for segment, number in reasons + notes + diagnoses) > MAX_CLINICAL_CHARACTERS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "clinical text")
    texts = [text for segment, number in reasons for text in _meanings(segment, number)]
    texts += ["\n".join(_lines(note)) for note, _ in notes]
    texts += [text for segment, number in diagnoses for text in _meanings(segment, number)]
    return tuple(dict.fromkeys(filter(None, texts)))


def _lines(note: Segment) -> list[str]:
    """The repetitions of NTE-3, which are lines of one text."""
    lines = (note.plain(line) for line in note.raw.field(3).split(note.delimiters.repetition))
    return [line for line in lines if line]


def _meanings(segment: Segment, number: int) -> Iterable[str]:
    """Each repetition of a coded field or a text as words: original text, else the code's text, else the code."""
    for repetition in segment.raw.field(number).split(segment.delimiters.repetition):
        parts = [segment.plain(part) for part in repetition.split(segment.delimiters.component)]
        chosen = next((parts[index] for index in (8, 1, 4, 0) if index < len(parts) and parts[index]), None)
        if chosen:
            yield chosen


def read_moment(
    candidates: Iterable[str | None], message_time: str | None, site: SiteDefaults
) -> tuple[datetime, tuple[QualityFlag, ...]] | None:
    """The first time stamp precise to the minute; None if none is.

    Its zone is its own, else that of the message's time (MSH-7), as the standard has it, else the site's with a note.
    """
    for written in candidates:
        moment = _moment(written or "")
        if moment is not None:
            zone = _moment(message_time or "")
            if moment.tzinfo is None and zone is not None:
                moment = moment.replace(tzinfo=zone.tzinfo)
            return site.localise(moment)
    return None


def _moment(written: str) -> datetime | None:
    match = _MOMENT.fullmatch(written)
    if match is None:
        return None
    day, hour, minute, second, fraction, offset = match.groups()
    zone = None
    try:
        if offset:
            ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
            zone = timezone(-ahead if offset[0] == "-" else ahead)
        microsecond = int((fraction or "0").ljust(6, "0"))
        # 60 is a leap second, which no clock here knows.
        return datetime(
            int(day[:4]),
            int(day[4:6]),
            int(day[6:]),
            int(hour),
            int(minute),
            min(int(second or 0), 59),
            microsecond,
            zone,
        )
    except ValueError:
        return None
