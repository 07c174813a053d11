"""Where records lie: coordinates of one, and an interval of many that is fixed at the start.

An interval is stated in offsets or in times. A record lies in an interval of times if its own time does, wherever it
lies in its partition: producers' clocks are ahead or behind, so that times do not ascend with offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from adapters.log import Log, Record, TopicPartition
from schemas.errors import WorkerError
from schemas.finding import utc_from_ms

SLACK_S: Final = 24 * 3600.0
"""How far behind a producer's clock may be: a wrong time zone is half a day, a wrong date often a whole one."""

Place = Literal["inside", "outside", "undated"]


class IntervalError(WorkerError):
    """The interval ends before it begins."""

    exit_code = 2


class Coordinates(NamedTuple):
    """Where one record lies, in the order of the log. What is published says it as `schemas.finding.RecordRef`."""

    partition: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of an interval as a person states it: an offset in every partition, or a time. Neither: it is open."""

    offset: int | None = None
    timestamp_ms: int | None = None

    def after(self, other: "Bound") -> bool:
        """Whether it is plainly the later of the two; an offset and a time cannot be compared."""
        if self.offset is not None and other.offset is not None:
            return self.offset > other.offset
        if self.timestamp_ms is not None and other.timestamp_ms is not None:
            return self.timestamp_ms > other.timestamp_ms
        return False


OPEN: Final = Bound()


@dataclass(frozen=True, slots=True)
class Interval:
    """What to read of each partition, and which of those records count.

    ranges     offsets among which the records lie; with a time at either end not every record there is one of them
    expired    offsets that were asked for and that the log no longer holds
    slack_ms   how long after its own time a record may have been written and still be found, see `Scan`
    cut        where nobody knows whether records that the log let go were of the interval, for it begins at a time and
               the log holds none from before that: the first offset held
    """

    ranges: Mapping[TopicPartition, range]
    expired: Mapping[TopicPartition, range]
    start: Bound = OPEN
    end: Bound = OPEN
    slack_ms: int = round(SLACK_S * 1000)
    cut: Mapping[TopicPartition, int] = field(default_factory=dict)

    @classmethod
    def resolve(
        cls,
        log: Log,
        topics: Sequence[str],
        start: Bound,
        end: Bound,
        slack_s: float = SLACK_S,
        *,
        only: int | None = None,
    ) -> "Interval":
        """Fix the interval as it is now, in all partitions of the topics. What arrives later is not part of it.

        `only` is the number of the one partition that is meant, of each topic.

        The first record at or after a time is where the log says that it is, whatever clocks did. Where the last one
        before a time lies no log can say: that is found by reading, up to the end of the partition at most.
        Raises IntervalError if it is reversed, in so far as that can be told.
        """
        reversed_ = start.after(end)
        ranges, expired, cut, backwards = {}, {}, {}, []
        there = (partition for topic in topics for partition in log.partitions(topic))
        for partition in (partition for partition in there if only in (None, partition.partition)):
            first, last = log.bounds(partition)
            begin = _first_offset(log, partition, start, first, last)
            stop = last if end.offset is None else min(end.offset, last)
            backwards.append(end.offset is not None and begin > end.offset)
            asked = range(begin, stop)
            ranges[partition] = range(max(begin, first), stop)
            if asked.start < min(first, asked.stop):
                expired[partition] = range(asked.start, min(first, asked.stop))
            if start.timestamp_ms is not None and begin == first > 0:
                cut[partition] = first
        if reversed_ or (backwards and all(backwards)):
            raise IntervalError("the interval ends before it begins; state the earlier end first")
        return cls(ranges, expired, start, end, round(slack_s * 1000), cut)

    @property
    def by_time(self) -> bool:
        """Whether times decide which records count."""
        return self.start.timestamp_ms is not None or self.end.timestamp_ms is not None

    def place(self, timestamp_ms: int | None) -> Place:
        """Where a record among the offsets lies by its own time; no time, or one beyond the calendar, tells nothing."""
        if not self.by_time:
            return "inside"
        if timestamp_ms is None or utc_from_ms(timestamp_ms) is None:
            return "undated"
        since, until = self.start.timestamp_ms, self.end.timestamp_ms
        inside = (since is None or since <= timestamp_ms) and (until is None or timestamp_ms < until)
        return "inside" if inside else "outside"

    def holds(self, record: Record) -> bool:
        """Whether a record is one of the interval's. One without a time is, if its offset is: nobody can say no."""
        among = record.offset in self.ranges.get(record.topic_partition, ())
        return among and self.place(record.timestamp_ms) != "outside"

    def long_after(self, timestamp_ms: int | None) -> bool:
        """Whether a record's own time lies after the end by more than the slack."""
        until = self.end.timestamp_ms
        return until is not None and timestamp_ms is not None and timestamp_ms >= until + self.slack_ms

    def could_hold(self, at: Coordinates) -> bool:
        """Whether a record with these coordinates was asked for, in so far as coordinates tell."""
        return at.partition in self.ranges and (self.start.offset or 0) <= at.offset < self.ranges[at.partition].stop

    def __len__(self) -> int:
        return sum(map(len, self.ranges.values()))


def _first_offset(log: Log, partition: TopicPartition, start: Bound, first: int, last: int) -> int:
    if start.offset is not None:
        return start.offset
    if start.timestamp_ms is None:
        return first
    found = log.offset_at(partition, start.timestamp_ms)
    return last if found is None else found
