"""What earns a reward, and which tricks do not."""

import pytest

from tests.support.measured import measured
from training.methods.rewards import answer_accuracy, format_adherence, grounding, reasoning_and_answer

GOOD = "<think>T inverted in V2.</think><answer>yes</answer>"


@pytest.mark.parametrize("text", [GOOD, f"\n{GOOD}\n", "<think>a\nb</think>\n<answer>no</answer>"])
def test_the_whole_form_is_rewarded(text: str) -> None:
    assert format_adherence(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "<answer>yes</answer>",
        "<think></think><answer>yes</answer>",
        "<think> \n </think><answer>yes</answer>",
        "<think>a</think><answer>yes</answer><answer>no</answer>",
        "<think>a</think><think>b</think><answer>yes</answer>",
        "<think>a<think>b</think></think><answer>yes</answer>",
        "<think>a<answer>no</answer></think><answer>yes</answer>",
        "<think>a</think><answer>maybe</answer>",
        "<think>a</think><answer>yes and no</answer>",
        "<think>a</think><answer>YES</answer>",
        "<think>a</think> so <answer>yes</answer>",
        "<think>a</think><answer>yes</answer> indeed",
        "<think>a</think><answer>yes",
        "<think>a<answer>yes</answer>",
    ],
)
def test_anything_else_is_not(text: str) -> None:
    assert format_adherence(text) == 0.0
    assert reasoning_and_answer(text) is None


def test_one_right_answer_is_accurate() -> None:
    assert answer_accuracy(GOOD, ischemic=True) == 1.0
    assert answer_accuracy(GOOD, ischemic=False) == 0.0
    assert answer_accuracy("<answer> no </answer>", ischemic=False) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "There is no inversion: yes, notable.",
        "<answer>yes</answer><answer>no</answer>",
        "<answer>no</answer><answer>no</answer>",
        "<answer>nothing</answer>",
        "<answer>not no</answer>",
        "<answer><answer>no</answer></answer>",
    ],
)
def test_words_outside_of_one_answer_count_for_nothing(text: str) -> None:
    assert answer_accuracy(text, ischemic=False) == 0.0
    assert answer_accuracy(text, ischemic=True) == 0.0


def test_grounding_is_the_share_of_claims_that_hold() -> None:
    numbers = measured({"V2": -0.3, "V3": 0.4}).measurements

    def share(reasoning: str) -> float:
        return grounding(f"<think>{reasoning}</think><answer>yes</answer>", numbers)

    assert share("T waves: V2 inverted, V3 upright.") == 1.0
    assert share("T waves: V2 inverted, V3 inverted.") == 0.5
    assert share("T waves: V2 upright.") == 0.0
    assert share("It looks ischemic to me.") == 0.0
    assert grounding("T waves: V2 inverted.", numbers) == 0.0, "no form, no claims"
