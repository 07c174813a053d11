"""Commands on rejections: list them, and put their records back on the inbound topic."""

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import open_rejections, options, output
from cli.settings import Settings
from cli.wiring.log import open_configured_log, require_topics
from schemas.rejection import Reason

if TYPE_CHECKING:
    from worker.redrive.redriver import RedriveOutcome

app = typer.Typer(help="List rejections, and put their records back on the inbound topic.", no_args_is_help=True)


@app.command("list")
def list_(
    reason: open_rejections.Reasons = None,
    start: open_rejections.From = None,
    end: open_rejections.To = None,
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
    from worker.history.results import rejection_in

    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, group=group, config=config)
    wanted = open_rejections.reasons(reason, Reason, "docs/rejections.md")
    with open_configured_log(settings) as opened:
        require_topics(opened, settings.rejections_topic)
        interval = Interval.resolve(opened, [settings.rejections_topic], *bounds, slack)
        all_read = open_rejections.print_all(
            open_rejections.open_first(opened, f"{settings.group}-redrive", interval),
            rejection_in,
            lambda rejection: not wanted or rejection.reason in wanted,
            "rejection",
            count=count,
        )
    raise typer.Exit(int(not all_read))


@app.command()
def redrive(
    reason: open_rejections.Reasons = None,
    start: open_rejections.From = None,
    end: open_rejections.To = None,
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
    reasons = open_rejections.reasons(reason, Reason, "docs/rejections.md")
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
        position = open_rejections.position(
            opened, f"{settings.group}-redrive", settings.rejections_topic, settings.member, parts, dry_run=dry_run
        )
        Redriver(opened, position, plan, on_progress).run()
    what = done.replace("_", " ")
    output.notify(f"{counts['done']} {'would be ' if dry_run else ''}{what}, {counts['refused']} refused")
    raise typer.Exit(int(counts["refused"] > 0))


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
    rejected = f"rejection {open_rejections.name(outcome.rejection)}"
    record = f"record {open_rejections.name(outcome.record)}, " if outcome.record else ""
    return f"{record}{rejected}: {outcome.refusal}"
