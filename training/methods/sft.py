"""Supervised fine-tuning: to write the reasoning and the answer, token by token, as the examples have them."""

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor
from trl import SFTConfig, SFTTrainer

from training.data.batch import Collator
from training.data.example import Examples
from training.data.rows import examples_of, index_dataset
from training.methods.lead_reading import LeadReading, reading_loss, reading_targets
from training.methods.run_directory import MetricsFile, Run
from training.methods.schedule import Schedule, optimizer, trainer_arguments
from training.methods.trainable import restore, vision_tower
from worker.model.bundle import ModelBundle

_READING_WEIGHT: Final = 0.3


class _Trainer(SFTTrainer):  # type: ignore[misc]  # trl is not typed
    """With `reading`, the vision tower goes on learning to read leads while the language model learns to write."""

    reading: LeadReading | None
    seen: list[Tensor]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        targets = inputs.pop("targets", None)
        self.seen.clear()
        written = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.reading is None:
            return written
        read = self.reading(self.seen[0].view(len(inputs["image_grid_thw"]), -1, self.seen[0].shape[-1]))
        also = _READING_WEIGHT * reading_loss(read, targets)
        return (written[0] + also, written[1]) if return_outputs else written + also


def fine_tune(
    model: Any,
    bundle: ModelBundle,
    examples: Examples,
    schedule: Schedule,
    run: Run,
    reading: LeadReading | None = None,
) -> None:
    """Teach `model`, a `trainable`, to give the examples' targets. Resumes where an interrupted run has stopped.

    `reading` keeps what `pretrain` has taught: for models from random weights.
    """
    collator = Collator(bundle)

    def collate(chosen: Sequence[dict[str, int]]) -> dict[str, Any]:
        batch = examples_of(chosen, examples)
        return collator(batch) | ({"targets": reading_targets(batch)} if reading is not None else {})

    if reading is not None:
        model.reading = reading  # a part of the model while it learns, so that every process learns the same heads
    restore(model, run.last_checkpoint)
    trainer = _Trainer(
        model=model,
        processing_class=bundle.tokenizer,
        args=SFTConfig(
            **trainer_arguments(schedule, run),
            max_length=None,  # cutting would tear the picture's tokens apart
            activation_checkpointing=schedule.recompute,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=index_dataset(examples),
        data_collator=collate,
        optimizers=(optimizer(schedule, model), None),
        callbacks=[MetricsFile(run.metrics)],
    )
    trainer.reading, trainer.seen = reading, []
    hook = vision_tower(model).merger.register_forward_hook(
        lambda _module, _inputs, tokens: trainer.seen.append(tokens)
    )
    try:
        trainer.train(resume_from_checkpoint=run.last_checkpoint)
    finally:
        hook.remove()
        if reading is not None:
            del model.reading
