"""Commands on rejections: list them, and put their records back on the inbound topic."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.log import Log, Position, Record
from cli import options, output
from cli.settings import Settings
from cli.wiring.log import open_configured_log, require_topics
from schemas.finding import RecordRef
from schemas.rejection import Reason, Rejection

if TYPE_CHECKING:
    from worker.history.interval import Interval
    from worker.redrive.redriver import RedriveOutcome
    from worker.stream.group_position import GroupPosition

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

app = typer.Typer(help="List rejections, and put their records back on the inbound topic.", no_args_is_help=True)


@app.command("list")
def list_(
    reason: Reasons = None,
    start: From = None,
    end: To = None,
    slack: options.Slack = options.DEFAULT_SLACK_S,
    count: Annotated[bool, typer.Option("--count", help="one line a code, with how many there are")] = False,
    log: options.LogUrl = None,
    group: options.Group = None,
    config: options.Config = None,
) -> None:
    """Print each committed rejection as one JSON line: the open ones first, then those redriven or given up.

    "open" says which it is, as the group that remembers it (GROUP-redrive) has it. Of each kind, first to last in each
    partition.

    Example: ecg-worker rejections list --reason payload.unknown_format --from 2026-03-03T00:00:00Z
    """
    from worker.history.interval import Interval

    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, group=group, config=config)
    wanted = _reasons(reason)
    counts, open_counts = Counter[str](), Counter[str]()
    unreadable = 0
    with open_configured_log(settings) as opened:
        require_topics(opened, settings.rejections_topic)
        interval = Interval.resolve(opened, [settings.rejections_topic], *bounds, slack)
        for is_open, record, rejection in _open_first(opened, f"{settings.group}-redrive", interval):
            if rejection is None:
                unreadable += 1
                output.notify(f"{record.topic}/{record.partition}/{record.offset} is no rejection")
            elif not wanted or rejection.reason in wanted:
                counts[rejection.reason] += 1
                open_counts[rejection.reason] += is_open
                if not count:
                    output.emit_json({"open": is_open, **rejection.model_dump(mode="json", by_alias=True)})
    if count:
        for code in sorted(counts, key=lambda code: (-open_counts[code], -counts[code], code)):
            output.emit_json({"reason": code, "count": counts[code], "open": open_counts[code]})
    raise typer.Exit(int(unreadable > 0))


@app.command()
def redrive(
    reason: Reasons = None,
    start: From = None,
    end: To = None,
    slack: options.Slack = options.DEFAULT_SLACK_S,
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
    from worker.history.interval import Interval
    from worker.redrive.redriver import RedrivePlan, Redriver

    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, group=group, config=config)
    reasons = _reasons(reason)
    counts = Counter[str]()
    with ExitStack() as parts:
        opened = parts.enter_context(open_configured_log(settings))
        require_topics(opened, *settings.all_inbound_topics, settings.rejections_topic)
        interval = Interval.resolve(opened, [settings.rejections_topic], *bounds, slack)
        plan = RedrivePlan(settings.all_inbound_topics, interval, reasons, give_up)
        done = "given_up" if give_up else "redriven"

        def on_progress(outcome: "RedriveOutcome") -> None:
            counts["refused" if outcome.refusal else "done"] += 1
            if outcome.refusal:
                output.notify(f"not redriven: {_refused(outcome)}")
            else:
                output.emit_json(_settled(outcome, done, dry_run=dry_run))

        parts.enter_context(output.stderr.status("redriving"))
        Redriver(opened, _position(opened, settings, parts, dry_run=dry_run), plan, on_progress).run()
    what = done.replace("_", " ")
    output.notify(f"{counts['done']} {'would be ' if dry_run else ''}{what}, {counts['refused']} refused")
    raise typer.Exit(int(counts["refused"] > 0))


def _position(log: Log, settings: Settings, parts: ExitStack, *, dry_run: bool) -> "GroupPosition":
    """The position in the group that remembers what was redriven."""
    from worker.stream.group_position import ExclusiveMember, ReadOnlyPosition

    group, topic = f"{settings.group}-redrive", settings.rejections_topic
    if dry_run:
        return ReadOnlyPosition(log, group, log.partitions(topic))
    member = parts.enter_context(closing(log.join(group, [topic], settings.member)))
    return ExclusiveMember(member, log.partitions(topic))


def _reasons(codes: list[str] | None) -> frozenset[Reason]:
    known = {reason.value: reason for reason in Reason}
    for code in codes or ():
        if code not in known:
            raise typer.BadParameter(f"{code!r} is no code; docs/rejections.md has them all", param_hint="--reason")
    return frozenset(known[code] for code in codes or ())


def _open_first(log: Log, group: str, interval: "Interval") -> Iterator[tuple[bool, Record, Rejection | None]]:
    """Each record with whether it is open, and the rejection in it. Read twice, so that nothing is held in memory.

    The group's positions are asked for once: what is settled meanwhile is neither printed twice nor left out.
    """
    from worker.history.results import rejection_in
    from worker.history.scan import Scan
    from worker.stream.ledger import PartitionLedger

    positions = {partition: log.committed(group, partition) or Position(0) for partition in interval.ranges}
    for wanted in (True, False):
        ledgers = {partition: PartitionLedger(position) for partition, position in positions.items()}
        for record in Scan(log, interval):
            partition = record.topic_partition
            is_open = record.offset >= positions[partition].offset and ledgers[partition].take(record.offset)
            if is_open is wanted:
                yield is_open, record, rejection_in(record.value)


def _settled(outcome: "RedriveOutcome", done: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "outcome": done,
        "dry_run": dry_run,
        "reason": outcome.reason,
        "record": outcome.record and outcome.record.model_dump(),
        "rejection": outcome.rejection.model_dump(),
        "redrive": outcome.redrive and outcome.redrive.model_dump(),
    }


def _refused(outcome: "RedriveOutcome") -> str:
    """Coordinates and a code; nothing else of the record or the rejection."""
    assert outcome.refusal is not None
    rejected = f"rejection {_name(outcome.rejection)}"
    record = f"record {_name(outcome.record)}, " if outcome.record else ""
    return f"{record}{rejected}: {outcome.refusal}"


def _name(at: RecordRef) -> str:
    return f"{at.topic}/{at.partition}/{at.offset}"
