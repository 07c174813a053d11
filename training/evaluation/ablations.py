"""The same questions with something taken away: what an answer rests on shows when that is gone."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.example import Example, Examples, MadeExamples
from training.data.restyle import blank

_SEED: Final = 20260303


class Changed(MadeExamples):
    """Examples, each changed when it is asked for. `change` gets all of them and a place."""

    def __init__(self, examples: Examples, change: Callable[[Examples, int], Example]) -> None:
        self._examples = examples
        self._change = change

    def __len__(self) -> int:
        return len(self._examples)

    def make(self, at: int) -> Example:
        """The example at this place, changed."""
        return self._change(self._examples, at)


def with_blank_pictures(examples: Examples) -> Examples:
    """White paper instead of every picture: what the text alone gives."""
    return Changed(examples, _blank)


def with_shuffled_pictures(examples: Examples) -> Examples:
    """Every text with the picture of another example; the right answer stays that of the text's own."""
    return Changed(examples, partial(_exchanged, derangement(len(examples))))


def without_texts(examples: Examples) -> Examples:
    """Pictures without clinical text; age and sex stay."""
    return Changed(examples, _silent)


def _blank(examples: Examples, at: int) -> Example:
    example = examples[at]
    return replace(example, image=blank(example.image))


def _exchanged(other: NDArray[np.intp], examples: Examples, at: int) -> Example:
    """What is claimed of leads is held against the ECG that is shown, the answer against the text's own."""
    shown = examples[int(other[at])]
    return replace(examples[at], image=shown.image, measured=shown.measured, inverted=shown.inverted)


def _silent(examples: Examples, at: int) -> Example:
    example = examples[at]
    return replace(example, facts=replace(example.facts, clinical_texts=()))


CONTROLS: Final[Mapping[str, Callable[[Examples], Examples]]] = MappingProxyType(
    {
        "blank picture": with_blank_pictures,
        "shuffled pictures": with_shuffled_pictures,
        "without text": without_texts,
    }
)


def derangement(count: int) -> NDArray[np.intp]:
    """A seeded order in which nothing stays in its place. Raises ValueError below 2."""
    if count < 2:
        raise ValueError("one example has no other")
    order = np.random.default_rng(_SEED).permutation(count)
    moved = np.empty(count, np.intp)
    moved[order] = np.roll(order, 1)  # each gets that of its neighbour in a random circle
    return moved
