"""What the worker says today of a past interval, beside what it said then: record by record, by coordinates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from adapters.log import Log, TopicPartition
from schemas.audit_report import OUTCOMES, Outcome
from worker.audit.replay import Replayed
from worker.audit.said import Said, differing, said
from worker.history.interval import Coordinates, Interval
from worker.history.results import read_results, source_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """One record's two results. `differing` names the top-level fields that differ; values are left to the topics."""

    at: Coordinates
    outcome: Outcome
    then: str | None
    now: str | None
    probability_change: float | None = None
    flag_changed: bool = False
    differing: tuple[str, ...] = ()

    @property
    def both(self) -> bool:
        """Whether something was said both times, so that something was compared."""
        return self.outcome not in ("missing", "extra", "lost_then")


@dataclass(slots=True)
class Published:
    """What was said then: results for the interval's records, those that are gone included.

    `repeated` is how many of them stand there more than once, and `contradictory` are the records about which they then
    said different things, of which the last counts; `unreadable` lie on the live topics and are no results, or of a
    version that is not known, so that nobody can say which record they are about. `read_to` is how far it was read.
    """

    results: dict[Coordinates, Said] = field(default_factory=dict)
    repeated: int = 0
    unreadable: list[Coordinates] = field(default_factory=list)
    read_to: dict[TopicPartition, int] = field(default_factory=dict)
    contradictory: set[Coordinates] = field(default_factory=set)

    def known(self, interval: Interval) -> dict[TopicPartition, int]:
        """Before which offset of each partition records of the interval lie for sure, for they had a result."""
        ends: dict[TopicPartition, int] = {}
        for at, result in self.results.items():
            if interval.place(result.timestamp_ms) == "inside":
                ends[at.partition] = max(ends.get(at.partition, 0), at.offset + 1)
        return ends


@dataclass(frozen=True)
class Comparisons:
    """The whole comparison, and what of the interval could not be read."""

    comparisons: tuple[Comparison, ...]
    then: Published
    replayed: Replayed
    gone: tuple[tuple[TopicPartition, range], ...]
    lost_then: Mapping[Coordinates, str]
    fingerprints_then: Mapping[str, int]
    cut: Mapping[TopicPartition, int]
    contradictory: tuple[Coordinates, ...]

    @cached_property
    def counts(self) -> dict[Outcome, int]:
        """How often each outcome occurred, all of them named."""
        found = Counter(comparison.outcome for comparison in self.comparisons)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def compared(self) -> int:
        """Records of which something was said both times."""
        return sum(comparison.both for comparison in self.comparisons)

    @property
    def all_same(self) -> bool:
        """Something was compared, nothing differs, nothing is or may be gone, and all that was said is read."""
        return not self.reasons

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not all the same, in sentences."""
        differ = sum(c.outcome not in ("same", "lost_then") for c in self.comparisons)
        unread = sum(account.unread is not None for account in self.replayed.scanned.values())
        counted = {
            f"{differ} of {len(self.comparisons)} records differ": differ,
            f"{sum(len(offsets) for _, offsets in self.gone)} offsets are gone from the log": len(self.gone),
            f"{unread} partitions could not be read to their end": unread,
            f"{len(self.contradictory)} records have results of then that differ from each other": len(
                self.contradictory
            ),
            f"{len(self.then.unreadable)} records on the live topics cannot be read": len(self.then.unreadable),
            f"{len(self.replayed.unpublished)} results could not be written": len(self.replayed.unpublished),
            f"{self.replayed.unreadable} results of now cannot be read": self.replayed.unreadable,
        }
        nothing = () if self.compared else (self._why_nothing(),)
        cut = (
            f"{partition.topic}/{partition.partition} begins at offset {first}, and nothing held there is older than "
            "the interval: records that are gone may have been of it"
            for partition, first in sorted(self.cut.items())
        )
        return (*nothing, *(sentence for sentence, count in counted.items() if count), *cut)

    def _why_nothing(self) -> str:
        if not self.comparisons and not self.replayed.read:
            return "nothing was compared: no record lies in the interval"
        return "nothing was compared: no record of the interval has a result of then and one of now"


def published(log: Log, topics: tuple[str, ...], interval: Interval, before: Published | None = None) -> Published:
    """What the live topics hold of the interval; `before` is what they held when they were read last."""
    then = before or Published()
    for record, result in read_results(log, topics, dict(then.read_to)):
        then.read_to[record.topic_partition] = record.offset + 1
        if result is None:
            then.unreadable.append(Coordinates(record.topic_partition, record.offset))
            continue
        at = source_of(result)
        if not interval.could_hold(at):
            continue
        short = said(result)
        if interval.place(short.timestamp_ms) != "outside":
            if (before_it := then.results.get(at)) is not None:
                then.repeated += 1
                if differing(before_it, short):
                    then.contradictory.add(at)
            then.results[at] = short
    return then


def compare(then: Published, replayed: Replayed, interval: Interval) -> Comparisons:
    """Hold both results of every record against each other."""
    now = replayed.results
    before = {
        at: result for at, result in then.results.items() if at in now or _belongs(at, result, replayed, interval)
    }
    comparisons = tuple(_compare(at, before.get(at), now.get(at)) for at in sorted(before.keys() | now.keys()))
    gone = [*interval.expired.items()]
    gone += [(partition, lost) for partition, account in replayed.scanned.items() for lost in account.gone]
    lost_then = {at: result.detail for at, result in sorted(before.items()) if result.lost}
    made_by = Counter(result.fingerprint for result in before.values() if result.fingerprint is not None)
    contradictory = tuple(sorted(then.contradictory & before.keys()))
    return Comparisons(comparisons, then, replayed, tuple(gone), lost_then, made_by, interval.cut, contradictory)


def _belongs(at: Coordinates, result: Said, replayed: Replayed, interval: Interval) -> bool:
    """Whether a result of then, of a record that was not read now, is of the interval all the same."""
    if interval.place(result.timestamp_ms) == "inside":
        return True
    account = replayed.scanned.get(at.partition)
    return account is not None and account.start <= at.offset < account.next


def _compare(at: Coordinates, then: Said | None, now: Said | None) -> Comparison:
    if then is None or now is None:
        missing = Comparison(at, "missing", None, now.says if now else None)
        return Comparison(at, "lost_then" if then.lost else "extra", then.says, None) if then else missing
    fields = differing(then, now)
    outcome: Outcome
    change = None
    if not fields:
        outcome = "same"
    elif then.is_finding != now.is_finding:
        outcome = "rejected_now" if then.is_finding else "rejected_then"
    elif not then.is_finding:
        outcome = "rejection_differs"
    elif then.says != now.says:
        outcome = "verdict_differs"
    else:
        was, is_now = then.probability, now.probability
        outcome = "details_differ" if was == is_now else "probability_differs"
        change = None if was is None or is_now is None else is_now - was
    return Comparison(at, outcome, then.says, now.says, change or None, then.flag != now.flag, fields)
