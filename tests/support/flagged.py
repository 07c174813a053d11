"""Findings with their flag raised, for tests of what is sent to an EHR."""

from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.log import Message, Record
from schemas.finding import Assessment, Claim, Finding, Flag, ModelRef, OrderRef, PatientRef, QualityFlag, Reasoning
from tests.support import results

RECORDED_S = results.SUMMARY.acquired_at.timestamp()
"""When the ECG of every flagged finding was recorded, in seconds since 1970."""

TRAINED = ModelRef(name="ecg-r1", digest="d" * 64, training="trained")


def finding_id(number: int) -> str:
    return f"{number:04d}" + "0123456789abcdef" * 2


def flagged(number: int = 1, *, model: ModelRef = TRAINED, **changes: Any) -> Finding:
    """A flagged finding. Any of its fields can be changed."""
    plain = results.finding(Record("ecg.inbound", 0, number, 1_772_524_812_000, None, b""))
    claims = (
        Claim(text="T waves are inverted in V2", lead="V2", kind="twi", stated="yes", measured="-0.31 mV", holds=True),
        Claim(text="symmetric", lead=None, kind="symmetry", stated="yes", measured=None, holds=None),
    )
    fields: dict[str, Any] = {
        "finding_id": finding_id(number),
        "patient": PatientRef(id="4711", assigner="HOSP"),
        "encounter": "E42",
        "order": OrderRef(placer="P1", filler="F1"),
        "quality": plain.quality.model_copy(update={"flags": (QualityFlag(lead="V6", problem="baseline_wander"),)}),
        "measurements": results.measurements(V2=-0.31, V3=-0.254, V4=0.12),
        "assessment": Assessment(verdict="ischemic", probability=0.87311, threshold=0.5, reason="model"),
        "reasoning": Reasoning(text="Inverted in V2-V3.\nDeep & symmetric.", claims=claims, grounded=True),
        "flag": Flag(
            raised=True,
            priority="urgent",
            summary="T-wave inversion in V2, V3: possibly ischemic. Preliminary, over-read required.",
            dedupe_key="k" * 32,
            expires_at=plain.ecg.acquired_at + timedelta(hours=24),
            supersedes=None,
        ),
        "provenance": plain.provenance.model_copy(
            update={"model": model, "untrained": model.training == "untrained", "worker_version": "0.1.0"}
        ),
    }
    return plain.model_copy(update=fields | changes)


_FRESH = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)


def recorded_at(moment: datetime, number: int = 1, **changes: Any) -> Finding:
    """A flagged finding of an ECG of that moment."""
    plain = flagged(number)
    fields = {
        "ecg": plain.ecg.model_copy(update={"acquired_at": moment}),
        "flag": plain.flag.model_copy(update={"expires_at": moment + timedelta(hours=24)}),
    }
    return flagged(number, **fields | changes)


def fresh(number: int = 1, **changes: Any) -> Finding:
    """A flagged finding that is an alert by the clock of this machine, the same one each time."""
    return recorded_at(_FRESH, number, **changes)


def unflagged(number: int) -> Finding:
    return results.finding(Record("ecg.inbound", 0, number, 0, None, b""))


def message(finding: Finding, topic: str = "ecg.findings") -> Message:
    return Message(topic, finding.finding_id.encode(), finding.to_json())
