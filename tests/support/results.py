"""Small real answers, findings, rejections and cases for tests that do not care what is in them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from adapters.log import Record
from schemas.finding import (
    Assessment,
    EcgSummary,
    EngineRef,
    Finding,
    Flag,
    LeadMeasurements,
    Measurements,
    ModelRef,
    OrderRef,
    PatientRef,
    Provenance,
    Quality,
    RenderRef,
    Source,
    utc_from_ms,
)
from schemas.rejection import Reason, Rejection
from worker.engine.question import Answer
from worker.model.facts import PromptFacts
from worker.prepared import PreparedEcg
from worker.provenance import ModelIdentity
from worker.verdict.screening import Screening

READER = ModelIdentity(
    model=ModelRef(name="ecg-r1", digest="d" * 64, training="trained"),
    threshold=0.5,
    prompt_digest="p",
    engine=EngineRef(provider="cpu", dtype="float32", shapes={"slots": 4}),
    layout="3x4+II",
    fingerprint="f",
)


def source(record: Record) -> Source:
    return Source(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=utc_from_ms(record.timestamp_ms),
        format="dicom",
        message_id="1.2.3",
        sha256="0" * 64,
    )


def measurements(**t_mv: float) -> Measurements:
    leads = {
        lead: LeadMeasurements(t_mv=value, st_mv=0.0, r_mv=1.0, s_mv=-0.2, t_symmetry=1.0)
        for lead, value in t_mv.items()
    }
    return Measurements(
        heart_rate_bpm=60.0,
        pr_ms=160.0,
        qrs_ms=90.0,
        qt_ms=400.0,
        qtc_ms=400.0,
        axis_deg=30.0,
        sokolow_lyon_mv=2.0,
        leads=leads,
        t_wave_inversion=tuple(lead for lead, value in t_mv.items() if value <= -0.1),
    )


SUMMARY = EcgSummary(
    acquired_at=datetime(2026, 3, 3, 8, tzinfo=UTC),
    sampling_hz=500.0,
    duration_s=10.0,
    leads=("I", "II"),
    derived_leads=(),
    device=None,
)
PATIENT = PatientRef(id="p1", assigner=None)
USABLE = Quality(usable=True, flags=())


def answer(**changes: Any) -> Answer:
    """A sure yes in three tokens. Any of its fields can be changed."""
    fields: dict[str, Any] = {
        "text": "",
        "yes": True,
        "raw_probability_yes": 0.9,
        "probability_yes": 0.9,
        "format_mass": 1.0,
        "forced": False,
        "truncated_context": False,
        "tokens": 3,
    }
    return Answer(**fields | changes)


def prepared(record: Record, *, asks: bool = True) -> PreparedEcg:
    return PreparedEcg(
        source=source(record),
        ecg_digest=f"{record.partition}/{record.offset}",
        recording_digest=f"{record.partition}/{record.offset}",
        patient=PATIENT,
        encounter=None,
        order=OrderRef(placer=None, filler=None),
        priority="routine",
        ecg=SUMMARY,
        quality=USABLE,
        measurements=measurements(V2=-0.3, V3=-0.3),
        screening=Screening(None, "question_applies") if asks else Screening("no_t_wave_inversion", "none"),
        facts=PromptFacts(),
        image=np.zeros((28, 28, 3), np.uint8) if asks else None,
        image_digest="1" * 64 if asks else None,
    )


def finding(record: Record) -> Finding:
    return Finding(
        finding_id=f"{record.partition}-{record.offset}",
        source=source(record),
        patient=PATIENT,
        encounter=None,
        order=OrderRef(placer=None, filler=None),
        ecg=SUMMARY,
        quality=USABLE,
        measurements=measurements(),
        assessment=Assessment(verdict="no_t_wave_inversion", probability=None, threshold=0.5, reason="none"),
        reasoning=None,
        flag=Flag(raised=False, priority="routine", summary="", dedupe_key="k", expires_at=None, supersedes=None),
        provenance=Provenance(
            model=ModelRef(name="m", digest="d", training="untrained"),
            untrained=True,
            prompt_digest=None,
            render=RenderRef(layout="3x4+II", digest=None),
            engine=None,
            worker_version="0",
            fingerprint="f",
        ),
    )


def rejection(record: Record) -> Rejection:
    return Rejection(reason=Reason.PAYLOAD_EMPTY, stage="payload", detail="", source=source(record), worker_version="0")
