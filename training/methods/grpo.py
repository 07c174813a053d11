"""Reinforcement learning by GRPO: the model answers each question several times; what earns more is made likelier.

The recipe of ECG-R1: rewards for the form and for the right answer, none for how the reasoning goes. A third one, for
lead claims that the waveform supports, is off unless it is given a weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import datasets
from PIL import Image
from trl import GRPOConfig, GRPOTrainer

from training.data.example import Example, Examples
from training.methods.processor import processor_of
from training.methods.rewards import answer_accuracy, format_adherence, grounding
from training.methods.run_directory import MetricsFile, Run
from training.methods.schedule import Schedule, optimizer, trainer_arguments
from training.methods.trainable import restore
from worker.model.bundle import ModelBundle
from worker.model.prompt import PromptBuilder

# A question stands in a batch as often as it is answered: made once, it is at hand for the whole group.
_KEPT_EXAMPLES = 256


@dataclass(frozen=True, slots=True)
class Rewarding:
    """How answers are drawn and weighed. `group` answers to a question are compared with one another.

    `beta` holds the policy near the model it began as. The weights are those of form, right answer and grounding.
    """

    group: int = 8
    temperature: float = 1.0
    beta: float = 0.02
    format_weight: float = 0.5
    accuracy_weight: float = 1.0
    grounding_weight: float = 0.0


def reinforce(
    model: Any, bundle: ModelBundle, examples: Examples, schedule: Schedule, run: Run, rewarding: Rewarding
) -> None:
    """Teach `model`, a `trainable`. `schedule.batch` counts answers a process, whole groups.

    Resumes an interrupted run.
    """

    @lru_cache(maxsize=_KEPT_EXAMPLES)
    def example(at: int) -> Example:
        return examples[at]

    rewards, weights = _rewards(example, rewarding)
    restore(model, run.last_checkpoint)
    trainer = GRPOTrainer(
        model=model,
        processing_class=processor_of(bundle),
        reward_funcs=rewards,
        args=GRPOConfig(
            **trainer_arguments(schedule, run),
            num_generations=rewarding.group,
            temperature=rewarding.temperature,
            beta=rewarding.beta,
            reward_weights=weights,
            max_completion_length=bundle.manifest.max_new_tokens,
            activation_checkpointing=schedule.recompute,
        ),
        train_dataset=_questions(len(examples), example, PromptBuilder(bundle)),
        optimizers=(optimizer(schedule, model), None),
        callbacks=[MetricsFile(run.metrics)],
    )
    trainer.train(resume_from_checkpoint=run.last_checkpoint)


def _questions(count: int, example: Callable[[int], Example], prompts: PromptBuilder) -> Any:
    """A table of places whose rows become prompt and picture when they are read."""

    def asked(rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [example(at) for at in rows["at"]]
        return {
            "prompt": [prompts.messages(item.facts) for item in chosen],
            "image": [Image.fromarray(item.image) for item in chosen],
            "at": rows["at"],
        }

    return datasets.Dataset.from_dict({"at": range(count)}).with_transform(asked)


def _rewards(
    example: Callable[[int], Example], rewarding: Rewarding
) -> tuple[list[Callable[..., list[float]]], list[float]]:
    """The reward functions as TRL calls them, and their weights; one without weight is not computed."""

    def form(completions: Sequence[Any], **_: Any) -> list[float]:
        return [format_adherence(_text(completion)) for completion in completions]

    def accuracy(completions: Sequence[Any], at: Sequence[int], **_: Any) -> list[float]:
        pairs = zip(completions, at, strict=True)
        return [answer_accuracy(_text(completion), example(place).ischemic) for completion, place in pairs]

    def grounded(completions: Sequence[Any], at: Sequence[int], **_: Any) -> list[float]:
        pairs = zip(completions, at, strict=True)
        return [grounding(_text(completion), example(place).measured.measurements) for completion, place in pairs]

    weighed: list[tuple[Callable[..., list[float]], float]] = [
        (form, rewarding.format_weight),
        (accuracy, rewarding.accuracy_weight),
        (grounded, rewarding.grounding_weight),
    ]
    used = [(reward, weight) for reward, weight in weighed if weight]
    return [reward for reward, _ in used], [weight for _, weight in used]


def _text(completion: Any) -> str:
    """What was written, of a completion as TRL hands it on: one message of the assistant."""
    text: str = completion[0]["content"]
    return text
