"""Commands on rejections: list them, and put their records back on the inbound topic."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.log import Log, TopicPartition
from cli import options, output
from cli.settings import Settings
from cli.wiring import stages as wiring
from schemas.finding import Coordinates
from schemas.rejection import Reason

if TYPE_CHECKING:
    from worker.redrive.redriver import Outcome, Seat

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

# After every possible offset.
_END = "9223372036854775807"

app = typer.Typer(help="List rejections, and put their records back on the inbound topic.", no_args_is_help=True)


@app.command("list")
def list_(
    reason: Reasons = None,
    start: From = None,
    end: To = None,
    count: Annotated[bool, typer.Option("--count", help="one line a code, with how many there are")] = False,
    log: options.LogUrl = None,
    config: options.Config = None,
) -> None:
    """Print each committed rejection as one JSON line, first to last in each partition.

    Example: ecg-worker rejections list --reason payload.unknown_format --from 2026-03-03T00:00:00Z
    """
    settings = Settings.load(log=log, config=config)
    wanted = _reasons(reason)
    counts = Counter[str]()
    unreadable = 0
    with wiring.opened_log(settings) as opened:
        wiring.require_topics(opened, settings.rejections_topic)
        for place, value in _published(opened, _ranges(opened, settings.rejections_topic, start, end)):
            if value is None:
                unreadable += 1
                output.tell(f"{_name(place)} is no rejection")
            elif not wanted or value["reason"] in wanted:
                counts[value["reason"]] += 1
                if not count:
                    output.emit_json(value)
    if count:
        for code, number in counts.most_common():
            output.emit_json({"reason": code, "count": number})
    raise typer.Exit(int(unreadable > 0))


@app.command()
def redrive(
    reason: Reasons = None,
    start: From = None,
    end: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done; move nothing")] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="settle the selected rejections without putting their records back")
    ] = False,
    log: options.LogUrl = None,
    group: options.Group = None,
    config: options.Config = None,
) -> None:
    """Put the original record of each selected rejection back on the inbound topic, once, as it first came.

    What was redriven is remembered (consumer group GROUP-redrive); what was not selected, or not possible, stays open
    for a later run, until it is given up. Prints one JSON line a rejection. Exits 1 if one could not be redriven.

    Example: ecg-worker rejections redrive --reason payload.unknown_format --dry-run
    """
    from adapters.log import check_messages
    from worker.redrive.redriver import Plan, Redriver

    settings = Settings.load(log=log, group=group, config=config)
    reasons = _reasons(reason)
    counts = Counter[str]()
    with ExitStack() as parts:
        opened = parts.enter_context(wiring.opened_log(settings))
        wiring.require_topics(opened, settings.inbound_topic, settings.rejections_topic)
        ranges = _ranges(opened, settings.rejections_topic, start, end)
        plan = Plan(settings.inbound_topic, ranges, reasons, give_up)
        done = "given_up" if give_up else "redriven"

        def tell(outcome: "Outcome") -> None:
            counts["refused" if outcome.refusal else "done"] += 1
            if outcome.refusal:
                output.tell(f"not redriven: {_refused(outcome)}")
            else:
                output.emit_json(_settled(outcome, done, dry_run=dry_run))

        parts.enter_context(output.stderr.status("redriving"))
        Redriver(opened, _seat(opened, settings, parts, dry_run=dry_run), plan, tell, check_messages).run()
    what = done.replace("_", " ")
    output.tell(f"{counts['done']} {'would be ' if dry_run else ''}{what}, {counts['refused']} refused")
    raise typer.Exit(int(counts["refused"] > 0))


def _seat(log: Log, settings: Settings, parts: ExitStack, *, dry_run: bool) -> "Seat":
    """The place in the group that remembers what was redriven."""
    from worker.redrive.group_position import Onlooker, SoleMember

    group, topic = f"{settings.group}-redrive", settings.rejections_topic
    if dry_run:
        return Onlooker(log, group, log.partitions(topic))
    member = parts.enter_context(closing(log.join(group, [topic], settings.member)))
    return SoleMember(member, log.partitions(topic))


def _reasons(codes: list[str] | None) -> frozenset[Reason]:
    known = {reason.value: reason for reason in Reason}
    for code in codes or ():
        if code not in known:
            raise typer.BadParameter(f"{code!r} is no code; docs/rejections.md has them all", param_hint="--reason")
    return frozenset(known[code] for code in codes or ())


def _ranges(log: Log, topic: str, start: str | None, end: str | None) -> dict[TopicPartition, range]:
    """The offsets of the rejections that are asked for, in every partition, fixed as they are now."""
    from worker.audit.replay import Interval

    interval = Interval.resolve(log, topic, wiring.bound(start or "0"), wiring.bound(end or _END))
    return dict(interval.ranges)


def _published(log: Log, ranges: dict[TopicPartition, range]) -> Iterator[tuple[Coordinates, dict[str, Any] | None]]:
    """Each record's place and value; None for a value that is no rejection."""
    for record in log.read(ranges):
        try:
            value = json.loads(record.value)
        except ValueError:
            value = None
        is_one = (
            isinstance(value, dict)
            and value.get("schema") == "ecg-rejection/1"
            and isinstance(value.get("reason"), str)
        )
        place = Coordinates(topic=record.topic, partition=record.partition, offset=record.offset)
        yield place, value if is_one else None


def _settled(outcome: "Outcome", done: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "outcome": done,
        "dry_run": dry_run,
        "reason": outcome.reason,
        "record": outcome.record and outcome.record.model_dump(),
        "rejection": outcome.rejection.model_dump(),
        "redrive": outcome.redrive and outcome.redrive.model_dump(),
    }


def _refused(outcome: "Outcome") -> str:
    """Coordinates and a code; nothing else of the record or the rejection."""
    assert outcome.refusal is not None
    rejected = f"rejection {_name(outcome.rejection)}"
    record = f"record {_name(outcome.record)}, " if outcome.record else ""
    return f"{record}{rejected}: {outcome.refusal}"


def _name(place: Coordinates) -> str:
    return f"{place.topic}/{place.partition}/{place.offset}"
