"""Whether somebody is to be alerted. Everything has to be right at once; any doubt files the finding silently."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from schemas.ecg import Priority
from schemas.finding import (
    ALERT_LIFETIME_H,
    Assessment,
    EcgSummary,
    Flag,
    ModelRef,
    PatientRef,
    Quality,
    Reasoning,
    hours_after,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
    recording: str,
    ordered: Priority,
    backfill: bool,
) -> Flag:
    """Raise a flag only for ischemic + grounded + usable + probability at or above the threshold + a trained model.

    A demo model's flag says what it is; an untrained one never raises any, nor does an ECG from a backfill.
    `recording` is the digest of the samples.
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
        summary=_summary(assessment, inverted, model, backfill=backfill),
        dedupe_key=_dedupe_key(patient, encounter, ecg, recording),
        expires_at=hours_after(ecg.acquired_at, ALERT_LIFETIME_H) if raised else None,
        supersedes=None,
    )


def _summary(assessment: Assessment, inverted: tuple[str, ...], model: ModelRef, *, backfill: bool) -> str:
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
    if backfill:
        text += ". Backfill: filed, no alert"
    return text + ". Preliminary, over-read required."


def _dedupe_key(patient: PatientRef, encounter: str | None, ecg: EcgSummary, recording: str) -> str:
    """The same for every finding on one recording, whatever message brought it and whichever model read it.

    A key that is too coarse loses an alert; one that is too fine shows it twice. So the samples belong to it, for two
    recordings can bear one time; and who was meant, for under another patient or encounter other people are told.
    Order numbers do not: they are corrected afterwards. The time counts to the minute, as in UTC, because formats carry
    more or less of it, in one zone or another.
    """
    minute = (ecg.acquired_at - _EPOCH) // timedelta(minutes=1)
    facts = (patient.assigner, patient.id, encounter, minute, recording)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
