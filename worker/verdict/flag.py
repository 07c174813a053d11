"""Whether somebody is to be alerted. Everything has to be right at once; any doubt files the finding silently."""

import hashlib
from datetime import timedelta
from typing import Final, Literal

from schemas.ecg import Priority
from schemas.finding import Assessment, EcgSummary, Flag, ModelRef, PatientRef, Quality, Reasoning

# An ECG alert that nobody saw within a day is chart review, not an alert: the receiver may drop it.
ALERT_LIFETIME: Final = timedelta(hours=24)


def decide(
    assessment: Assessment,
    reasoning: Reasoning | None,
    quality: Quality,
    inverted: tuple[str, ...],
    model: ModelRef,
    *,
    patient: PatientRef,
    encounter: str | None,
    ecg: EcgSummary,
    recording_digest: str,
    ordered: Priority,
    backfill: bool = False,
) -> Flag:
    """Raise a flag only for ischemic + grounded + usable + probability at or above the threshold + a trained model.

    A demo model's flag says what it is; an untrained one never raises any, nor does what was put in as a backfill.
    """
    raised = (
        not backfill
        and assessment.verdict == "ischemic"
        and reasoning is not None
        and reasoning.grounded
        and quality.usable
        and assessment.probability is not None
        and assessment.probability >= assessment.threshold
        and model.training != "untrained"
    )
    priority: Literal["stat", "urgent", "routine"] = "routine"
    if raised:
        priority = "stat" if ordered == "stat" else "urgent"
    return Flag(
        raised=raised,
        priority=priority,
        summary=_summary(assessment, inverted, model),
        dedupe_key=_dedupe_key(patient, encounter, ecg, recording_digest),
        expires_at=ecg.acquired_at + ALERT_LIFETIME if raised else None,
        supersedes=None,
    )


def _summary(assessment: Assessment, inverted: tuple[str, ...], model: ModelRef) -> str:
    """One line for an inbox, without patient data."""
    where = f"T-wave inversion in {', '.join(inverted)}" if inverted else "No T-wave inversion"
    match assessment.verdict:
        case "ischemic":
            text = f"{where}: possibly ischemic"
        case "non_ischemic":
            text = f"{where}: probably not ischemic"
        case "no_t_wave_inversion":
            text = "No T-wave inversion in contiguous leads"
        case "indeterminate":
            text = f"Indeterminate: {assessment.reason.replace('_', ' ')}"
    if assessment.probability is not None:
        text += f" (P {assessment.probability:.2f}, threshold {assessment.threshold:.2f})"
    if model.training != "trained":
        text += f". {model.training.upper()} MODEL, not for clinical use"
    return text + ". Preliminary, over-read required."


def _dedupe_key(patient: PatientRef, encounter: str | None, ecg: EcgSummary, recording_digest: str) -> str:
    """The same for every finding on one recording, however often it is sent and whichever model reads it.

    Carts give the time to the minute, and record twice in one: the samples tell such recordings apart. The price is
    that one recording in two formats, rounded differently, has two keys: a repeated alert is better than a lost one.
    """
    parts = (patient.assigner or "", patient.id, encounter or "", ecg.acquired_at.isoformat(), recording_digest)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
