"""The commands that change a model: each begins from a bundle and leaves a run directory with another one."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import output
from cli.training import options

if TYPE_CHECKING:
    from training.data.sources import ExampleSource
    from training.methods.run_directory import Run
    from training.methods.schedule import Schedule
    from worker.model.bundle import ModelBundle

RunDirectory = Annotated[
    Path, typer.Option("--run", metavar="DIR", file_okay=False, help="new, or an interrupted run to go on with")
]
Steps = Annotated[int, typer.Option("--steps", min=1)]
Batch = Annotated[int, typer.Option("--batch", min=1, help="examples (grpo: answers) a step and process")]
Rate = Annotated[float, typer.Option("--learning-rate", min=0)]
VisionRate = Annotated[
    float, typer.Option("--vision-rate", min=0, help="the vision tower's share of the learning rate; 0 leaves it be")
]
Seed = Annotated[int, typer.Option("--seed", min=0)]
SaveEvery = Annotated[int, typer.Option("--save-every", metavar="STEPS", min=1)]
Recompute = Annotated[bool, typer.Option("--recompute", help="a third more time, most of the activations' memory less")]
Lora = Annotated[int, typer.Option("--lora", metavar="RANK", min=0, help="train adapters of this rank; 0: all weights")]

_OWN_PROCESS: Final = "RANK"  # torch's launcher sets it in the processes that it starts


def pretrain(
    model: options.Model,
    data: options.Data,
    run: RunDirectory,
    steps: Steps = 1400,
    batch: Batch = 8,
    learning_rate: Rate = 1.5e-3,
    seed: Seed = 1,
    save_every: SaveEvery = 250,
    processes: options.Processes = 1,
    zone: options.Zone = "UTC",
) -> None:
    """Teach a vision tower with random weights to read leads. A pretrained model begins with `sft`.

    Example: ecg-train pretrain --model start --data simulated:A:1:24000:varied --run build/vision --processes 2
    """
    from training.methods.pretrain import pretrain as learn
    from training.methods.pretrain import save_reading
    from training.methods.run_directory import is_first_process
    from training.methods.schedule import Schedule

    schedule = Schedule(
        steps, batch, learning_rate, warmup_steps=min(60, steps // 10 + 1), seed=seed, save_every=save_every
    )

    def learned(network: Any, bundle: "ModelBundle", examples: "ExampleSource", begun: "Run") -> Any:
        reading = learn(network, bundle, bundle.manifest.layout.layout(), examples, schedule, begun)
        if is_first_process():
            save_reading(reading, begun.directory)
        return network

    _run("pretrain", model, data, run, schedule, {}, processes, zone, learned)


def sft(
    model: options.Model,
    data: options.Data,
    run: RunDirectory,
    steps: Steps = 1000,
    batch: Batch = 8,
    learning_rate: Rate = 1e-5,
    vision_rate: VisionRate = 1.0,
    seed: Seed = 1,
    save_every: SaveEvery = 250,
    lora: Lora = 0,
    recompute: Recompute = False,
    reading: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, file_okay=False, help="a run of pretrain, whose lessons go on"),
    ] = None,
    processes: options.Processes = 1,
    zone: options.Zone = "UTC",
) -> None:
    """Supervised fine-tuning on reasoning and answer.

    Example: ecg-train sft --model /models/qwen2-vl-2b --data train.jsonl --run build/sft --lora 64 --recompute
    """
    from training.methods.pretrain import load_reading
    from training.methods.schedule import Schedule
    from training.methods.sft import fine_tune
    from training.methods.trainable import trainable

    schedule = Schedule(
        steps, batch, learning_rate, vision_rate, min(60, steps // 10 + 1), seed=seed, save_every=save_every,
        recompute=recompute,
    )  # fmt: skip

    def learned(network: Any, bundle: "ModelBundle", examples: "ExampleSource", begun: "Run") -> Any:
        heads = None if reading is None else load_reading(reading, bundle, bundle.manifest.layout.layout())
        adapted = trainable(network, lora, vision_rate)
        fine_tune(adapted, bundle, examples, schedule, begun, heads)
        return adapted

    _run("sft", model, data, run, schedule, {"lora": lora, "reading": str(reading)}, processes, zone, learned)


def grpo(
    model: options.Model,
    data: options.Data,
    run: RunDirectory,
    steps: Steps = 500,
    batch: Batch = 32,
    learning_rate: Rate = 1e-6,
    vision_rate: VisionRate = 1.0,
    seed: Seed = 1,
    save_every: SaveEvery = 50,
    lora: Lora = 0,
    recompute: Recompute = False,
    group: Annotated[int, typer.Option(min=2, help="answers to one question, compared with one another")] = 8,
    beta: Annotated[float, typer.Option(min=0, help="how firmly the model is held to where it began")] = 0.02,
    temperature: Annotated[float, typer.Option(min=0.01)] = 1.0,
    weights: Annotated[str, typer.Option(metavar="F,A,G", help="weights of format, accuracy, grounding")] = "0.5,1,0",
    processes: options.Processes = 1,
    zone: options.Zone = "UTC",
) -> None:
    """Reinforcement learning by GRPO: rewards for the form, for the right answer and, if weighted, for grounding.

    Example: ecg-train grpo --model build/sft/model --data train.jsonl --run build/grpo --learning-rate 1e-6
    """
    from training.methods.grpo import Rewarding, reinforce
    from training.methods.schedule import Schedule
    from training.methods.trainable import trainable

    if batch % group:
        raise typer.BadParameter("must be whole groups", param_hint="--batch")
    schedule = Schedule(
        steps, batch, learning_rate, vision_rate, min(5, steps), final_rate=1.0, seed=seed, log_every=1,
        save_every=save_every, recompute=recompute,
    )  # fmt: skip
    rewarding = Rewarding(group, temperature, beta, *_weights(weights))

    def learned(network: Any, bundle: "ModelBundle", examples: "ExampleSource", begun: "Run") -> Any:
        adapted = trainable(network, lora, vision_rate)
        reinforce(adapted, bundle, examples, schedule, begun, rewarding)
        return adapted

    _run("grpo", model, data, run, schedule, {"lora": lora, **asdict(rewarding)}, processes, zone, learned)


def _run(
    command: str,
    model: Path,
    data: str,
    directory: Path,
    schedule: "Schedule",
    more: dict[str, Any],
    processes: int,
    zone: str,
    learned: Callable[[Any, "ModelBundle", "ExampleSource", "Run"], Any],
) -> None:
    """Begin or resume a run here, or start again as several processes; leave the bundle that came out."""
    output.try_folder(directory, "--run")
    if processes > 1 and _OWN_PROCESS not in os.environ:
        raise typer.Exit(_again(processes))
    from training.methods.run_directory import Run, is_first_process
    from training.methods.trainable import merged
    from worker.model.bundle import ModelBundle
    from worker.model.huggingface import load_model

    bundle = ModelBundle.load(model)
    examples = options.opened_data(data, bundle, zone)
    settings = {**asdict(schedule), **more, "model": bundle.digest, "processes": processes}
    begun = Run.begin(directory, command, settings, {"source": examples.source, "sha256": examples.digest})
    if not begun.model.exists():
        with redirect_stdout(sys.stderr):  # the trainers print what they log; standard output is for the result
            network = learned(load_model(model).train(), bundle, examples, begun)
        if is_first_process():
            _keep(begun, merged(network), bundle)
    if is_first_process():
        output.emit_json({"run": str(directory), "model": str(begun.model)})


def _keep(run: "Run", network: Any, bundle: "ModelBundle") -> None:
    """Curves and bundle. The bundle is written under another name first, so that one that is there is complete."""
    from training.evaluation.charts import draw_curves
    from training.models.build import save_bundle

    draw_curves(run.metrics, run.directory / "curves.png")
    settings = bundle.manifest.settings
    training = "demo" if settings.training == "demo" else "trained"
    unfinished = run.directory / "model.partial"
    save_bundle(
        unfinished,
        network,
        bundle.tokenizer,
        settings.model_copy(update={"training": training}),
        bundle.preprocessing,
    )
    unfinished.rename(run.model)


def _again(processes: int) -> int:
    """This same command in several processes that share each step. One thread each: threads of several would fight."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Behind the dashes the launcher takes no option of ours for one of its own.
    command += ["-m", "--", "cli.training.app", *sys.argv[1:]]
    return subprocess.run(command, check=False, env=environment).returncode  # noqa: S603 - our own command


def _weights(stated: str) -> tuple[float, float, float]:
    if not re.fullmatch(r"[\d.]+,[\d.]+,[\d.]+", stated):
        raise typer.BadParameter("three numbers are wanted: format,accuracy,grounding", param_hint="--weights")
    form, accuracy, grounding = map(float, stated.split(","))
    return form, accuracy, grounding
