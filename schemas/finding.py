"""The finding, version 1: what the worker says of one ECG, and everything needed to see why.

Field meanings are in `docs/finding.md`; the JSON Schema generated from these models is `schemas/json/finding-1.json`.
A finding holds no name, address or birth date, and nothing that depends on when or where it was computed, so that the
same bytes and the same model bundle always give the same finding.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Verdict = Literal["ischemic", "non_ischemic", "no_t_wave_inversion", "indeterminate"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]

# An ECG alert that nobody saw within a day is chart review. `flag.expires_at` is this long after the recording; whoever
# sends findings on may call one late sooner, never later.
ALERT_LIFETIME_H: Final = 24

NOTICE = (
    "Preliminary result of an automated reader. It does not replace over-reading by a qualified clinician "
    "and is not for primary diagnosis."
)


class Contract(BaseModel):
    """What all published models share: no unknown fields, no later change, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RecordRef(Contract):
    """Where a record lies in the log."""

    topic: str
    partition: int
    offset: int


class Redrive(Contract):
    """That a record was put on its topic again after a rejection: of which first record, and how often by now."""

    of: RecordRef
    count: Annotated[int, Field(ge=1)]


class Source(Contract):
    """The record that was read: its coordinates in the log, and the digest of its bytes.

    `redrive` is left out if the record is a first one, and `backfill` if its sender did not mark it as an old one.
    """

    topic: str
    partition: int
    offset: int
    timestamp: AwareDatetime | None
    format: str | None
    message_id: str | None
    sha256: str
    # Left out, not null: a first record's finding stays the same bytes as before this field, in a replay too, and
    # readers that do not know the field yet meet it only where it says something.
    redrive: Redrive | None = Field(None, exclude_if=lambda redrive: redrive is None)
    backfill: bool = Field(False, exclude_if=lambda backfill: not backfill)


class PatientRef(Contract):
    """The patient's identifier and who assigned it; the minimum that a receiver needs."""

    id: str
    assigner: str | None


class OrderRef(Contract):
    """Order numbers as received."""

    placer: str | None
    filler: str | None


class EcgSummary(Contract):
    """What was recorded."""

    acquired_at: AwareDatetime
    sampling_hz: float
    duration_s: float
    leads: tuple[str, ...]
    derived_leads: tuple[str, ...]
    device: str | None


class QualityFlag(Contract):
    """One thing that limits what the ECG can say. `lead` is None if it concerns the whole recording.

    `value` is the measured number behind the flag in the unit that `problem` implies (see `docs/finding.md`), or None.
    """

    lead: str | None
    problem: str
    value: float | None = None


class Quality(Contract):
    """Whether the waveform can carry an answer, and what was found wrong with it."""

    usable: bool
    flags: tuple[QualityFlag, ...]


class LeadMeasurements(Contract):
    """Amplitudes of the median beat in one lead, in millivolts against the PR segment.

    `t_mv` is signed; `st_mv` is taken 60 ms after the J point; `t_symmetry` is onset-to-peak over peak-to-end time.
    """

    t_mv: float | None
    st_mv: float | None
    r_mv: float | None
    s_mv: float | None
    t_symmetry: float | None


class Measurements(Contract):
    """Numbers from the waveform. None is "could not be measured", never zero."""

    heart_rate_bpm: float | None
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_ms: float | None
    axis_deg: float | None
    sokolow_lyon_mv: float | None
    leads: dict[str, LeadMeasurements]
    t_wave_inversion: tuple[str, ...]


class Assessment(Contract):
    """The answer. `probability` is P(ischemic) after calibration, and None when no model was asked.

    `reason` is a stable code that says why the verdict is what it is (see `docs/finding.md`).
    """

    verdict: Verdict
    probability: Probability | None
    threshold: Probability
    reason: str


class Claim(Contract):
    """One statement of the reasoning about the waveform, beside what was measured.

    `holds` is None if the statement could not be checked.
    """

    text: str
    lead: str | None
    kind: str
    stated: str
    measured: str | None
    holds: bool | None


class Reasoning(Contract):
    """The model's written reasoning; `grounded` is False as soon as one claim is contradicted by the waveform."""

    text: str
    claims: tuple[Claim, ...]
    grounded: bool


class Flag(Contract):
    """Whether somebody is to be alerted, and what the receiver needs to do it once and not for ever."""

    raised: bool
    priority: Literal["stat", "urgent", "routine"]
    summary: str
    dedupe_key: str
    expires_at: AwareDatetime | None
    supersedes: str | None


class ModelRef(Contract):
    """The model bundle by name and digest. `training` says what its weights are good for."""

    name: str
    digest: str
    training: Literal["untrained", "demo", "trained"]


class RenderRef(Contract):
    """The picture that the model saw: its layout, and the SHA-256 of its pixels (None if nothing was drawn)."""

    layout: str
    digest: str | None


class EngineRef(Contract):
    """How the model was computed: execution provider, number types and the fixed shapes."""

    provider: str
    dtype: str
    shapes: dict[str, int]


class Provenance(Contract):
    """What made this finding. Equal fingerprints promise equal findings for equal bytes."""

    model: ModelRef
    untrained: bool
    prompt_digest: str | None
    render: RenderRef
    engine: EngineRef | None
    worker_version: str
    fingerprint: str


class Review(Contract):
    """A human's review; the worker always says that there was none."""

    status: Literal["unreviewed"] = "unreviewed"


class Finding(Contract):
    """What the worker publishes for one ECG. Always preliminary: only a human confirms."""

    schema_: Literal["ecg-finding/1"] = Field("ecg-finding/1", alias="schema")
    finding_id: str
    source: Source
    patient: PatientRef
    encounter: str | None
    order: OrderRef
    ecg: EcgSummary
    quality: Quality
    measurements: Measurements
    assessment: Assessment
    reasoning: Reasoning | None
    flag: Flag
    provenance: Provenance
    review: Review = Review()
    notice: str = NOTICE

    def to_json(self) -> bytes:
        """The finding as it travels: UTF-8 JSON with fields in the order of the contract."""
        return self.model_dump_json(by_alias=True).encode()


def hours_after(moment: datetime, hours: float) -> datetime:
    """The moment so many hours later, or the calendar's last one: 9999-12-31 is a usual stand-in for "no date"."""
    try:
        return moment + timedelta(hours=hours)
    except OverflowError:
        return datetime.max.replace(tzinfo=moment.tzinfo)


def utc_from_ms(timestamp_ms: int | None) -> datetime | None:
    """A log's millisecond timestamp as an aware datetime.

    None and negative (= unknown) become None, and so does what lies beyond the calendar: a log takes any number.
    """
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # after the year 9999, by how far
        return None
