"""Commands on deliveries: list the findings that a receiver did not take over, and send them again."""

from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import open_rejections, options, output
from cli.settings import Settings
from cli.wiring.log import open_configured_log, require_topics
from cli.wiring.receiver import open_configured_receiver
from schemas.delivery import DeliveryReason

if TYPE_CHECKING:
    from worker.delivery.redelivery import RedeliveryOutcome

Group = Annotated[
    str | None,
    typer.Option("--group", metavar="NAME", help="consumer group of `deliver` (ECG_DELIVER_GROUP)"),
]
Receiver = Annotated[
    str | None,
    typer.Option("--receiver", metavar="URL", help="mllp://HOST:PORT or mllps://HOST:PORT (ECG_DELIVER_TO)"),
]

app = typer.Typer(help="List findings that a receiver did not take over, and send them again.", no_args_is_help=True)


@app.command("list")
def list_(
    reason: open_rejections.Reasons = None,
    start: open_rejections.From = None,
    end: open_rejections.To = None,
    slack: options.Slack = options.DEFAULT_SLACK_S,
    count: Annotated[bool, typer.Option("--count", help="one line a code, with how many there are")] = False,
    log: options.LogUrl = None,
    group: Group = None,
    config: options.Config = None,
) -> None:
    """Print each committed delivery rejection of a group as one JSON line: the open ones first, then the others.

    "open" says which it is, as the group that remembers it (GROUP-redrive) has it. Of each kind, first to last in each
    partition.

    Example: ecg-worker deliveries list --reason receiver.no_ack --from 2026-03-03T00:00:00Z
    """
    from worker.history.interval import Interval
    from worker.history.results import delivery_rejection_in

    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, deliver_group=group, config=config)
    wanted, whose = open_rejections.reasons(reason, DeliveryReason, "docs/ehr.md"), settings.deliver.group
    with open_configured_log(settings) as opened:
        topic = settings.deliver.rejections_topic
        require_topics(opened, topic)
        interval = Interval.resolve(opened, [topic], *bounds, slack)
        all_read = open_rejections.print_all(
            open_rejections.open_first(opened, f"{whose}-redrive", interval),
            delivery_rejection_in,
            lambda rejection: rejection.group == whose and (not wanted or rejection.reason in wanted),
            "delivery rejection",
            count=count,
        )
    raise typer.Exit(int(not all_read))


@app.command()
def redrive(
    receiver: Receiver = None,
    reason: open_rejections.Reasons = None,
    start: open_rejections.From = None,
    end: open_rejections.To = None,
    slack: options.Slack = options.DEFAULT_SLACK_S,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent; send nothing")] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="settle the selected rejections without sending their findings")
    ] = False,
    log: options.LogUrl = None,
    group: Group = None,
    config: options.Config = None,
) -> None:
    """Send the finding of each selected delivery rejection to the receiver, as `deliver` would.

    What was taken over is remembered (consumer group GROUP-redrive); what was not selected, or refused again, stays
    open for a later run, until it is given up. Prints one JSON line a finding. Exits 1 if one was not taken over.

    Example: ecg-worker deliveries redrive --receiver mllps://engine.hospital.example:2575 --reason receiver.rejected
    """
    from worker.delivery.redelivery import Redelivery, RedeliveryPlan
    from worker.history.interval import Interval

    if end is not None and ":/" in end:  # `deliver` has its receiver there; not repeated, for it may hold a password
        raise typer.BadParameter("is the end of the interval; the receiver is --receiver", param_hint="--to")
    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, deliver_group=group, deliver_to=receiver, config=config)
    whose, topic, reasons = (
        settings.deliver.group,
        settings.deliver.rejections_topic,
        open_rejections.reasons(reason, DeliveryReason, "docs/ehr.md"),
    )
    counts = Counter[str]()

    def on_progress(outcome: "RedeliveryOutcome") -> None:
        counts["refused" if outcome.refusal else "done"] += 1
        if outcome.refusal:
            output.notify(f"not delivered: {_refused(outcome)}")
        else:
            output.emit_json(_settled(outcome, dry_run=dry_run))

    with ExitStack() as parts:
        sends = not (dry_run or give_up)
        opened_receiver = (
            parts.enter_context(closing(open_configured_receiver(settings, "--receiver", receiver))) if sends else None
        )
        opened = parts.enter_context(open_configured_log(settings))
        require_topics(opened, settings.findings_topic, topic)
        interval = Interval.resolve(opened, [topic], *bounds, slack)
        plan = RedeliveryPlan(whose, settings.findings_topic, interval, reasons, give_up, settings.deliver.lifetimes)
        position = open_rejections.position(opened, f"{whose}-redrive", topic, settings.member, parts, dry_run=dry_run)
        parts.enter_context(output.stderr.status("sending"))
        Redelivery(opened, position, plan, opened_receiver, on_progress, settings.deliver.retry).run()
    done = "given up" if give_up else "settled"
    output.notify(f"{counts['done']} {'would be ' if dry_run else ''}{done}, {counts['refused']} refused")
    raise typer.Exit(int(counts["refused"] > 0))


def _settled(outcome: "RedeliveryOutcome", *, dry_run: bool) -> dict[str, Any]:
    rejection = outcome.rejection
    return {
        "outcome": outcome.settled,
        "dry_run": dry_run,
        "reason": rejection and rejection.reason,
        "finding_id": rejection and rejection.finding_id,
        "finding": rejection and rejection.finding.model_dump(),
        "rejection": outcome.at.model_dump(),
    }


def _refused(outcome: "RedeliveryOutcome") -> str:
    """Coordinates and codes; nothing else of the finding or the rejection."""
    assert outcome.refusal is not None
    finding = f"finding {open_rejections.name(outcome.rejection.finding)}, " if outcome.rejection else ""
    answer = f" ({outcome.answer.ack_code} {outcome.answer.error_code or ''}".rstrip() + ")" if outcome.answer else ""
    if outcome.failure:
        answer = f" ({outcome.failure.told})"
    return f"{finding}rejection {open_rejections.name(outcome.at)}: {outcome.refusal}{answer}"
