"""The commands that judge a model and say how sure it may sound."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli import output
from cli.training import options

_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


class Threshold(StrEnum):
    """How the probability is chosen from which an answer counts as ischemic."""

    KEEP = "keep"
    YOUDEN = "youden"


def evaluate(
    model: Annotated[list[str], typer.Option("--model", metavar="NAME=DIR", help="a bundle; may be given again")],
    data: Annotated[list[str], typer.Option("--data", metavar="NAME=DATA", help=options.DATA_HELP)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", file_okay=False, help="tables, charts, answers")],
    controls: Annotated[bool, typer.Option("--controls", help="also with pictures or texts taken away")] = False,
    free_format: Annotated[bool, typer.Option("--free-format", help="also how often the form is kept freely")] = False,
    baseline: Annotated[
        str | None, typer.Option(metavar="DATA", help="also what the text alone gives, fitted on these")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="where answers are kept [default: OUT/answers]")
    ] = None,
    processes: options.Processes = 1,
    zone: options.Zone = "UTC",
) -> None:
    """Ask models about data sets; print their scores with 95 % intervals side by side. Goes on where it stopped.

    Example: ecg-train evaluate --model ours=deploy/models/ecg-r1-demo --data A=simulated:A:4:2000 -o build/tables
    """
    from training.evaluation.table import Evaluation
    from worker.model.bundle import ModelBundle

    output.try_folder(out, "--out")
    output.try_folder(answers or out / "answers", "--answers")
    models = [(name, Path(directory)) for name, directory in map(_named, model)]
    # Every model is asked about pictures in its own layout.
    with Progress(*_COLUMNS, console=output.stderr, transient=True) as bar:
        evaluation = Evaluation(answers or out / "answers", processes, _on(bar))
        for name, directory in models:
            bundle = ModelBundle.load(directory)
            for label, stated in map(_named, data):
                examples = options.opened_data(stated, bundle, zone)
                evaluation.judge(name, directory, label, examples, controls=controls, free=free_format)
        if baseline is not None:
            bundle = ModelBundle.load(models[0][1])
            fitted_on = options.opened_data(baseline, bundle, zone)
            for label, stated in map(_named, data):
                evaluation.judge_text_alone(fitted_on, label, options.opened_data(stated, bundle, zone))
    evaluation.write(out)
    output.stdout.print(evaluation.markdown(), markup=False, soft_wrap=True)


def calibrate(
    model: options.Model,
    data: options.Data,
    threshold: Annotated[
        Threshold, typer.Option(help="keep the bundle's, or the one with the greatest sensitivity + specificity")
    ] = Threshold.KEEP,
    processes: options.Processes = 1,
    zone: options.Zone = "UTC",
) -> None:
    """Fit a temperature on examples the model has not learned from, and write it into the bundle's manifest.

    Example: ecg-train calibrate --model build/grpo/model --data held-out.jsonl
    """
    import tempfile

    from training.evaluation import answers as asking
    from training.evaluation.calibration import best_threshold, fit_temperature
    from worker.model.bundle import ModelBundle
    from worker.model.manifest import write_manifest

    output.try_folder(model, "--model")
    bundle = ModelBundle.load(model)
    examples = options.opened_data(data, bundle, zone)
    with tempfile.TemporaryDirectory() as folder, Progress(*_COLUMNS, console=output.stderr, transient=True) as bar:
        asked = asking.Asked(model, examples, Path(folder) / "answers.jsonl")
        judgements = asking.ask(asked, processes, _on(bar)("asking", len(examples)))
    fit = fit_temperature(judgements)
    settings = bundle.manifest.settings.model_copy(update={"calibration": fit.calibration})
    if threshold is Threshold.YOUDEN:
        chosen = best_threshold(judgements, fit.calibration)
        settings = settings.model_copy(update={"threshold": chosen})
    write_manifest(model, settings)
    output.emit_json(
        {
            "temperature": fit.calibration.temperature,
            "threshold": settings.threshold,
            "examples": len(judgements),
            "before": fit.before,
            "after": fit.after,
        }
    )


def _named(stated: str) -> tuple[str, str]:
    name, equals, value = stated.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"{stated!r}: NAME=... is wanted")
    return name, value


def _on(bar: Progress) -> Callable[[str, int], Callable[[int], None]]:
    """A new line of the progress display for each thing to do."""

    def begin(doing: str, total: int) -> Callable[[int], None]:
        task = bar.add_task(doing, total=total)
        return lambda more: bar.advance(task, more)

    return begin
