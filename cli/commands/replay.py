"""The command that reads a past interval again and says whether today's worker agrees with itself."""

import json
from contextlib import closing
from dataclasses import replace as with_fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli import options, output
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_log, require_topics
from cli.wiring.model import identify_model, load_engine
from cli.wiring.stages import running_stages

if TYPE_CHECKING:
    from adapters.log import Log
    from worker.audit.compare import Report
    from worker.audit.replay import Replayed
    from worker.history.interval import Bound, Interval


def replay(
    start: Annotated[str, typer.Option("--from", metavar="T", help="first record: offset, or ISO 8601 time")],
    end: Annotated[str, typer.Option("--to", metavar="T", help="end, exclusive: offset, or ISO 8601 time")],
    log: options.LogUrl = None,
    model: options.Model = None,
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="where to write the comparison")] = Path(
        "report.json"
    ),
    config: options.Config = None,
) -> None:
    """Re-run a past interval onto the audit topic and compare with what was said then.

    Belongs to no group and moves nobody's position. Exits 0 if every record says the same as then, else 1.

    Example: ecg-worker replay --from 2026-03-03T00:00:00Z --to 2026-03-04T00:00:00Z --model /models/ecg-r1
    """
    settings = Settings.load(log=log, model=model, config=config)
    bounds = options.parse_bound(start), options.parse_bound(end)
    output.try_file(report, "--report")
    compared = replayed_and_compared(settings, *bounds, report)
    raise typer.Exit(int(not compared.all_same))


def replayed_and_compared(settings: Settings, start: "Bound", end: "Bound", report: Path) -> "Report":
    """Replay an interval, write the comparison as JSON, and print it for a person."""
    from worker.audit.compare import compare, published
    from worker.history.interval import Interval

    if settings.model is None:
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    with open_configured_log(settings) as opened:
        live = (settings.findings_topic, settings.rejections_topic)
        require_topics(opened, settings.inbound_topic, settings.audit_topic, *live)
        interval = Interval.resolve(opened, settings.inbound_topic, start, end)
        output.notify(f"replaying {len(interval)} offsets of {settings.inbound_topic} onto {settings.audit_topic}")
        replayed = _replay(opened, interval, settings)
        then = published(opened, live, interval)
    compared = compare(then, replayed, interval)
    _show(compared)
    output.write_file(report, json.dumps(compared.as_json(), indent=2).encode() + b"\n")
    return compared


def _replay(log: "Log", interval: "Interval", settings: Settings) -> "Replayed":
    """Run the interval through the stages of `run`, with results going to the audit topic."""
    from worker.audit.replay import IntervalMember
    from worker.stream.breaker import Breaker
    from worker.stream.runner import Runner
    from worker.stream.session import Session
    from worker.stream.stall import StallDetector
    from worker.stream.stop import Stop

    assert settings.model is not None
    engine = load_engine(settings, settings.model)
    ended = Stop(float("inf"), drain_queue=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.1f}/s"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    audit = with_fields(settings, findings_topic=settings.audit_topic, rejections_topic=settings.audit_topic)
    began = datetime.now(UTC)
    with (
        Progress(*columns, console=output.stderr, transient=True, disable=not output.stderr.is_terminal) as progress,
        running_stages(engine, identify_model(engine), audit) as (stages, _),
        closing(log.publisher(f"replay-{settings.member}")) as publisher,
    ):
        task = progress.add_task("", total=len(interval), rate=0.0)

        def on_progress(so_far: "Replayed") -> None:
            done = len(so_far.results) + sum(map(len, so_far.gaps.values()))
            elapsed_s = (datetime.now(UTC) - began).total_seconds()
            progress.update(task, completed=done, rate=len(so_far.results) / max(elapsed_s, 1e-3))

        member = IntervalMember(log, interval, publisher, ended, on_progress)
        session = Session(member, StallDetector(settings.stream.stuck_s))
        # What was rejected then is rejected again: a breaker for any share.
        Runner(session, stages, Breaker(1.0, 0.0), settings.stream, [settings.inbound_topic]).run(ended)
        return member.replayed


def _show(report: "Report") -> None:
    """Print the comparison for a person."""
    from worker.audit.compare import OUTCOMES

    table = Table(title=f"{len(report.comparisons)} records compared", title_justify="left")
    table.add_column("outcome")
    table.add_column("records", justify="right")
    table.add_column("meaning")
    for outcome, count in report.counts.items():
        if count or outcome == "same":
            table.add_row(outcome, str(count), OUTCOMES[outcome])
    output.stdout.print(table)
    for partition, offsets in report.expired.items():
        output.notify(f"gone: {partition.topic}/{partition.partition} offsets {offsets.start} to {offsets.stop - 1}")
    gaps = sum(map(len, report.gaps.values()))
    if gaps:
        output.notify(f"{gaps} offsets hold no record (transaction markers, or compacted away); the report names them")
    if report.unreadable:
        first = report.unreadable[0]
        where = f"{first.partition.topic}/{first.partition.partition}/{first.offset}"
        output.notify(
            f"{len(report.unreadable)} records on the live topics are no results of a version that is known, the first "
            f"{where}; the report names them"
        )
    if report.repeated:
        output.notify(f"{report.repeated} records have more than one result among the findings")
