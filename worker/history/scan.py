"""The records of an interval, in the order of the log, and an account of what was read and what was not there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from adapters.log import Log, LogError, Record, TopicPartition
from worker.history.interval import Interval

# So many records in a row that are all long after the interval are the log's order, and no clock that is wrong.
LATER_IN_A_ROW: Final = 1000

_NOTHING_KNOWN: Final[Mapping[TopicPartition, int]] = MappingProxyType({})


@dataclass(slots=True)
class Scanned:
    """What was read of one partition: the offsets from `start` to `next`, `next` exclusive.

    inside    records of the interval, from the offset `first` to `last`; `undated` are those among them whose time
              nobody knows: they are read, for nobody can say that they lie outside
    outside   records whose own time lies outside
    gaps      offsets without a record; those before `held_from` the log has let go or lost, the others never had one
    unread    why reading ended before the end, if it did
    """

    start: int
    next: int
    inside: int = 0
    outside: int = 0
    first: int | None = None
    last: int | None = None
    undated: list[int] = field(default_factory=list)
    gaps: list[range] = field(default_factory=list)
    held_from: int = 0
    ended_early: bool = False
    unread: str | None = None

    @property
    def holes(self) -> list[int]:
        """Offsets that hold no record: a transaction's marker, or one that compaction removed."""
        return [offset for gap in self.gaps for offset in gap if offset >= self.held_from]

    @property
    def gone(self) -> list[range]:
        """Offsets that the log let go before they were read, or lost."""
        cut = (range(gap.start, min(gap.stop, self.held_from)) for gap in self.gaps)
        return [gap for gap in cut if gap]

    def skip(self, offset: int) -> None:
        """All before this offset was read, and what is missing there is a gap."""
        if offset > self.next:
            self.gaps.append(range(self.next, offset))
        self.next = max(self.next, offset)

    def note(self, record: Record, *, belongs: bool, dated: bool) -> None:
        """A record was read."""
        self.skip(record.offset)
        self.next = record.offset + 1
        if not belongs:
            self.outside += 1
            return
        self.inside += 1
        self.first = record.offset if self.first is None else self.first
        self.last = record.offset
        if not dated:
            self.undated.append(record.offset)


class Scan:
    """Reads an interval, one partition after the other. One instance a reading.

    In an interval that ends at a time, a partition is read until so many records in a row are later than that by more
    than the slack, or to its end. So a record is found wherever its producer's clock put it, as long as it was written
    within the slack after its own time; and no single clock that is ahead, by whatever much, ends the reading.
    """

    def __init__(
        self,
        log: Log,
        interval: Interval,
        known: Mapping[TopicPartition, int] = _NOTHING_KNOWN,
        *,
        go_on: bool = False,
    ) -> None:
        """`known` says before which offset of a partition records of the interval lie for sure: so far it is read.

        `go_on`: a partition that cannot be read to its end is noted, and the others are read; without it, LogError.
        """
        self.scanned: dict[TopicPartition, Scanned] = {}
        self._log = log
        self._interval = interval
        self._known = known
        self._go_on = go_on

    def __iter__(self) -> Iterator[Record]:
        """The records of the interval."""
        return (record for record, belongs in self.steps() if belongs)

    def steps(self) -> Iterator[tuple[Record, bool]]:
        """Every record that is read, with whether it belongs to the interval."""
        for partition, offsets in self._interval.ranges.items():
            account = self.scanned[partition] = Scanned(offsets.start, offsets.start)
            try:
                yield from self._read(partition, offsets, account)
                if account.gaps:
                    is_lost = self._log.every_offset_is_a_record
                    account.held_from = offsets.stop if is_lost else self._log.bounds(partition)[0]
            except LogError as error:
                if not self._go_on:
                    raise
                account.unread = str(error)

    def _read(self, partition: TopicPartition, offsets: range, account: Scanned) -> Iterator[tuple[Record, bool]]:
        later = 0
        for record in self._log.read({partition: offsets}):
            place = self._interval.place(record.timestamp_ms)
            account.note(record, belongs=place != "outside", dated=place != "undated")
            yield record, place != "outside"
            if place != "undated":  # which says nothing about where we are
                later = later + 1 if self._interval.long_after(record.timestamp_ms) else 0
            if later >= LATER_IN_A_ROW and account.next >= self._known.get(partition, 0):
                account.ended_early = True
                return
        account.skip(offsets.stop)
