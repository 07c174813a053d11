"""How good answers are, with what chance leaves open: 95 % intervals by the bootstrap over examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evaluation.judgement import Judgement

RESAMPLES: Final = 2000
_SEED: Final = 20260303
_BINS: Final = 10

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """A value and its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Judgements as columns. `leads` is n x 3: leads rightly, wrongly and not said to be inverted; NaN if unknown."""

    ischemic: Values
    yes: Values
    raw_probability: Values
    probability: Values
    grounded: Values
    leads: Values

    def __len__(self) -> int:
        return len(self.ischemic)

    def rows(self, chosen: NDArray[np.intp]) -> "Table":
        """These rows, in this order; one may be chosen several times."""
        return Table(
            self.ischemic[chosen],
            self.yes[chosen],
            self.raw_probability[chosen],
            self.probability[chosen],
            self.grounded[chosen],
            self.leads[chosen],
        )


def table(judgements: Sequence[Judgement], calibrated: Callable[[float], float] = float) -> Table:
    """The columns of at least one judgement, with each probability after calibration."""

    def column(of: Callable[[Judgement], float]) -> Values:
        return np.array([of(judgement) for judgement in judgements], np.float64)

    return Table(
        ischemic=column(lambda judgement: judgement.ischemic),
        yes=column(lambda judgement: judgement.yes),
        raw_probability=column(lambda judgement: judgement.raw_probability),
        probability=column(lambda judgement: calibrated(judgement.raw_probability)),
        grounded=column(lambda judgement: judgement.grounded),
        leads=np.array([_leads(judgement) for judgement in judgements], np.float64),
    )


def accuracy(of: Table) -> float:
    """The share of right answers."""
    return float((of.yes == of.ischemic).mean())


def sensitivity(of: Table) -> float:
    """The share of ischemic ones that are called so."""
    return _share(of.yes, of.ischemic == 1)


def specificity(of: Table) -> float:
    """The share of the others that are called so."""
    return _share(1 - of.yes, of.ischemic == 0)


def ppv(of: Table) -> float:
    """The share of ischemic ones among those called so."""
    return _share(of.ischemic, of.yes == 1)


def auroc(of: Table) -> float:
    """The chance that an ischemic one has the higher probability than another, ties counted half."""
    positive = of.ischemic == 1
    count = int(positive.sum())
    others = len(of) - count
    if not count or not others:
        return float("nan")
    ranks = rankdata(of.raw_probability)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def lead_f1(of: Table) -> float:
    """F1 of the leads said to have an inverted T wave, over all leads of all ECGs."""
    known = of.leads[~np.isnan(of.leads[:, 0])]
    right, wrong, missed = known.sum(axis=0) if len(known) else (0.0, 0.0, 0.0)
    return float(2 * right / (2 * right + wrong + missed)) if right + wrong + missed else float("nan")


def lead_sets(of: Table) -> float:
    """The share of ECGs in which exactly the inverted leads are named."""
    known = of.leads[~np.isnan(of.leads[:, 0])]
    return float((known[:, 1:].sum(axis=1) == 0).mean()) if len(known) else float("nan")


def grounded(of: Table) -> float:
    """The share of answers whose reasoning the waveform bears out."""
    return float(of.grounded.mean())


def brier(of: Table) -> float:
    """Mean squared distance of the calibrated probability from the truth."""
    return float(((of.probability - of.ischemic) ** 2).mean())


def calibration_error(of: Table) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = reliability(of)
    return sum(item.count * abs(item.stated - item.true) for item in bins) / len(of)


SCORES: Final[Mapping[str, Callable[[Table], float]]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ppv,
        "auroc": auroc,
        "lead_f1": lead_f1,
        "lead_sets": lead_sets,
        "grounded": grounded,
        "brier": brier,
        "calibration_error": calibration_error,
    }
)


@dataclass(frozen=True, slots=True)
class Bin:
    """Examples of like probability: how many, the mean probability, the share that is ischemic."""

    count: int
    stated: float
    true: float


def reliability(of: Table) -> list[Bin]:
    """The bins that hold anything, from the lowest probability on."""
    places = np.minimum((of.probability * _BINS).astype(int), _BINS - 1)
    return [
        Bin(
            int((places == at).sum()),
            float(of.probability[places == at].mean()),
            float(of.ischemic[places == at].mean()),
        )
        for at in range(_BINS)
        if (places == at).any()
    ]


def scored(of: Table) -> dict[str, Score]:
    """Every score with its interval."""
    chosen = _resampled(len(of))
    drawn = [of.rows(rows) for rows in chosen]
    return {name: _interval(score(of), [score(item) for item in drawn]) for name, score in SCORES.items()}


def difference(one: Table, other: Table, name: str) -> Score:
    """How much more `one` scores than `other` on the same examples in the same order, resampled together."""
    if not np.array_equal(one.ischemic, other.ischemic):
        raise ValueError("the two were not asked the same")
    score = SCORES[name]
    drawn = [score(one.rows(rows)) - score(other.rows(rows)) for rows in _resampled(len(one))]
    return _interval(score(one) - score(other), drawn)


def _resampled(count: int) -> NDArray[np.intp]:
    return np.random.default_rng(_SEED).integers(0, count, (RESAMPLES, count))


def _interval(value: float, drawn: Sequence[float]) -> Score:
    known = np.array(drawn)[~np.isnan(drawn)]
    if not len(known):
        return Score(value, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Score(value, float(low), float(high))


def _share(marked: Values, among: NDArray[np.bool_]) -> float:
    return float(marked[among].mean()) if among.any() else float("nan")


def _leads(judgement: Judgement) -> tuple[float, float, float]:
    if judgement.inverted is None:
        return (float("nan"),) * 3
    stated, inverted = set(judgement.stated), set(judgement.inverted)
    return len(stated & inverted), len(stated - inverted), len(inverted - stated)
