"""Where records lie: coordinates of one, and an interval of many whose offsets are fixed at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from adapters.log import Log, TopicPartition


class Coordinates(NamedTuple):
    """Where one record lies, in the order of the log. What is published says it as `schemas.finding.RecordRef`."""

    partition: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of an interval as a person states it: an offset in every partition, or a time."""

    offset: int | None = None
    timestamp_ms: int | None = None

    def resolve(self, log: Log, partition: TopicPartition) -> int:
        """The offset that it means in this partition: that of the first record at or after the time."""
        if self.offset is not None:
            return self.offset
        assert self.timestamp_ms is not None
        found = log.offset_at(partition, self.timestamp_ms)
        return log.bounds(partition)[1] if found is None else found


@dataclass(frozen=True, slots=True)
class Interval:
    """Offsets to read in each partition, and how many of those asked for the log no longer holds."""

    ranges: Mapping[TopicPartition, range]
    expired: Mapping[TopicPartition, range]

    @classmethod
    def resolve(cls, log: Log, topic: str, start: Bound, end: Bound) -> "Interval":
        """Fix the interval as it is now. What arrives later is not part of it."""
        ranges, expired = {}, {}
        for partition in log.partitions(topic):
            first, last = log.bounds(partition)
            asked = range(start.resolve(log, partition), min(end.resolve(log, partition), last))
            ranges[partition] = range(max(asked.start, first), asked.stop)
            if asked.start < min(first, asked.stop):
                expired[partition] = range(asked.start, min(first, asked.stop))
        return cls(ranges, expired)

    def __len__(self) -> int:
        return sum(map(len, self.ranges.values()))
