"""Pictures of a run and of an evaluation, as PNG."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from training.evaluation.scores import Score, Table, reliability

_DPI: Final = 130
_COLOURS: Final = ("#1f5fa8", "#c2571a", "#3b8a3e", "#7a3e9d", "#555555", "#a83250", "#2a8c8c", "#b08a00")
_QUIET: Final = "#888888"
# What a trainer logs beside what can be learned from: bookkeeping, and what other curves say already.
_NOT_DRAWN: Final = (
    "step",
    "epoch",
    "num_tokens",
    "total_flos",
    "train_",
    "completions/min",
    "completions/max",
    "clip_",
)
_COLUMNS: Final = 3


def draw_curves(metrics: Path, out: Path) -> None:
    """One small panel for each number of a run's metrics.jsonl, over the steps. Nothing logged: no picture."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = sorted({name for line in lines for name, value in line.items() if _is_drawn(name, value)})
    if not names:
        return
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.6 * rows), layout="constrained")
    for at, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes = figure.add_subplot(rows, _COLUMNS, at + 1)
        axes.plot(*zip(*points, strict=True), color=_COLOURS[0], linewidth=1.3)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        _tidy(axes)
    _save(figure, out)


def draw_roc(models: Mapping[str, tuple[Table, Score]], title: str, out: Path) -> None:
    """ROC curves side by side, each with its area and interval."""
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle=":")
    for (name, (table, area)), colour in zip(models.items(), _COLOURS, strict=False):
        false_share, true_share = roc(table)
        label = f"{name}: {area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
        axes.plot(false_share, true_share, color=colour, linewidth=1.5, label=label)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(title, fontsize=11)
    axes.legend(title="AUROC (95 % interval)", loc="lower right", fontsize=8, title_fontsize=8, frameon=False)
    _tidy(axes)
    _save(figure, out)


def draw_reliability(models: Mapping[str, Table], title: str, out: Path) -> None:
    """Stated probability against the share that is ischemic, and below how many examples had it."""
    figure = Figure(figsize=(5.6, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle=":")
    edges = np.linspace(0, 1, 11)
    width = 0.09 / max(len(models), 1)
    for at, ((name, table), colour) in enumerate(zip(models.items(), _COLOURS, strict=False)):
        bins = reliability(table)
        upper.plot(
            [bin_.stated for bin_ in bins], [bin_.true for bin_ in bins], "o-", color=colour, markersize=4,
            linewidth=1.2, label=name,
        )  # fmt: skip
        counts, _ = np.histogram(table.probability, edges)
        lower.bar(edges[:-1] + 0.005 + width * (at + 0.5), counts, width, color=colour)
    upper.set(ylabel="share that is ischemic", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    upper.set_title(title, fontsize=11)
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    lower.set(
        xlabel="stated probability", ylabel="examples", yscale="log", ylim=(0.8, 1.5 * max(map(len, models.values())))
    )
    _tidy(upper)
    _tidy(lower)
    _save(figure, out)


def roc(table: Table) -> tuple[Sequence[float], Sequence[float]]:
    """1 - specificity and sensitivity at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-table.raw_probability, kind="stable")
    probability, truth = table.raw_probability[order], table.ischemic[order]
    last = np.append(np.flatnonzero(np.diff(probability)), len(truth) - 1)  # equal ones are passed together
    right, wrong = np.cumsum(truth)[last], np.cumsum(1 - truth)[last]
    return [0.0, *(wrong / max(wrong[-1], 1))], [0.0, *(right / max(right[-1], 1))]


def _is_drawn(name: str, value: object) -> bool:
    return isinstance(value, int | float) and not name.startswith(_NOT_DRAWN)


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)


def _save(figure: Any, out: Path) -> None:
    figure.savefig(out, dpi=_DPI)
