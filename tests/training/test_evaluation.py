"""An evaluation from the command to its table: each question asked once, whatever interrupts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cli.training.app import app
from simulator.hospital import A
from training.data.synthetic import Synthetic
from training.evaluation import answers as asking
from training.evaluation import judgement
from training.evaluation.judgement import Judgement
from worker.engine.engine import Engine
from worker.engine.question import Question
from worker.model.bundle import ModelBundle
from worker.model.errors import EngineError
from worker.model.huggingface import load_model
from worker.model.manifest import read_manifest
from worker.picture.layout import make_layout

EXAMPLES = Synthetic(A, 4, 5, make_layout("3x4", 280, 112))


def train(*arguments: object) -> str:
    """Run `ecg-train` here; what it printed."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_judgements_are_those_of_the_workers_engine(small_bundle: Path, tmp_path: Path) -> None:
    counted: list[int] = []
    judged = asking.ask(asking.Asked(small_bundle, EXAMPLES, tmp_path / "answers.jsonl"), 1, counted.append)
    engine = Engine.load(small_bundle, threads=1)
    wanted = engine.answer([Question(example.image, example.facts) for example in EXAMPLES])
    assert judged == [
        Judgement.of(at, example, answer) for at, (example, answer) in enumerate(zip(EXAMPLES, wanted, strict=True))
    ]
    assert sum(counted) == len(EXAMPLES)


def test_what_was_answered_is_not_asked_again(small_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    first = asking.ask(asking.Asked(small_bundle, EXAMPLES, file), 1, lambda _: None)
    kept = file.read_text().splitlines()
    changed = json.loads(kept[0]) | {"text": "kept"}
    file.write_text("\n".join([json.dumps(changed), *kept[1:3]]) + "\n")
    again = asking.ask(asking.Asked(small_bundle, EXAMPLES, file), 1, lambda _: None)
    texts = {item.at: item.text for item in again}
    assert texts[json.loads(kept[0])["at"]] == "kept"
    assert {item.at for item in judgement.read(file)} == set(range(len(EXAMPLES)))
    assert len(again) == len(first)


def test_a_question_that_cannot_be_answered_ends_the_evaluation_with_the_reason(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        name = "blind"

        def encode(self, _image: object) -> torch.Tensor:
            return torch.full((1, 1), float("nan"))

    engine = Engine.load(small_bundle, threads=1)
    monkeypatch.setattr(engine, "_vision", Blind())
    monkeypatch.setattr(asking, "_kept", [asking._Kept(engine, EXAMPLES)])
    with pytest.raises(EngineError, match=r"one of the examples 1 to 2 \(engine.not_finite\)"):
        asking._answer([1, 2])


def test_free_writing_follows_the_models_own_choice(small_bundle: Path) -> None:
    written = asking.generate_unconstrained(load_model(small_bundle), ModelBundle.load(small_bundle), EXAMPLES[:3])
    alone = asking.generate_unconstrained(load_model(small_bundle), ModelBundle.load(small_bundle), EXAMPLES[1:2])
    assert len(written) == 3
    assert written[1] == alone[0], "an answer depends on its neighbours' lengths"


@pytest.fixture(scope="module")
def evaluated(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("evaluation")
    printed = train(
        "evaluate", "--model", f"one={small_bundle}", "--model", f"two={small_bundle}", "--data", "in=simulated:A:4:4",
        "--controls", "--free-format", "--baseline", "simulated:A:7:40", "--out", out,
    )  # fmt: skip
    return out, printed


def test_the_table_has_a_row_for_each_model_control_and_the_text_alone(evaluated: tuple[Path, str]) -> None:
    out, printed = evaluated
    rows: list[dict[str, Any]] = json.loads((out / "table.json").read_text())
    assert [(row["model"], row["control"]) for row in rows] == [
        *((name, control) for name in ("one", "two") for control in
          (None, "blank picture", "shuffled pictures", "without text")),
        ("text alone (logistic regression)", None),
    ]  # fmt: skip
    assert all(row["n"] == 4 for row in rows)
    assert rows[0]["format"] is not None
    assert rows[0]["accuracy"]["low"] <= rows[0]["accuracy"]["value"] <= rows[0]["accuracy"]["high"]
    assert printed.strip() == (out / "table.md").read_text().strip()
    assert "two less one, in: accuracy +0.0 (+0.0 to +0.0)" in printed


def test_charts_are_drawn_for_each_data_set(evaluated: tuple[Path, str]) -> None:
    for name in ("roc-in.png", "reliability-in.png"):
        assert (evaluated[0] / name).read_bytes().startswith(b"\x89PNG")


def test_calibration_is_written_into_the_bundle(small_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle, bundle)
    printed = json.loads(
        train("calibrate", "--model", bundle, "--data", "simulated:A:3:100", "--threshold", "youden", "--processes", 2)
    )
    manifest = read_manifest(bundle)
    assert manifest.calibration.kind == "temperature"
    assert manifest.calibration.temperature == printed["temperature"]
    assert manifest.threshold == printed["threshold"]
    assert printed["after"]["negative_log_likelihood"] <= printed["before"]["negative_log_likelihood"]
    Engine.load(bundle, threads=1)
