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

from adapters.log import Log, Message
from cli import output
from cli.commands.replay import Asked, replayed_and_compared
from cli.settings import Settings
from cli.wiring.log import open_configured_log
from cli.wiring.model import DEMO_MODEL
from cli.wiring.stages import decoder
from schemas.finding import Finding
from schemas.rejection import Rejected, Rejection

if TYPE_CHECKING:
    from simulator.cohort import Submission
    from worker.history.interval import Coordinates
    from worker.history.results import Result

# The worker ends by itself once nothing came for this long.
_IDLE_EXIT_S: Final = 2.0
# Far above the half minute that it takes; a demo that hangs must say so.
_TIME_LIMIT_S: Final = 300.0
_LOG_FILE: Final = "log.db"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """A submitted ECG and what became of it."""

    submission: "Submission"
    result: Finding | Rejection


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="where everything is written")] = Path(
        "build/demo"
    ),
) -> None:
    """Run the whole system here: real ECGs, edited and simulated ones, an embedded log, a worker, findings.

    Writes each ECG as it was submitted, as PNG, and its finding as JSON, and prints a table.

    Example: ecg-worker demo --out build/demo
    """
    from simulator.cohort import cohort, simulated

    _clear(out)
    settings = Settings.load(log=f"sqlite://{(out / _LOG_FILE).resolve()}", model=DEMO_MODEL)
    submissions = [*cohort(), *simulated()]
    with open_configured_log(settings) as log:
        submitted = _submit(log, submissions, settings, out / "inbound")
        _work(log, settings, len(submissions), out / "worker.log")
        results = _collect(log, settings)
    reads = [DemoResult(submission, results[at]) for submission, at in submitted]
    for read in reads:
        _write(read, out, settings)
    known = [read for read in reads if read.submission.truth]
    output.stdout.print(_table("A real ECG and edits of it", [read for read in reads if read not in known]))
    output.stdout.print(_table("Simulated ECGs", known))
    output.stdout.print(_in_short(reads, out), markup=False, soft_wrap=True)
    replayed_and_compared(settings, Asked("0", str(len(submissions))), out / "report.json")


def _clear(out: Path) -> None:
    """An empty folder for this demo. What an earlier one left is removed; a folder of anything else is not touched."""
    output.try_folder(out, "--out")
    if any(out.iterdir()):
        if not (out / _LOG_FILE).is_file():
            raise typer.BadParameter("is not empty, and no earlier demo's folder", param_hint="--out")
        shutil.rmtree(out)
    (out / "inbound").mkdir(parents=True)


def _submit(
    log: Log, submissions: "list[Submission]", settings: Settings, folder: Path
) -> "list[tuple[Submission, Coordinates]]":
    from worker.history.interval import Coordinates

    for submission in submissions:
        (folder / submission.file_name).write_bytes(submission.payload)
    written = log.append([Message(settings.inbound_topic, None, item.payload) for item in submissions])
    return [(submission, Coordinates(*at)) for submission, at in zip(submissions, written, strict=True)]


def _work(log: Log, settings: Settings, expected: int, log_file: Path) -> None:
    """Run `ecg-worker run` as a hospital would, and watch its results arrive."""
    command = [sys.executable, "-m", "cli.app", "run", "--idle-exit", str(_IDLE_EXIT_S)]
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
        output.notify(f"The worker failed with exit code {worker.returncode}; see {log_file}")
        raise typer.Exit(1)


def _held(log: Log, *topics: str) -> int:
    bounds = [log.bounds(partition) for topic in topics for partition in log.partitions(topic)]
    return sum(end - first for first, end in bounds)


def _collect(log: Log, settings: Settings) -> "dict[Coordinates, Result]":
    """Every finding and rejection, by the coordinates of the record that it came from."""
    from worker.history.results import read_results, source_of

    results: dict[Coordinates, Result] = {}
    for _, result in read_results(log, (settings.findings_topic, settings.rejections_topic)):
        if result is None:
            raise AssertionError("the worker published what is no result")
        at = source_of(result)
        if at in results:
            raise AssertionError("a record has two results")
        results[at] = result
    return results


def _write(read: DemoResult, out: Path, settings: Settings) -> None:
    """The result as JSON, and the ECG as a PNG if it can be drawn at all."""
    from worker.picture.layout import make_layout
    from worker.picture.raster import png, render_image

    stem = Path(read.submission.file_name).stem
    (out / f"{stem}.json").write_text(json.dumps(json.loads(read.result.to_json()), indent=2, ensure_ascii=False))
    try:
        ecg = decoder(settings)(read.submission.payload)
    except Rejected:
        return
    (out / f"{stem}.png").write_bytes(png(render_image(ecg, make_layout("3x4+II"))))


def _table(title: str, reads: list[DemoResult]) -> Table:
    """What was said of each ECG, and what is true where that is known."""
    truths = any(read.submission.truth for read in reads)
    table = Table(title=title, title_justify="left")
    for column in ("ECG", *(["what it is"] if truths else []), "T inverted in", "quality", "verdict", "P(ischemic)"):
        table.add_column(column, overflow="fold")
    table.add_column("right" if truths else "flag")
    for read in reads:
        result, submission = read.result, read.submission
        what = [submission.what] if truths else []
        if isinstance(result, Rejection):
            table.add_row(submission.file_name, *what, "", "", f"rejected: {result.reason}", "", "")
            continue
        probability = result.assessment.probability
        table.add_row(
            submission.file_name,
            *what,
            " ".join(result.measurements.t_wave_inversion) or "none",
            ", ".join(f"{flag.lead or 'all'} {flag.problem}" for flag in result.quality.flags),
            result.assessment.verdict,
            "not asked" if probability is None else f"{probability:.2f}",
            ("yes" if _right(read) else "NO") if truths else ("RAISED" if result.flag.raised else "no"),
        )
    return table


def _right(read: DemoResult) -> bool:
    return isinstance(read.result, Finding) and read.result.assessment.verdict == read.submission.truth


def _in_short(reads: list[DemoResult], out: Path) -> str:
    findings = [read.result for read in reads if isinstance(read.result, Finding)]
    known = [read for read in reads if read.submission.truth]
    raised = sum(finding.flag.raised for finding in findings)
    return "\n".join(
        [
            f"{len(findings)} findings and {len(reads) - len(findings)} rejections in {out}/; {raised} flags raised",
            f"{sum(map(_right, known))} of {len(known)} simulated ECGs read rightly",
            "The model is a DEMO, taught by simulated ECGs alone: what it says of a real one is worth nothing.",
        ]
    )
