"""How long and how fast to learn: what every kind of training has in common, and what the trainers call it."""

import sys
from dataclasses import dataclass
from typing import Any, Final

import torch

from training.methods.run_directory import Run

# Second moments over 50 steps instead of 1000: runs here are short, and gradients change fast at their beginning.
_BETAS: Final = (0.9, 0.98)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`batch` examples a step and process, `steps` steps. `vision_rate` is the vision tower's share of the learning
    rate, 0 to leave it as it is. The rate rises over `warmup_steps` and falls to `final_rate` of itself.
    """

    steps: int
    batch: int
    learning_rate: float
    vision_rate: float = 1.0
    warmup_steps: int = 20
    final_rate: float = 0.04
    weight_decay: float = 0.01
    seed: int = 1
    log_every: int = 20
    save_every: int = 200
    recompute: bool = False
    """Forget activations and compute them again when they are needed: a third slower, for models that fill the GPU."""


def trainer_arguments(schedule: Schedule, run: Run) -> dict[str, Any]:
    """The arguments that all of the library's trainers share. Mixed precision is for processors that multiply in it."""
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": schedule.steps,
        "per_device_train_batch_size": schedule.batch,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": schedule.final_rate},
        "warmup_steps": schedule.warmup_steps,
        "max_grad_norm": 1.0,
        "seed": schedule.seed,
        "logging_steps": schedule.log_every,
        "save_steps": schedule.save_every,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }


def optimizer(schedule: Schedule, network: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW over the weights that learn, those of the vision tower at their own rate."""
    learning = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    rates = {False: schedule.learning_rate, True: schedule.learning_rate * schedule.vision_rate}
    groups = [
        {"params": [weight for name, weight in learning if ("visual" in name.split(".")) == of_vision], "lr": rate}
        for of_vision, rate in rates.items()
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], betas=_BETAS, weight_decay=schedule.weight_decay
    )
