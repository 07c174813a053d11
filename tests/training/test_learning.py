"""Three steps of everything that learns, through the command: small, on the processor, and the same twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from cli.training.app import app
from training.data.recorded import DataError
from training.methods.run_directory import MetricsFile, RunError
from worker.engine.engine import Engine
from worker.model.manifest import read_manifest

DATA = "simulated:A:1:64:varied"

# The libraries that train warn of their own next versions.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]


def learn(command: str, *arguments: object) -> dict[str, Any]:
    """Run a command of `ecg-train` here; what it printed."""
    done = CliRunner().invoke(app, [command, *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    printed: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return printed


def weights(run: Path) -> dict[str, Any]:
    return load_file(run / "model" / "model.safetensors")


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("pretrain", ("--batch", 2)),
        ("sft", ("--batch", 2)),
        ("sft", ("--batch", 2, "--lora", 4)),
        ("grpo", ("--batch", 4, "--group", 4, "--weights", "0.5,1,0.5", "--learning-rate", 1e-3)),
    ],
    ids=["pretrain", "sft", "sft-lora", "grpo"],
)
def test_three_steps_leave_a_complete_run(
    small_bundle: Path, tmp_path: Path, command: str, options: tuple[object, ...]
) -> None:
    run = tmp_path / "run"
    printed = learn(command, "--model", small_bundle, "--data", DATA, "--run", run, "--steps", 3, *options)
    assert printed["model"] == str(run / "model")
    record = json.loads((run / "run.json").read_text())
    assert record["command"] == command
    assert len(record["data"]["sha256"]) == 64
    assert record["versions"]["trl"]
    assert (run / "metrics.jsonl").exists()
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert read_manifest(run / "model").training == "trained"
    Engine.load(run / "model", threads=1)
    before, after = load_file(small_bundle / "model.safetensors"), weights(run)
    changed = {name for name in before if not before[name].equal(after[name])}
    if command != "grpo":  # random weights earn nothing, and nothing is learned from nothing
        assert changed
    if command == "pretrain":
        assert all("visual" in name for name in changed)
    if "--lora" in options:
        assert all("visual" not in name for name in changed)


def test_an_interrupted_run_goes_on_and_ends_as_an_uninterrupted_one(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(run: Path) -> tuple[object, ...]:
        return ("--model", small_bundle, "--data", DATA, "--run", run, "--steps", 4, "--batch", 2, "--save-every", 2)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    learn("sft", *options(whole))

    class PowerCut(Exception):
        pass

    def cut(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "on_step_end", cut, raising=False)
        with pytest.raises(PowerCut):
            learn("sft", *options(broken))
    assert not (broken / "model").exists()
    learn("sft", *options(broken))
    for name, weight in weights(whole).items():
        assert weight.equal(weights(broken)[name]), name


def test_two_processes_share_the_steps(small_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--model", small_bundle, "--data", DATA, "--run", tmp_path / "run", "--steps", 2, "--batch", 2)
    command = [sys.executable, "-m", "cli.training.app", "pretrain", *map(str, arguments), "--processes", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == str(tmp_path / "run" / "model")
    # Two steps of two examples in each of two processes, out of 64.
    assert logged(tmp_path / "run")[-1]["epoch"] == pytest.approx(2 * 2 * 2 / 64)


def test_the_same_seed_learns_the_same_and_another_does_not(small_bundle: Path, tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((1, 1, 2)):
        runs.append(tmp_path / str(number))
        learn(
            "sft",
            "--model",
            small_bundle,
            "--data",
            DATA,
            "--run",
            runs[-1],
            "--steps",
            2,
            "--batch",
            2,
            "--seed",
            seed,
        )
    one, again, other = (weights(run) for run in runs)
    assert all(one[name].equal(again[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)


def test_a_run_of_something_else_is_not_gone_on_with(small_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--model", small_bundle, "--data", DATA, "--run", tmp_path / "run", "--batch", 2)
    learn("pretrain", *arguments, "--steps", 1)
    with pytest.raises(RunError, match="other settings or data"):
        learn("pretrain", *arguments, "--steps", 2)


@pytest.mark.parametrize("data", ["simulated:C:1:5", "simulated:A:x:5", "simulated:A:1:5:striped", "nowhere"])
def test_data_that_means_nothing_is_refused(small_bundle: Path, tmp_path: Path, data: str) -> None:
    with pytest.raises(DataError):
        learn("sft", "--model", small_bundle, "--data", data, "--run", tmp_path / "run")
