"""Read a past interval again, through the same stages as live records, without belonging to any group.

`IntervalMember` shows an interval to the `Runner` as if it were a group's member, so that a replay is the live loop
over another source and another topic.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from adapters.deadline import Deadline
from adapters.log import Log, Message, Polled, Position, Publisher, PublishFailed, Record, TopicPartition
from worker.audit.said import Said, said
from worker.history.interval import Coordinates, Interval
from worker.history.results import parse, source_of
from worker.history.scan import Scan, Scanned
from worker.stream.session import PUBLISH_ATTEMPTS
from worker.stream.stop import Stop

# A message that the log does not take is left out. So many one after the other, and it is the log that is away.
REFUSED_IN_A_ROW: Final = 3

_NOTHING_KNOWN: Final[Mapping[TopicPartition, int]] = MappingProxyType({})


@dataclass(slots=True)
class Replayed:
    """What a replay read and said.

    results       what was said, by the record
    scanned       what was read of each partition
    unpublished   records whose result the log did not take; they are compared all the same
    unreadable    results of this program that it could not read back: a defect, counted
    """

    read: int = 0
    results: dict[Coordinates, Said] = field(default_factory=dict)
    scanned: Mapping[TopicPartition, Scanned] = field(default_factory=dict)
    unpublished: list[Coordinates] = field(default_factory=list)
    unreadable: int = 0

    @property
    def passed(self) -> int:
        """Offsets that are done with, results that are still to come among them."""
        return sum(account.next - account.start for account in self.scanned.values())

    @property
    def gaps(self) -> dict[TopicPartition, list[int]]:
        """Offsets that hold no record, in partitions that have any."""
        return {partition: account.holes for partition, account in self.scanned.items() if account.holes}


class IntervalMember:
    """A member of no group, whose partitions are an interval's. Sets `ended` when the last record was handed out."""

    def __init__(
        self,
        log: Log,
        interval: Interval,
        publisher: Publisher,
        ended: Stop,
        on_progress: Callable[[Replayed], None] = lambda _: None,
        known: Mapping[TopicPartition, int] = _NOTHING_KNOWN,
    ) -> None:
        """`known` says before which offset records of the interval lie for sure, as `Scan` takes it."""
        scan = Scan(log, interval, known, go_on=True)
        self.replayed = Replayed(scanned=scan.scanned)
        self._interval = interval
        self._publisher = publisher
        self._ended = ended
        self._on_progress = on_progress
        self._steps: Iterator[tuple[Record, bool]] = scan.steps()
        self._announced = False
        self._paused = False
        self._refused = 0

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Records of the interval; the first call reports all partitions as assigned, without positions."""
        if not self._announced:
            self._announced = True
            return Polled(assigned=dict.fromkeys(self._interval.ranges))
        if self._paused or self._ended.is_set():
            time.sleep(timeout_s)
            return Polled()
        deadline = Deadline(timeout_s)  # a day's records may lie outside, one after the other
        while True:
            step = next(self._steps, None)
            if step is None:
                self._ended.set()
                return Polled()
            record, belongs = step
            self.replayed.read += belongs
            self._on_progress(self.replayed)
            if belongs:
                return Polled((record,))
            if deadline.expired:
                return Polled()

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Hand out nothing. A replay is in no hurry, so one full partition holds up the others."""
        self._paused = True

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """Go on."""
        self._paused = False

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write results; nobody's position moves. Raises PublishFailed if the log takes none."""
        left_out = self._publish(messages)
        for message in messages:
            result = parse(message.value)
            if result is None:
                self.replayed.unreadable += 1
                continue
            at = source_of(result)
            self.replayed.results[at] = said(result)
            if any(message is other for other in left_out):
                self.replayed.unpublished.append(at)
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

    def _publish(self, messages: Sequence[Message]) -> list[Message]:
        """Write them, together or else each alone; those that the log does not take."""
        for _ in range(PUBLISH_ATTEMPTS):
            try:
                self._publisher.publish(messages)
            except PublishFailed:
                continue
            self._refused = 0
            return []
        left_out = []
        for message in messages:
            try:
                self._publisher.publish([message])
                self._refused = 0
            except PublishFailed:
                left_out.append(message)
                self._refused += 1
                if self._refused >= REFUSED_IN_A_ROW:
                    raise
        return left_out
