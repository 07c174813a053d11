"""The command that reads a past interval again and says whether today's worker agrees with itself."""

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace as with_fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli import options, output
from cli.catalog import CATALOG, SETTINGS
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_log, require_topics
from cli.wiring.model import identify_model, load_engine
from cli.wiring.stages import running_stages

if TYPE_CHECKING:
    from adapters.log import Log
    from schemas.audit_report import AskedInterval, AuditReport, LogNames
    from worker.audit.compare import Comparisons, Published
    from worker.audit.replay import Replayed
    from worker.history.interval import Bound, Interval

# Of these no setting changes a result: the model and its digest stand in the report by themselves.
_CHANGE_NO_RESULT: Final = frozenset(
    {"Log, model and group", "The worker's loop", "The process", "Delivery", "Kafka"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """An interval as it was typed."""

    start: str
    end: str
    slack_s: float = options.DEFAULT_SLACK_S


def replay(
    start: Annotated[str, typer.Option("--from", metavar="T", help="first record: offset, or ISO 8601 time")],
    end: Annotated[str, typer.Option("--to", metavar="T", help="end, exclusive: offset, or ISO 8601 time")],
    slack: options.Slack = options.DEFAULT_SLACK_S,
    log: options.LogUrl = None,
    model: options.Model = None,
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="where to write the comparison")] = Path(
        "report.json"
    ),
    config: options.Config = None,
) -> None:
    """Re-run a past interval onto the audit topic and compare with what was said then.

    Belongs to no group and moves nobody's position. Exits 0 if something was compared and every record says the same
    as then, else 1.

    Example: ecg-worker replay --from 2026-03-03T00:00:00Z --to 2026-03-04T00:00:00Z --model /models/ecg-r1
    """
    options.parse_interval(start, end)
    settings = Settings.load(log=log, model=model, config=config)
    output.try_file(report, "--report")
    written = replayed_and_compared(settings, Asked(start, end, slack), report)
    raise typer.Exit(written.exit_status)


def replayed_and_compared(settings: Settings, asked: Asked, file: Path) -> "AuditReport":
    """Replay an interval, write the report as JSON, and print it for a person."""
    from schemas.finding import ModelRef
    from worker.audit.compare import compare, published
    from worker.audit.report import Circumstances, report
    from worker.history.interval import Interval
    from worker.model.manifest import read_manifest

    if settings.model is None:
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    began_at = datetime.now(UTC)
    manifest = read_manifest(settings.model)
    bounds = options.parse_interval(asked.start, asked.end)
    with open_configured_log(settings) as opened:
        live = (settings.findings_topic, settings.rejections_topic)
        require_topics(opened, *settings.all_inbound_topics, settings.audit_topic, *live)
        interval = Interval.resolve(opened, settings.all_inbound_topics, *bounds, asked.slack_s)
        then = published(opened, live, interval)
        replayed, fingerprint = _replay(opened, interval, settings, then)
        then = published(opened, live, interval, then)  # a worker may have gone on meanwhile
    found = compare(then, replayed, interval)
    under = Circumstances(
        interval=_asked(asked, *bounds),
        log=_names(settings),
        began_at=began_at,
        ended_at=datetime.now(UTC),
        model=ModelRef(name=manifest.name, digest=manifest.digest, training=manifest.training),
        fingerprint=fingerprint,
        settings_digest=settings_digest(settings),
    )
    written = report(found, under)
    _show(written, found)
    output.write_file(file, written.to_json())
    return written


def settings_digest(settings: Settings) -> str:
    """The SHA-256 of the settings that can change a result."""
    shown = settings.shown()
    names = sorted(row.name for title, rows in CATALOG.items() if title not in _CHANGE_NO_RESULT for row in rows)
    return hashlib.sha256(json.dumps({name: shown[name] for name in names}, default=str).encode()).hexdigest()


def _asked(asked: Asked, start: "Bound", end: "Bound") -> "AskedInterval":
    from schemas.audit_report import AskedInterval

    return AskedInterval.model_validate(
        {
            "from": asked.start, "to": asked.end, "slack_s": asked.slack_s, "from_offset": start.offset,
            "from_time": _utc(start.timestamp_ms), "to_offset": end.offset, "to_time": _utc(end.timestamp_ms),
        }
    )  # fmt: skip


def _utc(timestamp_ms: int | None) -> datetime | None:
    return None if timestamp_ms is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)


def _names(settings: Settings) -> "LogNames":
    from schemas.audit_report import LogNames

    return LogNames(
        url=settings.value(SETTINGS["log"]),
        inbound_topics=settings.all_inbound_topics,
        findings_topic=settings.findings_topic,
        rejections_topic=settings.rejections_topic,
        audit_topic=settings.audit_topic,
    )


def _replay(log: "Log", interval: "Interval", settings: Settings, then: "Published") -> "tuple[Replayed, str | None]":
    """Run the interval through the stages of `run`, with results going to the audit topic; with the fingerprint."""
    from worker.audit.replay import IntervalMember, Replayed
    from worker.stream.breaker import Breaker
    from worker.stream.runner import Runner
    from worker.stream.session import Session
    from worker.stream.stall import StallDetector
    from worker.stream.stop import Stop

    if not len(interval):
        return Replayed(), None
    inbound = ", ".join(settings.all_inbound_topics)
    at_most = "at most " if interval.by_time else ""
    output.notify(f"replaying {at_most}{len(interval)} offsets of {inbound} onto {settings.audit_topic}")
    assert settings.model is not None
    engine = load_engine(settings, settings.model)
    identity = identify_model(engine)
    ended = Stop(float("inf"), drain_queue=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.1f}/s"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    audit = with_fields(settings, findings_topic=settings.audit_topic, rejections_topic=settings.audit_topic)
    began = datetime.now(UTC)
    with (
        Progress(*columns, console=output.stderr, transient=True, disable=not output.stderr.is_terminal) as progress,
        running_stages(engine, identity, audit) as (stages, _),
        closing(log.publisher(f"replay-{settings.member}")) as publisher,
    ):
        task = progress.add_task("", total=len(interval), rate=0.0)

        def on_progress(so_far: "Replayed") -> None:
            done = so_far.passed - (so_far.read - len(so_far.results))
            elapsed_s = (datetime.now(UTC) - began).total_seconds()
            progress.update(task, completed=done, rate=len(so_far.results) / max(elapsed_s, 1e-3))

        member = IntervalMember(log, interval, publisher, ended, on_progress, then.known(interval))
        session = Session(member, StallDetector(settings.stream.stuck_s))
        # What was rejected then is rejected again: a breaker for any share.
        Runner(session, stages, Breaker(1.0, 0.0), settings.stream, settings.all_inbound_topics).run(ended)
        return member.replayed, identity.fingerprint


def _show(written: "AuditReport", found: "Comparisons") -> None:
    """Print the comparison for a person."""
    from schemas.audit_report import OUTCOMES

    table = Table(title=f"{found.compared} records compared", title_justify="left")
    table.add_column("outcome")
    table.add_column("records", justify="right")
    table.add_column("meaning")
    for outcome, count in written.counts.items():
        if count or outcome == "same":
            table.add_row(outcome, str(count), OUTCOMES[outcome])
    output.stdout.print(table)
    changed = written.changed
    output.stdout.print(
        f"changed: {changed.verdicts} verdicts, {changed.flags} flags; {changed.published} records in anything, "
        f"{changed.published_only} of them with the same verdict and flag"
    )
    for line in _remarks(written):
        output.notify(line)
    for reason in written.reasons:
        output.notify(f"not passed: {reason}")


def _remarks(written: "AuditReport") -> list[str]:
    """What a person should know of the interval besides; the report names each record."""
    gaps = sum(map(len, written.offsets_without_a_record.values()))
    counted: dict[str, Any] = {
        f"{gaps} offsets hold no record (transaction markers, or compacted away)": gaps,
        f"{len(written.without_time)} records without a time were read among the others": written.without_time,
        f"{written.results_then_more_than_once} records have more than one result among the findings":
            written.results_then_more_than_once,
    }  # fmt: skip
    remarks = [f"{sentence}; the report names them" for sentence, there in counted.items() if there]
    remarks += [f"gone: {gone.partition} offsets {gone.start} to {gone.end - 1}" for gone in written.gone]
    remarks += [
        f"lost before it was read then: {lost.topic}/{lost.partition}, {lost.detail}" for lost in written.lost_then
    ]
    remarks += [f"{read.partition}: {read.ended}" for read in written.partitions if "not be read" in read.ended]
    if written.unreadable_then:
        first = written.unreadable_then[0]
        where = f"{first.topic}/{first.partition}/{first.offset}"
        remarks.append(f"on the live topics, no result of a version that is known; the first is {where}")
    return remarks
