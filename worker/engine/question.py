"""What is asked of the engine, and what it answers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from worker.model.facts import PromptFacts


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One ECG for the model: its picture, uint8 [height, width, 3] in the bundle's size, and the facts."""

    image: NDArray[np.uint8]
    facts: PromptFacts = field(default_factory=PromptFacts)


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer.

    `text` is the reasoning without its tags; `yes` the word it wrote. `probability_yes` is calibrated, the raw one is
    the model's own share of yes against no where it decided; `format_mass` is how much of the model's belief lay on yes
    and no together at that place (near 1 unless something is wrong). `forced` says that the length limit ended the
    reasoning, `truncated_context` that clinical text was cut, `tokens` how many were written.
    """

    text: str
    yes: bool
    probability_yes: float
    raw_probability_yes: float
    format_mass: float
    forced: bool
    truncated_context: bool
    tokens: int
