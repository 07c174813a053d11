"""The whole way from a record to a finding, on one page.

    record -> decode -> measure -> screen -> render  = a prepared ECG   `prepare`, in a pool of processes
    prepared ECG -> engine                           = an answer        the engine's thread, if the question applies
    prepared ECG, answer -> ground -> assess -> flag = a finding        `conclude`

Every record ends as exactly one Finding or one Rejection; nothing else leaves this page.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adapters.log import MAX_VALUE_BYTES, Record
from schemas.ecg import Ecg
from schemas.finding import (
    EcgSummary,
    Finding,
    OrderRef,
    PatientRef,
    Provenance,
    Quality,
    QualityFlag,
    RenderRef,
    Source,
    utc_from_ms,
)
from schemas.rejection import Reason, Rejected, Rejection, Stage
from worker.backfill_header import is_backfill
from worker.engine.question import Answer
from worker.model.facts import PromptFacts
from worker.picture.layout import Layout
from worker.picture.raster import Picture, image_digest, render_image
from worker.prepared import PreparedEcg
from worker.provenance import VERSION, ModelIdentity, ecg_digest, finding_id, recording_digest
from worker.redrive_headers import read_redrive
from worker.verdict.assessment import assess
from worker.verdict.flag import decide
from worker.verdict.grounding import ground
from worker.verdict.screening import Screening, screen
from worker.waveform.measure import Measured, measure


class OutOfTime(BaseException):
    """The time for a preparation is over. No `Exception`, so that no parser's own fence takes it for a fault of its."""


def refusal(record: Record) -> Rejected | None:
    """Why a record is not worth a look at its content; None if it is. Takes no time, whatever the record's size."""
    if record.unreadable is not None:
        return Rejected(Reason.LOG_UNREADABLE_BATCH, record.unreadable, "read")
    if len(record.value) > MAX_VALUE_BYTES:
        return Rejected(Reason.PAYLOAD_TOO_LARGE, stage="payload")
    return None


def prepare(record: Record, decode: Callable[[bytes], Ecg], layout: Layout) -> PreparedEcg | Rejection:
    """Everything that can be said of a record before the model is asked, or why nothing can be said.

    Whoever limits its time raises OutOfTime in its thread, from a signal: that is a rejection which names the stage.
    """
    try:
        if (refused := refusal(record)) is not None:
            raise refused
        with _stage("decode"):
            ecg = decode(record.value)
        with _stage("measure"):
            measured = measure(ecg)
        with _stage("screen"):
            screening = screen(ecg, measured)
        with _stage("render"):
            image = render_image(ecg, layout) if screening.verdict is None else None
        with _stage("assemble"):
            return _assemble(record, ecg, measured, screening, image)
    except Rejected as rejected:
        return reject(record, rejected)


def conclude(prepared: PreparedEcg, answer: Answer | None, model_identity: ModelIdentity) -> Finding:
    """The finding: the answer held against the waveform, the verdict, and whether to alert somebody."""
    reasoning = ground(answer.text, prepared.measurements) if answer else None
    assessment = assess(prepared.screening, answer, reasoning, model_identity.threshold)
    flag = decide(
        assessment,
        reasoning,
        prepared.quality,
        prepared.measurements.t_wave_inversion,
        model_identity.model,
        patient=prepared.patient,
        encounter=prepared.encounter,
        ecg=prepared.ecg,
        recording=prepared.recording_digest,
        ordered=prepared.priority,
        backfill=prepared.source.backfill,
    )
    return Finding(
        finding_id=finding_id(prepared.ecg_digest, model_identity.model.digest),
        source=prepared.source,
        patient=prepared.patient,
        encounter=prepared.encounter,
        order=prepared.order,
        ecg=prepared.ecg,
        quality=_with_answer_flags(prepared.quality, answer),
        measurements=prepared.measurements,
        assessment=assessment,
        reasoning=reasoning,
        flag=flag,
        provenance=_provenance(prepared, answer, model_identity),
    )


def _assemble(record: Record, ecg: Ecg, measured: Measured, screening: Screening, image: Picture | None) -> PreparedEcg:
    return PreparedEcg(
        source=_source(record, ecg),
        ecg_digest=ecg_digest(ecg),
        recording_digest=recording_digest(ecg),
        patient=PatientRef(id=ecg.patient.id, assigner=ecg.patient.assigner),
        encounter=ecg.order.encounter,
        order=OrderRef(placer=ecg.order.placer, filler=ecg.order.filler),
        priority=ecg.order.priority,
        ecg=_summary(ecg),
        quality=measured.quality,
        measurements=measured.measurements,
        screening=screening,
        facts=PromptFacts(ecg.patient.age_years, ecg.patient.sex, ecg.order.clinical_texts),
        image=image,
        image_digest=None if image is None else image_digest(image),
    )


@contextmanager
def _stage(stage: Stage) -> Iterator[None]:
    """Whatever goes wrong inside is a rejection that names the stage. No exception's text gets out."""
    try:
        yield
    except Rejected:
        raise
    except OutOfTime:
        reason, detail = Reason.PAYLOAD_TOO_SLOW, ""
    except Exception as error:  # noqa: BLE001 - one record must not stop the worker
        reason, detail = Reason.INTERNAL, type(error).__name__
    else:
        return
    raise Rejected(reason, detail, stage)


def reject(record: Record, rejected: Rejected) -> Rejection:
    """Why this record becomes no finding."""
    return Rejection(
        reason=rejected.reason,
        stage=rejected.stage,
        detail=rejected.detail,
        source=_source(record, None),
        worker_version=VERSION,
    )


def _source(record: Record, ecg: Ecg | None) -> Source:
    return Source(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=utc_from_ms(record.timestamp_ms),
        format=ecg.format if ecg else None,
        message_id=ecg.message_id if ecg else None,
        sha256=hashlib.sha256(record.value).hexdigest(),
        redrive=read_redrive(record),
        backfill=is_backfill(record),
    )


def _summary(ecg: Ecg) -> EcgSummary:
    return EcgSummary(
        acquired_at=ecg.acquired_at,
        sampling_hz=ecg.sampling_hz,
        duration_s=round(ecg.duration_s, 3),
        leads=ecg.leads,
        derived_leads=ecg.derived_leads,
        device=ecg.device,
    )


def _with_answer_flags(quality: Quality, answer: Answer | None) -> Quality:
    """What limited the model, beside what limits the waveform."""
    problems = [
        *(["context_truncated"] if answer and answer.truncated_context else []),
        *(["reasoning_cut_short"] if answer and answer.forced else []),
    ]
    flags = tuple(QualityFlag(lead=None, problem=problem) for problem in problems)
    return quality.model_copy(update={"flags": quality.flags + flags})


def _provenance(prepared: PreparedEcg, answer: Answer | None, model_identity: ModelIdentity) -> Provenance:
    return Provenance(
        model=model_identity.model,
        untrained=model_identity.model.training == "untrained",
        prompt_digest=model_identity.prompt_digest if answer else None,
        render=RenderRef(layout=model_identity.layout, digest=prepared.image_digest),
        engine=model_identity.engine if answer else None,
        worker_version=VERSION,
        fingerprint=model_identity.fingerprint,
    )
