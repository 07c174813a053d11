"""What the text alone gives: logistic regression on the words of the prompt's facts, without any picture."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from training.data.example import Example
from worker.model.facts import PromptFacts

_RAREST: Final = 5  # a word seen less often says more about one patient than about patients
_RIDGE: Final = 1.0
_AGE_SCALE_YEARS: Final = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class TextBaseline:
    """Fitted weights: for each word, for age, for sex, and the constant."""

    words: tuple[str, ...]
    weights: NDArray[np.float64]

    @classmethod
    def fit(cls, examples: Sequence[Example]) -> "TextBaseline":
        """Fit to examples of both kinds."""
        known = [(example.facts, example.ischemic) for example in examples]  # each is made once
        seen = Counter(word for facts, _ in known for word in _words(facts))
        words = tuple(sorted(word for word, count in seen.items() if count >= _RAREST))
        rows = np.array([_row(facts, words) for facts, _ in known])
        truth = np.array([ischemic for _, ischemic in known], np.float64)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = rows @ weights
            value = np.logaddexp(0, logits).sum() - truth @ logits + _RIDGE / 2 * (weights[:-1] ** 2).sum()
            gradient = rows.T @ (expit(logits) - truth)
            gradient[:-1] += _RIDGE * weights[:-1]
            return float(value), gradient

        fitted = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B")
        return cls(words, fitted.x)

    def probability(self, facts: PromptFacts) -> float:
        """P(ischemic) by the text."""
        return float(expit(_row(facts, self.words) @ self.weights))


def _words(facts: PromptFacts) -> set[str]:
    """Single words and pairs of neighbours."""
    found = re.findall(r"[a-z0-9.-]+", " | ".join(facts.clinical_texts).lower().replace("|", " "))
    return {*found, *(" ".join(pair) for pair in pairwise(found))}


def _row(facts: PromptFacts, words: Sequence[str]) -> NDArray[np.float64]:
    present = _words(facts)
    known = [float(word in present) for word in words]
    age = 0.0 if facts.age_years is None else facts.age_years / _AGE_SCALE_YEARS
    return np.array([*known, age, float(facts.sex == "female"), 1.0])
