"""The table of an evaluation: models side by side on data sets, controls beneath, each number with its interval."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from training.data.example import Example, Examples
from training.data.sources import ExampleSource
from training.evaluation import answers as asking
from training.evaluation.ablations import CONTROLS
from training.evaluation.charts import draw_reliability, draw_roc
from training.evaluation.judgement import Judgement
from training.evaluation.scores import Score, Table, difference, scored, table
from training.evaluation.text_baseline import TextBaseline
from training.methods.rewards import format_adherence
from worker.model.bundle import ModelBundle
from worker.model.huggingface import load_model
from worker.model.manifest import Manifest, read_manifest

BASELINE: Final = "text alone (logistic regression)"
_SHOWN: Final = ("accuracy", "sensitivity", "specificity", "ppv", "auroc", "lead_f1", "grounded", "calibration_error")
_OF_REASONING: Final = ("lead_f1", "grounded")
_FREE_BATCH: Final = 32

Progress = Callable[[str, int], Callable[[int], None]]
"""Given what is done and how much of it there is, something to tell how much more was done."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One model on one data set, whole or with something taken away. `format` is the form kept without the grammar."""

    model: str
    data: str
    control: str | None
    table: Table
    scores: dict[str, Score]
    format: float | None = None


@dataclass(slots=True)
class Evaluation:
    """Collects rows; answers are kept in `answers`, so that an interrupted evaluation asks nothing twice."""

    answers: Path
    processes: int
    progress: Progress
    rows: list[Row] = field(default_factory=list)

    def judge(
        self, name: str, model: Path, label: str, examples: ExampleSource, *, controls: bool = False, free: bool = False
    ) -> None:
        """Ask a model about examples; with `controls`, also with each thing taken away."""
        manifest = read_manifest(model)
        kept = f"{_weights(manifest)}-{examples.digest[:12]}"
        form = self._form_kept(model, examples, kept, f"{name}, {label}, unconstrained") if free else None
        self._add(name, model, label, None, examples, kept, form)
        for control, take_away in CONTROLS.items() if controls else ():
            self._add(name, model, label, control, take_away(examples), f"{kept}-{control.replace(' ', '-')}", None)

    def judge_text_alone(self, fitted_on: Sequence[Example], label: str, examples: Examples) -> None:
        """What the words give without any picture, by a regression fitted on other examples."""
        baseline = TextBaseline.fit(fitted_on)
        judgements = [_by_text(at, example, baseline) for at, example in enumerate(examples)]
        columns = table(judgements)
        self.rows.append(Row(BASELINE, label, None, columns, scored(columns)))

    def write(self, out: Path) -> None:
        """table.md, table.json, and for each data set a ROC and a reliability diagram of the models side by side."""
        (out / "table.md").write_text(self.markdown() + "\n", encoding="utf-8")
        content = [
            {"model": row.model, "data": row.data, "control": row.control, "n": len(row.table), "format": row.format}
            | {name: asdict(score) for name, score in row.scores.items()}
            for row in self.rows
        ]
        (out / "table.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for label in dict.fromkeys(row.data for row in self.rows):
            whole = [row for row in self.rows if row.data == label and row.control is None]
            draw_roc({row.model: (row.table, row.scores["auroc"]) for row in whole}, label, out / f"roc-{label}.png")
            asked = {row.model: row.table for row in whole if row.model != BASELINE}
            draw_reliability(asked, label, out / f"reliability-{label}.png")

    def markdown(self) -> str:
        """The table, and how models differ on the same examples."""
        head = ["model", "data", "n", *(name.replace("_", " ") for name in _SHOWN), "form kept unconstrained"]
        lines = [head, ["---"] * len(head), *(_cells(row) for row in self.rows)]
        return "\n".join(["| " + " | ".join(cells) + " |" for cells in lines] + self._differences())

    def _differences(self) -> list[str]:
        whole = [row for row in self.rows if row.control is None and row.model != BASELINE]
        pairs = [(one, other) for at, one in enumerate(whole) for other in whole[at + 1 :] if one.data == other.data]
        lines = [f"- {other.model} less {one.model}, {one.data}: {_gained(other, one)}" for one, other in pairs]
        return ["", "Differences in percentage points, same examples:", "", *lines] if lines else []

    def _add(
        self, name: str, model: Path, label: str, control: str | None, examples: Examples, kept: str, form: float | None
    ) -> None:
        on_progress = self.progress(f"{name}, {label}{f', {control}' if control else ''}", len(examples))
        self.answers.mkdir(parents=True, exist_ok=True)
        asked = asking.Asked(model, examples, self.answers / f"{kept}.jsonl")
        columns = table(asking.ask(asked, self.processes, on_progress), read_manifest(model).calibration.apply)
        self.rows.append(Row(name, label, control, columns, scored(columns), form))

    def _form_kept(self, model: Path, examples: Examples, kept: str, doing: str) -> float:
        """The share of answers in the right form when nothing forces it."""
        on_progress = self.progress(doing, len(examples))
        file = self.answers / f"{kept}-unconstrained.jsonl"
        self.answers.mkdir(parents=True, exist_ok=True)
        written = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        on_progress(len(written))
        network, bundle = load_model(model), ModelBundle.load(model)
        with file.open("a", encoding="utf-8", buffering=1) as sink:
            for first in range(len(written), len(examples), _FREE_BATCH):
                batch = [examples[at] for at in range(first, min(first + _FREE_BATCH, len(examples)))]
                texts = asking.generate_unconstrained(network, bundle, batch)
                sink.writelines(json.dumps(text) + "\n" for text in texts)
                written += texts
                on_progress(len(texts))
        return sum(map(format_adherence, written)) / len(written)


def _by_text(at: int, example: Example, baseline: TextBaseline) -> Judgement:
    probability = baseline.probability(example.facts)
    return Judgement(
        at=at, name=example.name, ischemic=example.ischemic, yes=probability >= 0.5, raw_probability=probability,
        text="", stated=(), inverted=None, grounded=False, entity=example.entity,
    )  # fmt: skip


def _weights(manifest: Manifest) -> str:
    """What tells one model's answers from another's: its weights, not what they are called or how calibrated."""
    return next(digest for name, digest in manifest.files.items() if name.endswith(".safetensors"))[:12]


def _cells(row: Row) -> list[str]:
    name = row.model if row.control is None else f"{row.model}, {row.control}"
    form = "" if row.format is None else f"{100 * row.format:.1f} %"
    said = [item for item in _SHOWN if row.model != BASELINE or item not in _OF_REASONING]
    return [
        name,
        row.data,
        str(len(row.table)),
        *(_cell(row.scores[item]) if item in said else "" for item in _SHOWN),
        form,
    ]


def _cell(score: Score) -> str:
    return "" if score.value != score.value else f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"


def _gained(one: Row, other: Row) -> str:
    return ", ".join(
        f"{name} {_points(difference(one.table, other.table, score))}"
        for name, score in (("accuracy", "accuracy"), ("AUROC", "auroc"))
    )


def _points(score: Score) -> str:
    return f"{100 * score.value:+.1f} ({100 * score.low:+.1f} to {100 * score.high:+.1f})"
