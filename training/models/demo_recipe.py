"""Makes the demo model from nothing: `python -m training.models.demo_recipe DIR [STAGE...]`. An hour on two cores.

It learns from simulated ECGs of hospital A alone. Each stage is a command that anybody can give, leaves a run directory
and is not run again once it is complete; an interrupted one goes on.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from training.models.demo import build_start
from worker.model.manifest import read_manifest, write_manifest

PUBLISHED: Final = Path(__file__).parents[2] / "deploy" / "models" / "ecg-r1-demo"
_CARD: Final = Path(__file__).parent / "demo_card.md"

# Seeds of the simulator: 1 and 6 to learn reading and writing, 2 for rewards and their control, 3 for the temperature,
# 4 for tests. Nothing that is tested was learned from.
_TEST_A: Final = ("--data", "A=simulated:A:4:2000")
_TEST_B: Final = ("--data", "B=simulated:B:4:2000")


def start(out: Path) -> None:
    """Random weights, and the tokenizer."""
    build_start(out / "start" / "model")


def vision(out: Path) -> None:
    """The vision tower learns to read leads."""
    _learn(out, "pretrain", "start", "vision", "simulated:A:1:24000:varied", steps=1400, learning_rate=1.5e-3, seed=11)


def sft(out: Path) -> None:
    """The whole model learns to write reasoning and answer."""
    _learn(
        out, "sft", "vision", "sft", "simulated:A:6:16000:varied", steps=1000, learning_rate=1.2e-3, vision_rate=0.4,
        seed=12, reading=out / "vision",
    )  # fmt: skip


def reward(out: Path) -> None:
    """Reinforcement learning on form, answer and claims that hold: eight questions a step, eight answers to each."""
    _learn(
        out, "grpo", "sft", "reward", "simulated:A:2:2000:varied", steps=40, batch=32, learning_rate=3e-5, seed=13,
        save_every=20, weights="0.5,1,1",
    )  # fmt: skip


def control(out: Path) -> None:
    """More fine-tuning instead, for about as long as `reward` takes: what reward is to be held against."""
    _learn(
        out, "sft", "sft", "control", "simulated:A:2:6400:varied", steps=400, learning_rate=3e-4, vision_rate=0.4,
        seed=14,
    )  # fmt: skip


def publish(out: Path) -> None:
    """The model with its temperature and its card, where `ecg-worker` looks for it."""
    unfinished = out / "published.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(out / "reward" / "model", unfinished)
    shutil.copy(_CARD, unfinished / "README.md")
    write_manifest(unfinished, read_manifest(unfinished).settings)
    _call("calibrate", "--model", unfinished, "--data", "simulated:A:3:1000", "--processes", 2)
    shutil.rmtree(PUBLISHED, ignore_errors=True)
    shutil.copytree(unfinished, PUBLISHED)


def tables(out: Path) -> None:
    """The tables of docs/model.md: the shipped model with things taken away, and beside its rivals."""
    kept = ("--answers", out / "answers", "--processes", 2)
    ours = ("--model", f"SFT + GRPO={PUBLISHED}")
    _call("evaluate", *ours, *_TEST_A, "--controls", "--free-format", "--baseline", "simulated:A:7:1500", *kept,
          "--out", out / "tables" / "controls")  # fmt: skip
    rivals = ("--model", f"SFT={out / 'words' / 'model'}", *ours, "--model", f"SFT + SFT={out / 'control' / 'model'}")
    _call("evaluate", *rivals, *_TEST_A, *_TEST_B, *kept, "--out", out / "tables" / "rivals")


_MODEL: Final[tuple[Callable[[Path], None], ...]] = (start, vision, sft, reward, publish)
_STAGES: Final = {stage.__name__: stage for stage in (*_MODEL, control, tables)}


def main(arguments: list[str]) -> None:
    """Run the stages that are named, or all that make the model."""
    out = Path(arguments[0])
    for name in arguments[1:] or [stage.__name__ for stage in _MODEL]:
        if not (out / name / "model").exists():
            _STAGES[name](out)


def _learn(out: Path, command: str, begin: str, name: str, data: str, **options: object) -> None:
    stated = [part for option, value in options.items() for part in (f"--{option.replace('_', '-')}", value)]
    _call(command, "--model", out / begin / "model", "--data", data, "--run", out / name, "--processes", 2, *stated)


def _call(*arguments: object) -> None:
    print("ecg-train", *arguments, file=sys.stderr, flush=True)  # noqa: T201 - the commands are the documentation
    subprocess.run([sys.executable, "-m", "cli.training.app", *map(str, arguments)], check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    main(sys.argv[1:])
