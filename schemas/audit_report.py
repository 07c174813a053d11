"""The report of a replay, version 2: what was asked and read, what spoke then and speaks now, and where they differ.

It holds coordinates, counts, verdicts and codes, and nothing of a patient. Version 1's fields are all here.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from schemas.finding import Contract, ModelRef, RecordRef

Outcome = Literal[
    "same", "probability_differs", "verdict_differs", "details_differ", "rejected_now", "rejected_then",
    "rejection_differs", "missing", "extra", "lost_then",
]  # fmt: skip

OUTCOMES: Final[dict[Outcome, str]] = {
    "same": "the same finding, or the same rejection",
    "probability_differs": "the same verdict with another probability",
    "verdict_differs": "another verdict",
    "details_differ": "the same verdict and probability, something else differs",
    "rejected_now": "a finding then, a rejection now",
    "rejected_then": "a rejection then, a finding now",
    "rejection_differs": "a rejection both times, which differs",
    "missing": "a result now, none then",
    "extra": "a result then, none now: the record is gone, or could not be read",
    "lost_then": "lost by the log before it was read then, and not there now",
}

Count = Annotated[int, Field(ge=0)]


class AskedInterval(Contract):
    """The interval: as it was typed, and what was understood. `slack_s` counts only if it ends at a time."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")
    from_offset: int | None
    from_time: AwareDatetime | None
    to_offset: int | None
    to_time: AwareDatetime | None
    slack_s: float


class LogNames(Contract):
    """Where it was read and written. `url` is without credentials."""

    url: str
    inbound_topics: tuple[str, ...]
    findings_topic: str
    rejections_topic: str
    audit_topic: str


class PartitionRead(Contract):
    """What was read of one partition: the offsets from `from` to `to`, `to` exclusive.

    `records` of the interval lie among them, from the offset `first` to `last`; `outside` have another time.
    `ended` says why reading ended there: at the end of what was asked for, because what followed was long after the
    interval, or because the log could not be read, and why.
    """

    partition: str
    start: int = Field(alias="from")
    end: int = Field(alias="to")
    first: int | None
    last: int | None
    records: Count
    outside: Count
    ended: str


class Changes(Contract):
    """How many records changed, among those of which something was said both times.

    `verdicts`: two findings with different verdicts, or a finding once and a rejection the other time. `flags`: a flag
    raised once and not the other time, or of another priority. `published`: anything of what is published, these
    included; `published_only` are those of them whose verdict and flag stayed as they were.
    """

    verdicts: Count
    flags: Count
    published: Count
    published_only: Count


class GoneOffsets(Contract):
    """Offsets that were asked for and that the log no longer holds; `to` exclusive."""

    partition: str
    start: int = Field(alias="from")
    end: int = Field(alias="to")
    count: Count


class LostThen(RecordRef):
    """A rejection of then that says which records the log had lost; it stands at the first of them."""

    detail: str


class Difference(RecordRef):
    """A record that is not the same. `then` and `now` are a verdict or a code; `differing` names published fields."""

    outcome: Outcome
    then: str | None
    now: str | None
    probability_change: float | None
    flag_changed: bool
    differing: tuple[str, ...]


class AuditReport(Contract):
    """What a replay found. `reasons` say why it is not all the same; there are none if it is.

    `fingerprint_now` is null if no record was read. `settings_digest` is over the settings that can change a result:
    all but those of the log, the model's place, the loop, the process, delivery and Kafka.
    """

    schema_: Literal["ecg-audit-report/2"] = Field("ecg-audit-report/2", alias="schema")
    all_same: bool
    exit_status: Literal[0, 1]
    reasons: tuple[str, ...]
    interval: AskedInterval
    log: LogNames
    began_at: AwareDatetime
    ended_at: AwareDatetime
    model: ModelRef
    worker_version: str
    fingerprint_now: str | None
    fingerprints_then: dict[str, Count]
    settings_digest: str
    partitions: tuple[PartitionRead, ...]
    records: Count
    counts: dict[Outcome, Count]
    changed: Changes
    results_then_more_than_once: Count
    contradictory_then: tuple[RecordRef, ...]
    unreadable_then: tuple[RecordRef, ...]
    unreadable_now: Count
    not_written: tuple[RecordRef, ...]
    without_time: tuple[RecordRef, ...]
    gone: tuple[GoneOffsets, ...]
    lost_then: tuple[LostThen, ...]
    offsets_without_a_record: dict[str, tuple[int, ...]]
    differences: tuple[Difference, ...]

    def to_json(self) -> bytes:
        """The report as it is written."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
