"""First lessons for a vision tower that has seen nothing: to read each lead of an ECG picture.

Only for models that are trained from random weights. A pretrained Qwen2-VL begins with supervised fine-tuning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from training.data.batch import Collator
from training.data.example import Examples
from training.data.rows import examples_of, index_dataset
from training.methods.lead_reading import LeadReading, reading_loss, reading_targets, states_right
from training.methods.run_directory import MetricsFile, Run
from training.methods.schedule import Schedule, optimizer, trainer_arguments
from worker.model.bundle import ModelBundle
from worker.picture.layout import Layout

READING: Final = "reading.safetensors"
"""The heads that read the tokens, kept beside the model for the next stage of training."""


class _Eye(nn.Module):
    """The vision tower with the reading heads on it."""

    def __init__(self, visual: Any, reading: LeadReading) -> None:
        super().__init__()
        self.visual = visual
        self.reading = reading

    def forward(self, pixel_values: Tensor, image_grid_thw: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        embeddings = self.visual(pixel_values, grid_thw=image_grid_thw).pooler_output
        read = self.reading(embeddings.view(len(image_grid_thw), -1, embeddings.shape[-1]))
        return {"loss": reading_loss(read, targets), **read}


class _ReadingTrainer(Trainer):
    """Logs the share of T waves named rightly beside the loss."""

    right: list[float]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        out = model(**inputs)
        self.right.append(states_right(out, inputs["targets"]))
        return (out["loss"], out) if return_outputs else out["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self.right:
            logs["t_waves_right"] = round(sum(self.right) / len(self.right), 4)
            self.right = []
        super().log(logs, *args, **kwargs)


def pretrain(
    model: Any, bundle: ModelBundle, layout: Layout, examples: Examples, schedule: Schedule, run: Run
) -> LeadReading:
    """Teach the tower of `model`, in place, and return the heads. Resumes where an interrupted run has stopped."""
    torch.manual_seed(schedule.seed)
    reading = LeadReading(bundle.config.text_config.hidden_size, layout, bundle.grid)
    visual = model.model.visual.requires_grad_(True)
    collator = Collator(bundle)

    def collate(chosen: Sequence[dict[str, int]]) -> dict[str, Any]:
        batch = examples_of(chosen, examples)
        return {**collator.pixels(batch), "targets": reading_targets(batch)}

    eye = _Eye(visual, reading)
    trainer = _ReadingTrainer(
        model=eye,
        args=TrainingArguments(**trainer_arguments(schedule, run)),
        train_dataset=index_dataset(examples),
        data_collator=collate,
        optimizers=(optimizer(schedule, eye), None),
        callbacks=[MetricsFile(run.metrics)],
    )
    trainer.right = []
    trainer.train(resume_from_checkpoint=run.last_checkpoint)
    return reading


def save_reading(reading: LeadReading, directory: Path) -> None:
    """Keep the heads."""
    save_file(reading.state_dict(), directory / READING)


def load_reading(directory: Path, bundle: ModelBundle, layout: Layout) -> LeadReading:
    """The heads that a run of `pretrain` has kept."""
    reading = LeadReading(bundle.config.text_config.hidden_size, layout, bundle.grid)
    reading.load_state_dict(load_file(directory / READING))
    return reading
