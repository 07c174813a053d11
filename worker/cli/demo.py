"""The whole system on this machine: ECGs are submitted to an embedded log, a worker reads them, findings come out."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adapters.log import Log, Message, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejected, Rejection
from worker.cli import output, wiring
from worker.cli.replay import replayed_and_compared
from worker.settings import Settings

if TYPE_CHECKING:
    from simulator.cohort import Submission

# The worker ends by itself once nothing came for this long.
_IDLE_EXIT_S: Final = 2.0
# Far above the half minute that it takes; a demo that hangs must say so.
_TIME_LIMIT_S: Final = 300.0
_LOG_FILE: Final = "log.db"


@dataclass(frozen=True, slots=True)
class Read:
    """A submitted ECG and what became of it."""

    submission: "Submission"
    result: Finding | Rejection


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="where everything is written")] = Path(
        "build/demo"
    ),
) -> None:
    """Run the whole system here: real ECGs and edited ones, an embedded log, a worker, findings.

    Writes each ECG as it was submitted, as PNG, and its finding as JSON, and prints a table.

    Example: ecg-worker demo --out build/demo
    """
    from simulator.cohort import cohort
    from worker.replay import Bound

    _clear(out)
    settings = Settings.load(log=f"sqlite://{(out / _LOG_FILE).resolve()}", model=_model())
    submissions = cohort()
    with wiring.opened_log(settings) as log:
        places = _submit(log, submissions, settings, out / "inbound")
        _work(log, settings, len(submissions), out / "worker.log")
        results = _collect(log, settings)
    reads = [Read(submission, results[place]) for submission, place in places]
    for read in reads:
        _write(read, out, settings)
    output.stdout.print(_table(reads))
    output.stdout.print(_verdict_on_alerts(reads, out), markup=False, soft_wrap=True)
    replayed_and_compared(settings, Bound(offset=0), Bound(offset=len(submissions)), out / "report.json")


def _clear(out: Path) -> None:
    """An empty folder for this demo. What an earlier one left is removed; a folder of anything else is not touched."""
    if out.exists() and any(out.iterdir()):
        if not (out / _LOG_FILE).is_file():
            raise typer.BadParameter("is not empty, and no earlier demo's folder", param_hint="--out")
        shutil.rmtree(out)
    (out / "inbound").mkdir(parents=True)


def _model() -> Path:
    with output.stderr.status("building an untrained model (once)"):
        return wiring.untrained_model()


def _submit(
    log: Log, submissions: "list[Submission]", settings: Settings, folder: Path
) -> "list[tuple[Submission, tuple[TopicPartition, int]]]":
    for submission in submissions:
        (folder / submission.file_name).write_bytes(submission.payload)
    written = log.append([Message(settings.inbound_topic, None, each.payload) for each in submissions])
    return list(zip(submissions, written, strict=True))


def _work(log: Log, settings: Settings, expected: int, log_file: Path) -> None:
    """Run `ecg-worker run` as a hospital would, and watch its results arrive."""
    command = [sys.executable, "-m", "worker.cli.app", "run", "--idle-exit", str(_IDLE_EXIT_S)]
    command += ["--log", settings.log, "--model", str(settings.model), "--group", "demo"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + _TIME_LIMIT_S
    with (
        log_file.open("wb") as sink,
        subprocess.Popen(command, stdout=sink, stderr=sink) as worker,  # noqa: S603 - our own command
        Progress(*columns, console=output.stderr, transient=True) as progress,
    ):
        task = progress.add_task("the worker reads", total=expected)
        while worker.poll() is None:
            progress.update(task, completed=_held(log, settings.findings_topic, settings.rejections_topic))
            if time.monotonic() > deadline:
                worker.kill()
            time.sleep(0.2)
    if worker.returncode:
        output.tell(f"The worker failed with exit code {worker.returncode}; see {log_file}")
        raise typer.Exit(1)


def _held(log: Log, *topics: str) -> int:
    bounds = [log.bounds(partition) for topic in topics for partition in log.partitions(topic)]
    return sum(end - first for first, end in bounds)


def _collect(log: Log, settings: Settings) -> dict[tuple[TopicPartition, int], Finding | Rejection]:
    """Every finding and rejection, by the coordinates of the record that it came from."""
    results: dict[tuple[TopicPartition, int], Finding | Rejection] = {}
    kinds: list[tuple[str, type[Finding] | type[Rejection]]] = [
        (settings.findings_topic, Finding),
        (settings.rejections_topic, Rejection),
    ]
    for topic, kind in kinds:
        for record in log.read({p: range(*log.bounds(p)) for p in log.partitions(topic)}):
            result = kind.model_validate_json(record.value)
            place = TopicPartition(result.source.topic, result.source.partition)
            if (place, result.source.offset) in results:
                raise AssertionError("a record has two results")
            results[place, result.source.offset] = result
    return results


def _write(read: Read, out: Path, settings: Settings) -> None:
    """The result as JSON, and the ECG as a PNG if it can be drawn at all."""
    from worker.layout import layout
    from worker.render import png, render

    stem = Path(read.submission.file_name).stem
    (out / f"{stem}.json").write_text(json.dumps(json.loads(read.result.to_json()), indent=2, ensure_ascii=False))
    try:
        ecg = wiring.decoder(settings)(read.submission.payload)
    except Rejected:
        return
    (out / f"{stem}.png").write_bytes(png(render(ecg, layout("3x4+II"))))


def _table(reads: list[Read]) -> Table:
    table = Table(title="What the worker said of each ECG, by file name", title_justify="left")
    for column in ("ECG", "T inverted in", "quality", "verdict", "P(ischemic)", "flag"):
        table.add_column(column, overflow="fold")
    for read in reads:
        result = read.result
        if isinstance(result, Rejection):
            cells = ["", "", f"rejected: {result.reason}", "", ""]
        else:
            probability = result.assessment.probability
            cells = [
                " ".join(result.measurements.t_wave_inversion) or "none",
                ", ".join(f"{flag.lead or 'all'} {flag.problem}" for flag in result.quality.flags),
                result.assessment.verdict,
                "not asked" if probability is None else f"{probability:.2f}",
                "RAISED" if result.flag.raised else "no",
            ]
        table.add_row(read.submission.file_name, *cells)
    return table


def _verdict_on_alerts(reads: list[Read], out: Path) -> str:
    findings = [read.result for read in reads if isinstance(read.result, Finding)]
    lines = [f"{len(findings)} findings and {len(reads) - len(findings)} rejections in {out}/"]
    if any(finding.provenance.untrained for finding in findings):
        lines.append(
            "The model is UNTRAINED (random weights): its answers mean nothing. It never raises a flag, so nothing was "
            "sent to an EHR (`ecg-worker deliver` sends flagged findings only)."
        )
    return "\n".join(lines)
