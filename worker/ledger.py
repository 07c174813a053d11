"""Which records are done: per partition the contiguous prefix, and what is done beyond it.

Work finishes out of order; a group's position is one number. So the position says "all before this is done", and its
metadata names what is done after it, so that a restart neither loses nor repeats a record.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Final

from adapters.log import Position, Record, TopicPartition

# The log keeps at most 4096 bytes with a position. One open record can split the done ones into one more range of at
# most about 20 characters, so this bounds how many records may be open at once in one partition.
MAX_METADATA_BYTES: Final = 4096
MAX_OPEN_PER_PARTITION: Final = 150
_VERSION: Final = "1:"


class PartitionLedger:
    """One partition while it is ours. `take` before the work, `finish` when its result is about to be committed."""

    def __init__(self, committed: Position | None) -> None:
        self._next = committed.offset if committed else 0
        self._done = set(_decode(committed)) if committed else set[int]()
        self._open: set[int] = set()

    def take(self, offset: int) -> bool:
        """Note that work on a record begins. False if the record is done already and must not be worked on again."""
        self._next = max(self._next, offset + 1)
        if offset in self._done:
            return False
        self._open.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """Note that the record's result goes into the next commit."""
        self._open.remove(offset)
        self._done.add(offset)

    @property
    def open(self) -> int:
        """Number of records taken and not finished."""
        return len(self._open)

    def position(self) -> Position:
        """What to commit: everything before the first open record, and the finished ones after it."""
        offset = min(self._open, default=self._next)
        self._done = {done for done in self._done if done > offset}
        return Position(offset, _encode(self._done, offset))


class Ledger:
    """The partitions that are ours. A partition that was lost and came back is a new `PartitionLedger`."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, PartitionLedger] = {}

    def assign(self, assigned: Mapping[TopicPartition, Position | None]) -> None:
        """Begin with what the group committed last."""
        for partition, committed in assigned.items():
            self._partitions[partition] = PartitionLedger(committed)

    def revoke(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget partitions. Results still in work for them are void."""
        for partition in revoked:
            self._partitions.pop(partition, None)

    def take(self, record: Record) -> PartitionLedger | None:
        """The ledger that the record's result has to be finished in, or None if there is nothing to do for it."""
        partition = self._partitions.get(record.topic_partition)
        return partition if partition is not None and partition.take(record.offset) else None

    def holds(self, partition: TopicPartition, ledger: PartitionLedger) -> bool:
        """Whether work that began under this ledger still counts."""
        return self._partitions.get(partition) is ledger

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are ours."""
        return frozenset(self._partitions)

    def crowded(self) -> frozenset[TopicPartition]:
        """Partitions in which no further record may be opened."""
        return frozenset(p for p, ledger in self._partitions.items() if ledger.open >= MAX_OPEN_PER_PARTITION)

    def positions(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Position]:
        """What to commit for these partitions."""
        return {partition: self._partitions[partition].position() for partition in partitions}


def _encode(done: set[int], base: int) -> str:
    """Done offsets as ranges relative to the position: "1:2-5,9"."""
    if not done:
        return ""
    ranges: list[str] = []
    for _, run in itertools.groupby(enumerate(sorted(done)), lambda pair: pair[1] - pair[0]):
        offsets = [offset - base for _, offset in run]
        ranges.append(str(offsets[0]) if len(offsets) == 1 else f"{offsets[0]}-{offsets[-1]}")
    return _VERSION + ",".join(ranges)


def _decode(position: Position) -> Iterable[int]:
    """The offsets that a position's metadata names. Metadata that is not ours names none: its records run again."""
    if not position.metadata.startswith(_VERSION):
        return
    for part in position.metadata.removeprefix(_VERSION).split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return
        yield from range(position.offset + int(first), position.offset + int(last or first) + 1)
