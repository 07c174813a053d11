"""What the worker says today of a past interval, beside what it said then: record by record, by coordinates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from adapters.log import Log, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.audit.replay import Replayed
from worker.history.interval import Coordinates, Interval
from worker.history.results import Result, read_results, source_of

Outcome = Literal[
    "same", "probability_differs", "verdict_differs", "details_differ", "rejected_now", "rejected_then",
    "rejection_differs", "missing", "extra",
]  # fmt: skip

OUTCOMES: Final[dict[Outcome, str]] = {
    "same": "the same finding, or the same rejection",
    "probability_differs": "the same verdict with another probability",
    "verdict_differs": "another verdict",
    "details_differ": "the same verdict and probability, something else differs",
    "rejected_now": "a finding then, a rejection now",
    "rejected_then": "a rejection then, a finding now",
    "rejection_differs": "a rejection both times, for another reason",
    "missing": "a result now, none then",
    "extra": "a result then, none now: the record is gone",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One record's two results. `differing` names the top-level fields that differ; values are left to the topics."""

    at: Coordinates
    outcome: Outcome
    then: str | None
    now: str | None
    probability_change: float | None = None
    differing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What was said then: results for the interval's records, those that are gone included.

    `repeated` is how many of them stand there more than once; `unreadable` lie on the live topics and are no results,
    or of a version that is not known, so that nobody can say which record they are about.
    """

    results: Mapping[Coordinates, Result]
    repeated: int = 0
    unreadable: tuple[Coordinates, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The whole comparison, and what of the interval could not be read."""

    comparisons: tuple[Comparison, ...]
    expired: Mapping[TopicPartition, range]
    gaps: Mapping[TopicPartition, list[int]]
    repeated: int
    unreadable: tuple[Coordinates, ...]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How often each outcome occurred, all of them named."""
        found = Counter(comparison.outcome for comparison in self.comparisons)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def all_same(self) -> bool:
        """Every record says today what it said then, nothing of the interval is gone, and all that was said is read."""
        complete = not self.expired and not self.unreadable
        return complete and all(comparison.outcome == "same" for comparison in self.comparisons)

    def as_json(self) -> dict[str, Any]:
        """The report as it is written; the records that are the same are counted, not listed."""
        return {
            "schema": "ecg-audit-report/1",
            "all_same": self.all_same,
            "records": len(self.comparisons),
            "counts": self.counts,
            "results_then_more_than_once": self.repeated,
            "unreadable_then": [_place(at) for at in self.unreadable],
            "gone": [_span(partition, offsets) for partition, offsets in self.expired.items()],
            "offsets_without_a_record": {_name(p): offsets for p, offsets in self.gaps.items()},
            "differences": [_difference(c) for c in self.comparisons if c.outcome != "same"],
        }


def published(log: Log, topics: tuple[str, ...], interval: Interval) -> Published:
    """What the live topics hold of the interval."""
    found: dict[Coordinates, Result] = {}
    repeated = 0
    unreadable: list[Coordinates] = []
    for record, result in read_results(log, topics):
        if result is None:
            unreadable.append(Coordinates(record.topic_partition, record.offset))
            continue
        at = source_of(result)
        if at.offset in interval.ranges.get(at.partition, ()) or at.offset in interval.expired.get(at.partition, ()):
            repeated += at in found
            found[at] = result
    return Published(found, repeated, tuple(unreadable))


def compare(then: Published, replayed: Replayed, interval: Interval) -> Report:
    """Hold both results of every record against each other."""
    before, now = then.results, replayed.results
    comparisons = tuple(_compare(at, before.get(at), now.get(at)) for at in sorted(before.keys() | now.keys()))
    return Report(comparisons, interval.expired, replayed.gaps, then.repeated, then.unreadable)


def _compare(at: Coordinates, then: Result | None, now: Result | None) -> Comparison:
    said_then, said_now = _says(then), _says(now)
    if then is None or now is None:
        return Comparison(at, "missing" if then is None else "extra", said_then, said_now)
    differing = _differing(then, now)
    outcome: Outcome
    change = None
    if isinstance(then, Rejection) or isinstance(now, Rejection):
        if type(then) is not type(now):
            outcome = "rejected_now" if isinstance(now, Rejection) else "rejected_then"
        else:
            outcome = "rejection_differs" if differing else "same"
    elif not differing:
        outcome = "same"
    elif said_then != said_now:
        outcome = "verdict_differs"
    else:
        was, is_now = then.assessment.probability, now.assessment.probability
        outcome = "details_differ" if was == is_now else "probability_differs"
        change = None if was is None or is_now is None else is_now - was
    return Comparison(at, outcome, said_then, said_now, change or None, differing)


def _differing(then: Result, now: Result) -> tuple[str, ...]:
    """The top-level fields that are not equal, as they are published."""
    before, after = (result.model_dump(mode="json", by_alias=True) for result in (then, now))
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def _says(result: Result | None) -> str | None:
    """A finding's verdict, or a rejection's reason."""
    if result is None:
        return None
    return str(result.assessment.verdict if isinstance(result, Finding) else result.reason)


def _difference(comparison: Comparison) -> dict[str, Any]:
    return _place(comparison.at) | {
        "outcome": comparison.outcome,
        "then": comparison.then,
        "now": comparison.now,
        "probability_change": comparison.probability_change,
        "differing": comparison.differing,
    }


def _place(at: Coordinates) -> dict[str, Any]:
    return {"topic": at.partition.topic, "partition": at.partition.partition, "offset": at.offset}


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


def _span(partition: TopicPartition, offsets: range) -> dict[str, Any]:
    return {"partition": _name(partition), "from": offsets.start, "to": offsets.stop, "count": len(offsets)}
