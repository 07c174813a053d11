"""Settling the open records of a topic one by one, each once, in the memory of a group that has one member.

Records are *open* until they are settled; which are, the group's position says, with the ledger's notes of what is
settled beyond it. A transaction that failed may have been committed all the same: then the positions are read again,
and they say what became of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from adapters.log import Log, LogError, Message, PublishFailed, Record, TopicPartition
from worker.stream.group_position import GroupPosition, Positions
from worker.stream.ledger import PartitionLedger
from worker.stream.session import PUBLISH_ATTEMPTS

T = TypeVar("T")


@dataclass(frozen=True)  # no slots: a generic one with them cannot be made under an alias
class Settlement(Generic[T]):
    """A record that can be settled, what is told of it then, and what is written in the same transaction."""

    partition: TopicPartition
    offset: int
    outcome: T
    message: Message | None = None


class Settling(Generic[T]):
    """Remembers what is settled. `on_settled` hears of each record once, when it is certain."""

    def __init__(self, position: GroupPosition, on_settled: Callable[[T], None]) -> None:
        self._position = position
        self._on_settled = on_settled
        self._ledgers: dict[TopicPartition, PartitionLedger] = {}
        self._uncertain: Sequence[Settlement[T]] = ()  # of a transaction whose outcome is not known yet

    def run(self, settle: Callable[[Positions], None]) -> None:
        """Call `settle` with where the group stands; after a failed transaction again, a few times.

        Raises LogError if the log cannot do it, or the position cannot remember it.
        """
        for attempt in range(PUBLISH_ATTEMPTS):
            positions = self._position.positions()
            self._resolve_uncertain(positions)
            self._ledgers = {partition: PartitionLedger(position) for partition, position in positions.items()}
            try:
                settle(positions)
            except PublishFailed:
                if attempt == PUBLISH_ATTEMPTS - 1:
                    raise
            else:
                return

    def open_records(self, log: Log, positions: Positions, ends: Mapping[TopicPartition, range]) -> Iterator[Record]:
        """The open records from the positions on, up to where the ranges end.

        All have to be read, also by whoever wants a few of them: what is passed by stays open.
        """
        ranges = {
            partition: range(position.offset if position else 0, ends[partition].stop)
            for partition, position in positions.items()
        }
        for record in log.read(ranges):
            self._position.heartbeat()
            if self._ledgers[record.topic_partition].take(record.offset):
                yield record

    def heartbeat(self) -> None:
        """Stay the group's member. Raises PublishFailed if its positions count no more."""
        self._position.heartbeat()

    def pass_by(self, record: Record) -> None:
        """It is nothing to settle: it is remembered with the next that is."""
        self._ledgers[record.topic_partition].finish(record.offset)

    def settle(self, settlements: Sequence[Settlement[T]]) -> None:
        """Write and remember them in one transaction, then tell. Raises LogError if not all can be remembered."""
        noted: list[Settlement[T]] = []
        too_far: Settlement[T] | None = None
        for each in sorted(settlements, key=lambda each: (each.partition, each.offset)):
            if not self._ledgers[each.partition].finish(each.offset):
                too_far = each
                break
            noted.append(each)
        if noted:
            positions = {each.partition: self._ledgers[each.partition].position() for each in noted}
            self._uncertain = noted
            self._position.commit([each.message for each in noted if each.message], positions)
            self._uncertain = ()
            for each in noted:
                self._on_settled(each.outcome)
        if too_far is not None:
            raise LogError(self._too_far(too_far))

    def _resolve_uncertain(self, positions: Positions) -> None:
        """The committed positions say which records of a failed transaction are settled nevertheless."""
        for each in self._uncertain:
            position = positions[each.partition]
            if position is not None and (
                each.offset < position.offset or not PartitionLedger(position).take(each.offset)
            ):
                self._on_settled(each.outcome)
        self._uncertain = ()

    def _too_far(self, each: Settlement[T]) -> str:
        topic, partition = each.partition.topic, each.partition.partition
        first_open = self._ledgers[each.partition].position().offset
        return (
            f"the rejection {topic}/{partition}/{each.offset} lies too far beyond {topic}/{partition}/{first_open}, "
            "the first one still open, to be remembered: redrive the earlier ones, or give them up (--give-up with "
            "--from, --to, --reason), then run this again"
        )
