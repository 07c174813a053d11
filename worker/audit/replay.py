"""Read a past interval again, through the same stages as live records, without belonging to any group.

`Interval` is what is to be read: offsets, fixed at the start, and what of them is gone. `IntervalMember` shows it to
the `Runner` as if it were a group's member, so that a replay is the live loop over another source and another topic.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.deadline import Deadline
from adapters.log import Log, Message, Polled, Position, Publisher, PublishFailed, Record, TopicPartition
from worker.history.interval import Coordinates, Interval
from worker.history.results import Result, parse, source_of
from worker.stream.session import PUBLISH_ATTEMPTS
from worker.stream.stop import Stop


@dataclass(slots=True)
class Replayed:
    """What a replay read and said. `results` are what was published; `gaps` offsets without a record."""

    read: int = 0
    results: dict[Coordinates, Result] = field(default_factory=dict)
    gaps: dict[TopicPartition, list[int]] = field(default_factory=dict)


class IntervalMember:
    """A member of no group, whose partitions are an interval's. Sets `ended` when the last record was handed out."""

    def __init__(
        self,
        log: Log,
        interval: Interval,
        publisher: Publisher,
        ended: Stop,
        on_progress: Callable[[Replayed], None] = lambda _: None,
    ) -> None:
        self.replayed = Replayed()
        self._interval = interval
        self._publisher = publisher
        self._ended = ended
        self._on_progress = on_progress
        self._records: Iterator[Record] = log.read(interval.ranges)
        self._seen = {partition: offsets.start for partition, offsets in interval.ranges.items()}
        self._announced = False
        self._paused = False

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Records of the interval; the first call reports all partitions as assigned, without positions."""
        if not self._announced:
            self._announced = True
            return Polled(assigned=dict.fromkeys(self._interval.ranges))
        if self._paused or self._ended.is_set():
            time.sleep(timeout_s)
            return Polled()
        record = next(self._records, None)
        if record is None:
            for partition, offsets in self._interval.ranges.items():
                self._note_gaps(partition, offsets.stop)
            self._ended.set()
            return Polled()
        self._note_gaps(record.topic_partition, record.offset)
        self._seen[record.topic_partition] = record.offset + 1
        self.replayed.read += 1
        self._on_progress(self.replayed)
        return Polled((record,))

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Hand out nothing. A replay is in no hurry, so one full partition holds up the others."""
        self._paused = True

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """Go on."""
        self._paused = False

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write results; nobody's position moves."""
        for attempt in range(PUBLISH_ATTEMPTS):
            try:
                self._publisher.publish(messages)
                break
            except PublishFailed:
                if attempt == PUBLISH_ATTEMPTS - 1:
                    raise
        for message in messages:
            result = parse(message.value)
            assert result is not None  # it was made here
            self.replayed.results[source_of(result)] = result
        self._on_progress(self.replayed)

    def rewind(self) -> None:
        """A replay that cannot publish cannot go on."""
        raise PublishFailed("the results of the replay could not be published")

    def behind(self) -> Mapping[TopicPartition, int]:
        """An interval that stands still is noticed by reading it: see `Log.read`."""
        return {}

    def close(self, deadline: Deadline | None = None) -> None:
        """Give up the publisher."""
        self._publisher.close()

    def _note_gaps(self, partition: TopicPartition, offset: int) -> None:
        missing = range(self._seen[partition], offset)
        if missing:
            self.replayed.gaps.setdefault(partition, []).extend(missing)
