"""What an answer earns when TRL asks, and what it is asked about."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.measured import measured
from training.data.example import Example
from training.methods import grpo
from training.methods.grpo import Rewarding
from worker.model.facts import PromptFacts

EXAMPLES = [
    Example(f"x{at}", np.full((4, 6, 3), at, np.uint8), PromptFacts(40.0 + at), at == 1, measured({"V2": -0.3}))
    for at in range(3)
]
YES = "<think>T waves: V2 inverted, V3 inverted.</think><answer>yes</answer>"


def said(*texts: str) -> list[list[dict[str, str]]]:
    """Completions as TRL hands them on."""
    return [[{"role": "assistant", "content": text}] for text in texts]


def rewards(**weights: Any) -> tuple[list[Callable[..., list[float]]], list[float]]:
    return grpo._rewards(EXAMPLES.__getitem__, replace(Rewarding(), **weights))


def test_form_right_answer_and_grounding_are_weighed_each_by_its_own() -> None:
    functions, weights = rewards(format_weight=0.5, accuracy_weight=1.0, grounding_weight=0.25)
    assert weights == [0.5, 1.0, 0.25]
    completions = said(YES, "yes", YES.replace("yes", "no"))
    form, accuracy, grounded = [function(completions=completions, at=[1, 1, 1], extra="x") for function in functions]
    assert form == [1.0, 0.0, 1.0]
    assert accuracy == [1.0, 0.0, 0.0]
    assert grounded == [0.5, 0.0, 0.5]


def test_an_answer_is_held_against_the_example_of_its_own_row() -> None:
    (_, accuracy), _ = rewards()
    assert accuracy(completions=said(YES, YES, YES), at=[0, 1, 2]) == [0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="zip"):
        accuracy(completions=said(YES, YES), at=[0])


def test_grounding_is_off_unless_it_is_given_a_weight() -> None:
    assert rewards()[1] == [0.5, 1.0]
    assert [function.__name__ for function in rewards()[0]] == ["form", "accuracy"]


@pytest.mark.parametrize("name", ["format_weight", "accuracy_weight", "grounding_weight"])
def test_a_reward_without_weight_is_not_computed(name: str) -> None:
    weights = {"format_weight": 0.1, "accuracy_weight": 0.2, "grounding_weight": 0.3}
    functions, used = rewards(**weights | {name: 0.0})
    assert used == [weight for item, weight in weights.items() if item != name]
    assert len(functions) == 2


def test_a_row_becomes_its_examples_prompt_and_picture_when_it_is_read() -> None:
    made: list[int] = []

    def example(at: int) -> Example:
        made.append(at)
        return EXAMPLES[at]

    class Prompts:
        def messages(self, facts: PromptFacts) -> Any:
            return [{"role": "user", "content": str(facts.age_years)}]

    questions = grpo._questions(3, example, Prompts())  # type: ignore[arg-type] # of a builder only this is asked
    assert len(questions) == 3
    assert made == []
    row = questions[2]
    assert made == [2]
    assert (row["at"], row["prompt"]) == (2, [{"role": "user", "content": "42.0"}])
    assert (np.asarray(row["image"]) == EXAMPLES[2].image).all()
