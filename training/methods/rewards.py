"""What a written answer earns in reinforcement learning: form, correctness and, if wanted, claims that hold.

Public rewards for this form leave gaps that a policy finds: the first "no" anywhere in the text, nested or double tags,
an empty reasoning. Here an answer has the whole form or none, and is right only as a whole.
"""

import re
from typing import Final

from schemas.finding import Measurements
from worker.verdict.grounding import ground

_TAG: Final = r"</?(?:think|answer)>"
_WHOLE: Final = re.compile(
    rf"\s*<think>(?P<reasoning>(?:(?!{_TAG}).)*\S(?:(?!{_TAG}).)*)</think>\s*<answer>(?P<answer>yes|no)</answer>\s*",
    re.DOTALL,
)
_ANSWER: Final = re.compile(r"<answer>\s*(yes|no)\s*</answer>")


def format_adherence(text: str) -> float:
    """1 for `<think>reasoning</think><answer>yes|no</answer>` and nothing else, each tag once; 0 for all else."""
    return float(_WHOLE.fullmatch(text) is not None)


def answer_accuracy(text: str, ischemic: bool) -> float:
    """1 if there is exactly one answer, and it is the right one."""
    answers = _ANSWER.findall(text)
    tags = text.count("<answer>"), text.count("</answer>")
    return float(tags == (1, 1) and answers == ["yes" if ischemic else "no"])


def grounding(text: str, measurements: Measurements) -> float:
    """The share of the reasoning's checkable lead claims that the waveform supports; 0 without any."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return 0.0
    checked = [claim.holds for claim in ground(whole["reasoning"], measurements).claims if claim.holds is not None]
    return sum(checked) / len(checked) if checked else 0.0


def reasoning_and_answer(text: str) -> tuple[str, bool] | None:
    """The reasoning and whether the answer is yes, of a text in the whole form; None for any other."""
    whole = _WHOLE.fullmatch(text)
    return None if whole is None else (whole["reasoning"].strip(), whole["answer"] == "yes")
