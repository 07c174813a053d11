"""Bounds on the text of an ECG: at their edges, and that what passes fits into a finding with room to spare."""

import time
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.recording.assemble import Identity, Waveform, assemble
from adapters.recording.texts import DEVICE_UNUSABLE, MAX_CLINICAL_CHARACTERS, MAX_IDENTIFIER_CHARACTERS, MAX_MARKS
from schemas.ecg import INDEPENDENT_LEADS, Ecg, Order, Patient
from schemas.rejection import Reason, Rejected
from worker.model.facts import clinical_line

WAVEFORM = Waveform({lead: np.zeros(2000) for lead in INDEPENDENT_LEADS}, 250.0)
IDENTITY = Identity("dicom", "1.2.3", Patient("P1", "A"), datetime(2026, 3, 3, tzinfo=UTC), Order("E", "P", "F"), "C")
LONGEST = "9" * MAX_IDENTIFIER_CHARACTERS


def assembled(**changed: Any) -> Ecg:
    return assemble(replace(IDENTITY, **changed), WAVEFORM)


def reason_of(**changed: Any) -> Reason:
    with pytest.raises(Rejected) as caught:
        assembled(**changed)
    return caught.value.reason


def with_identifier(name: str, text: str) -> dict[str, Any]:
    changed: dict[str, Any] = {name: text}
    if name == "message_id":
        return changed
    if name in ("id", "assigner"):
        return {"patient": replace(IDENTITY.patient, **changed)}
    return {"order": replace(IDENTITY.order, **changed)}


@pytest.mark.parametrize("name", ["message_id", "id", "assigner", "encounter", "placer", "filler"])
def test_an_identifier_is_taken_whole_or_not_at_all(name: str) -> None:
    assembled(**with_identifier(name, LONGEST))
    assert reason_of(**with_identifier(name, LONGEST + "9")) is Reason.ECG_FIELD_TOO_LONG
    for hidden in ("\x00", "\x1b", "\x7f", "\x85", "\u200b", "\u202e", "\u2028", "\ufeff", "\ud800"):
        assert reason_of(**with_identifier(name, f"1{hidden}2")) is Reason.ECG_FIELD_UNPRINTABLE


@pytest.mark.parametrize("text", ["A 1", "Ä/1-2_3", "患者１", "1\u00a02", "\u3000", '"\\', "e\u0301"])
def test_letters_of_every_language_are_printable(text: str) -> None:
    assert assembled(patient=Patient(text)).patient.id == text


@pytest.mark.parametrize("device", ["C\x00", "C" * (MAX_IDENTIFIER_CHARACTERS + 1), "\u202eC"])
def test_a_device_that_cannot_be_told_costs_no_ecg(device: str) -> None:
    ecg = assembled(device=device)
    assert (ecg.device, ecg.notes) == (None, (DEVICE_UNUSABLE,))
    assert assembled(device=LONGEST).device == LONGEST


def test_clinical_texts_are_bounded_together() -> None:
    half = "x" * (MAX_CLINICAL_CHARACTERS // 2)
    assert assembled(order=Order(clinical_texts=(half, half))).order.clinical_texts == (half, half)
    assert reason_of(order=Order(clinical_texts=(half, half, "x"))) is Reason.ECG_FIELD_TOO_LONG
    assembled(order=Order(clinical_texts=("pain,\r\n\tsince \x0bnoon",)))


def test_heaps_of_combining_marks_are_no_text() -> None:
    """Normalising them takes the square of their number: seconds for what a message may bring."""
    assembled(order=Order(clinical_texts=("e" + "\u0301" * MAX_MARKS + "\u4e2d",)))
    heap = "e" + "\u0316\u0301" * (MAX_MARKS // 2) + "\u0316"
    assert reason_of(order=Order(clinical_texts=(heap,))) is Reason.ECG_FIELD_UNPRINTABLE


def test_the_worst_text_that_passes_is_normalised_at_once() -> None:
    # Letters that fall apart into as many marks as any, each with as many behind it as pass.
    worst = max(map(chr, range(0x3000)), key=lambda letter: len(unicodedata.normalize("NFD", letter)))
    text = (worst + "\u0316\u0301" * (MAX_MARKS // 2)) * (MAX_CLINICAL_CHARACTERS // (MAX_MARKS + 1))
    assembled(order=Order(clinical_texts=(text,)))
    began = time.process_time()
    clinical_line((text,))
    assert time.process_time() - began < 2


MOMENTS = st.datetimes(timezones=st.none()).flatmap(
    lambda moment: st.integers(-23, 23).map(lambda hours: moment.replace(tzinfo=timezone(timedelta(hours=hours))))
)


@settings(deadline=None)
@given(MOMENTS)
@example(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))))
@example(datetime.max.replace(tzinfo=UTC))
def test_a_time_at_the_end_of_the_calendar_is_none(moment: datetime) -> None:
    try:
        acquired_at = assembled(acquired_at=moment).acquired_at
    except Rejected as rejected:
        assert rejected.reason is Reason.ECG_NO_TIME
        assert not 1000 <= moment.year < 9999
        return
    for day in (-1, 1):
        assert (acquired_at.astimezone(UTC) + timedelta(days=day)).astimezone(acquired_at.tzinfo)
    assert len(f"{acquired_at:%Y%m%d}") == 8
