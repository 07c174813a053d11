"""What the commands on rejections and on deliveries have in common: which are open, which are meant, who remembers."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.log import Log, Position, Record
from schemas.finding import RecordRef

if TYPE_CHECKING:
    from worker.history.interval import Interval
    from worker.stream.group_position import GroupPosition

From = Annotated[
    str | None,
    typer.Option("--from", metavar="T", help="rejections from this offset, or ISO 8601 time; default: the first"),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="T", help="offset or time, exclusive; default: the last rejection now")
]


def position(log: Log, group: str, topic: str, member: str, parts: ExitStack, *, dry_run: bool) -> "GroupPosition":
    """The position in the group that remembers what was settled. Left when `parts` end."""
    from worker.stream.group_position import ExclusiveMember, ReadOnlyPosition

    if dry_run:
        return ReadOnlyPosition(log, group, log.partitions(topic))
    return ExclusiveMember(parts.enter_context(closing(log.join(group, [topic], member))), log.partitions(topic))


def open_first(log: Log, group: str, interval: "Interval") -> Iterator[tuple[bool, Record]]:
    """Each record with whether it is open. Read twice, so that nothing is held in memory.

    The group's positions are asked for once: what is settled meanwhile is neither printed twice nor left out.
    """
    from worker.history.scan import Scan
    from worker.stream.ledger import PartitionLedger

    positions = {partition: log.committed(group, partition) or Position(0) for partition in interval.ranges}
    for open_now in (True, False):
        ledgers = {partition: PartitionLedger(position) for partition, position in positions.items()}
        for record in Scan(log, interval):
            partition = record.topic_partition
            is_open = record.offset >= positions[partition].offset and ledgers[partition].take(record.offset)
            if is_open is open_now:
                yield is_open, record


def name(at: RecordRef) -> str:
    """Where it lies."""
    return f"{at.topic}/{at.partition}/{at.offset}"
