"""A comparison as the report that is kept: everything that somebody needs who reads it a year later."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from adapters.log import TopicPartition
from schemas.audit_report import (
    AskedInterval,
    AuditReport,
    Changes,
    Difference,
    GoneOffsets,
    LogNames,
    LostThen,
    PartitionRead,
)
from schemas.finding import ModelRef, RecordRef
from worker.audit.compare import Comparison, Comparisons
from worker.history.interval import Coordinates
from worker.history.scan import LATER_IN_A_ROW, Scanned
from worker.provenance import VERSION


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which a replay ran. `fingerprint` is None if the model was not loaded, for there was nothing to read."""

    interval: AskedInterval
    log: LogNames
    began_at: datetime
    ended_at: datetime
    model: ModelRef
    fingerprint: str | None
    settings_digest: str


def report(found: Comparisons, under: Circumstances) -> AuditReport:
    """The report; the records that are the same are counted, not listed."""
    replayed, then = found.replayed, found.then
    return AuditReport(
        all_same=found.all_same,
        exit_status=0 if found.all_same else 1,
        reasons=found.reasons,
        interval=under.interval,
        log=under.log,
        began_at=under.began_at,
        ended_at=under.ended_at,
        model=under.model,
        worker_version=VERSION,
        fingerprint_now=under.fingerprint,
        fingerprints_then=dict(found.fingerprints_then),
        settings_digest=under.settings_digest,
        partitions=tuple(_read(partition, account) for partition, account in sorted(replayed.scanned.items())),
        records=len(found.comparisons),
        counts=found.counts,
        changed=changes(found.comparisons),
        results_then_more_than_once=then.repeated,
        contradictory_then=_places(found.contradictory),
        unreadable_then=_places(then.unreadable),
        unreadable_now=replayed.unreadable,
        not_written=_places(replayed.unpublished),
        without_time=_places(_undated(found)),
        gone=tuple(_gone(partition, offsets) for partition, offsets in found.gone),
        lost_then=tuple(LostThen(**_place(at), detail=detail) for at, detail in found.lost_then.items()),
        offsets_without_a_record={name(p): tuple(offsets) for p, offsets in replayed.gaps.items()},
        differences=tuple(_difference(c) for c in found.comparisons if c.outcome != "same"),
    )


def changes(comparisons: Iterable[Comparison]) -> Changes:
    """How many changed in what a clinician meets, beside how many changed at all."""
    both = [comparison for comparison in comparisons if comparison.both]
    changed = [comparison for comparison in both if comparison.outcome != "same"]
    verdicts = {c.at for c in changed if c.outcome in ("verdict_differs", "rejected_now", "rejected_then")}
    flags = {c.at for c in changed if c.flag_changed}
    return Changes(
        verdicts=len(verdicts),
        flags=len(flags),
        published=len(changed),
        published_only=len(changed) - len(verdicts | flags),
    )


def name(partition: TopicPartition) -> str:
    """A partition in one word."""
    return f"{partition.topic}/{partition.partition}"


def _undated(found: Comparisons) -> Iterable[Coordinates]:
    return (
        Coordinates(partition, offset)
        for partition, account in sorted(found.replayed.scanned.items())
        for offset in account.undated
    )


def _read(partition: TopicPartition, account: Scanned) -> PartitionRead:
    if account.unread is not None:
        ended = f"it could not be read further: {account.unread}"
    elif account.ended_early:
        ended = f"{LATER_IN_A_ROW} records in a row were later than the interval's end by more than the slack"
    else:
        ended = "the end of what was asked for, or of the partition as it was at the start"
    return PartitionRead.model_validate(
        {
            "partition": name(partition), "from": account.start, "to": account.next, "first": account.first,
            "last": account.last, "records": account.inside, "outside": account.outside, "ended": ended,
        }
    )  # fmt: skip


def _gone(partition: TopicPartition, offsets: range) -> GoneOffsets:
    span = {"partition": name(partition), "from": offsets.start, "to": offsets.stop, "count": len(offsets)}
    return GoneOffsets.model_validate(span)


def _difference(comparison: Comparison) -> Difference:
    return Difference(
        topic=comparison.at.partition.topic,
        partition=comparison.at.partition.partition,
        offset=comparison.at.offset,
        outcome=comparison.outcome,
        then=comparison.then,
        now=comparison.now,
        probability_change=comparison.probability_change,
        flag_changed=comparison.flag_changed,
        differing=comparison.differing,
    )


def _places(coordinates: Iterable[Coordinates]) -> tuple[RecordRef, ...]:
    return tuple(RecordRef(**_place(at)) for at in coordinates)


def _place(at: Coordinates) -> dict[str, object]:
    return {"topic": at.partition.topic, "partition": at.partition.partition, "offset": at.offset}
