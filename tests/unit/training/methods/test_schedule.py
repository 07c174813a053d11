"""How long and how fast: a plan reaches the trainer and the optimizer under their own names."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import TrainingArguments

from training.methods.run_directory import Run
from training.methods.schedule import Schedule, optimizer, trainer_arguments

PLAN = Schedule(
    steps=7, batch=3, learning_rate=1e-3, vision_rate=0.25, warmup_steps=2, final_rate=0.1, weight_decay=0.3,
    seed=11, log_every=5, save_every=6,
)  # fmt: skip


class Both(nn.Module):
    """A vision tower and a language model, of one weight each, and a word that only looks like the tower."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Linear(2, 2, bias=False)
        self.language_model = nn.Linear(3, 3, bias=False)
        self.visualised = nn.Linear(4, 4, bias=False)


def groups(network: nn.Module, plan: Schedule = PLAN) -> dict[float, list[int]]:
    """The number of values in each weight, by learning rate."""
    return {group["lr"]: [w.numel() for w in group["params"]] for group in optimizer(plan, network).param_groups}


def test_the_trainer_is_told_every_number_of_the_plan(tmp_path: Path) -> None:
    arguments = TrainingArguments(**trainer_arguments(PLAN, Run(tmp_path)))
    assert arguments.output_dir == str(tmp_path / "checkpoints")
    assert (arguments.max_steps, arguments.per_device_train_batch_size) == (7, 3)
    assert (arguments.learning_rate, arguments.warmup_steps, arguments.seed) == (1e-3, 2, 11)
    assert (arguments.logging_steps, arguments.save_steps) == (5, 6)
    assert arguments.lr_scheduler_kwargs == {"min_lr_rate": 0.1}


def test_nothing_is_reported_elsewhere_and_no_column_is_taken_away(tmp_path: Path) -> None:
    arguments = trainer_arguments(PLAN, Run(tmp_path))
    assert (arguments["report_to"], arguments["remove_unused_columns"]) == ("none", False)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_mixed_precision_is_for_a_gpu_alone(on_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    arguments = trainer_arguments(PLAN, Run(tmp_path))
    assert (arguments["use_cpu"], arguments["bf16"], arguments["dataloader_pin_memory"]) == (not on_gpu, on_gpu, on_gpu)


def test_the_vision_tower_learns_at_its_own_rate_and_nothing_else_does() -> None:
    assert groups(Both()) == {1e-3: [9, 16], 2.5e-4: [4]}


def test_the_tower_is_known_at_any_depth() -> None:
    whole = nn.Module()
    whole.model = Both()
    assert groups(whole) == {1e-3: [9, 16], 2.5e-4: [4]}


def test_what_does_not_learn_is_left_out() -> None:
    network = Both()
    network.visual.requires_grad_(False)
    assert groups(network) == {1e-3: [9, 16]}


def test_the_optimizer_has_the_plans_decay_and_short_second_moments() -> None:
    made = optimizer(PLAN, Both())
    assert isinstance(made, torch.optim.AdamW)
    for group in made.param_groups:
        assert group["weight_decay"] == 0.3
        assert group["betas"] == (0.9, 0.98)
