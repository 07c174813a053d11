"""What the commands on rejections and on deliveries have in common: which are open, which are meant, who remembers."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from adapters.log import Log, Position, Record
from cli import output
from schemas.delivery import DeliveryReason, DeliveryRejection
from schemas.finding import RecordRef
from schemas.rejection import Reason, Rejection

if TYPE_CHECKING:
    from worker.history.interval import Interval
    from worker.stream.group_position import GroupPosition

R = TypeVar("R", Rejection, DeliveryRejection)
C = TypeVar("C", Reason, DeliveryReason)

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="CODE", help="only rejections with this code; may be given more than once"),
]

From = Annotated[
    str | None,
    typer.Option("--from", metavar="T", help="rejections from this offset, or ISO 8601 time; default: the first"),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="T", help="offset or time, exclusive; default: the last rejection now")
]


def reasons(codes: list[str] | None, known_codes: type[C], page: str) -> frozenset[C]:
    """The codes that were typed; `page` is the document that has them all."""
    known = {reason.value: reason for reason in known_codes}
    for code in codes or ():
        if code not in known:
            raise typer.BadParameter(f"{code!r} is no code; {page} has them all", param_hint="--reason")
    return frozenset(known[code] for code in codes or ())


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


def print_all(
    records: Iterable[tuple[bool, Record]],
    rejection_in: "Callable[[bytes], R | None]",
    is_meant: "Callable[[R], bool]",
    what: str,
    *,
    count: bool,
) -> bool:
    """Print the rejections that are meant, or how many there are for each reason; whether all could be read."""
    counts, open_counts = Counter[str](), Counter[str]()
    all_read = True
    for is_open, record in records:
        rejection = rejection_in(record.value)
        if rejection is None:
            all_read = False
            output.notify(f"{record.topic}/{record.partition}/{record.offset} is no {what}")
        elif is_meant(rejection):
            counts[rejection.reason] += 1
            open_counts[rejection.reason] += is_open
            if not count:
                output.emit_json({"open": is_open, **rejection.model_dump(mode="json", by_alias=True)})
    if count:
        for code in sorted(counts, key=lambda code: (-open_counts[code], -counts[code], code)):
            output.emit_json({"reason": code, "count": counts[code], "open": open_counts[code]})
    return all_read


def name(at: RecordRef) -> str:
    """Where it lies."""
    return f"{at.topic}/{at.partition}/{at.offset}"
