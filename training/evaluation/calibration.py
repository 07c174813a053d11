"""How sure a model may sound: one temperature for its log odds, fitted on examples it has not learned from.

Guo et al., On calibration of modern neural networks, ICML 2017. One number cannot change which answer is likelier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar

from schemas.errors import WorkerError
from training.evaluation.judgement import Judgement
from training.evaluation.scores import brier, calibration_error, table
from worker.model.manifest import TemperatureCalibration

LEAST_EXAMPLES: Final = 100
_LOG_BOUNDS: Final = (-3.0, 4.0)  # temperatures of 0.05 to 55: beyond, a model knows nothing or everything
# A model is never surer than this: a probability of 0 or 1 has no log odds.
_SUREST: Final = 1e-9


class CalibrationError(WorkerError):
    """The examples cannot carry a calibration; the message says why."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and what it has changed: negative log likelihood, Brier score and calibration error."""

    calibration: TemperatureCalibration
    before: dict[str, float]
    after: dict[str, float]


def fit_temperature(judgements: Sequence[Judgement]) -> Fit:
    """The temperature with the least negative log likelihood. Raises CalibrationError."""
    if len(judgements) < LEAST_EXAMPLES:
        raise CalibrationError(f"{len(judgements)} examples are too few; at least {LEAST_EXAMPLES} are needed.")
    if len({item.ischemic for item in judgements}) < 2:
        raise CalibrationError("All examples have the same answer.")
    found = minimize_scalar(
        lambda log: _negative_log_likelihood(judgements, _temperature(float(np.exp(log)))),
        bounds=_LOG_BOUNDS,
        method="bounded",
    )
    calibration = _temperature(round(float(np.exp(found.x)), 4))
    return Fit(calibration, _quality(judgements, _temperature(1.0)), _quality(judgements, calibration))


def best_threshold(judgements: Sequence[Judgement], calibration: TemperatureCalibration) -> float:
    """The calibrated probability with the greatest sum of sensitivity and specificity (Youden, 1950)."""
    stated = np.array([calibration.apply(item.raw_probability) for item in judgements])
    truth = np.array([item.ischemic for item in judgements])
    candidates = np.unique(stated)
    gains = [(stated[truth] >= at).mean() - (stated[~truth] >= at).mean() for at in candidates]
    return round(float(candidates[int(np.argmax(gains))]), 4)


def _temperature(value: float) -> TemperatureCalibration:
    return TemperatureCalibration(temperature=value)


def _negative_log_likelihood(judgements: Sequence[Judgement], calibration: TemperatureCalibration) -> float:
    stated = np.array([calibration.apply(item.raw_probability) for item in judgements])
    truth = np.array([item.ischemic for item in judgements])
    right = np.clip(np.where(truth, stated, 1 - stated), _SUREST, 1.0)
    return float(-np.log(right).mean())


def _quality(judgements: Sequence[Judgement], calibration: TemperatureCalibration) -> dict[str, float]:
    columns = table(judgements, calibration.apply)
    return {
        "negative_log_likelihood": round(_negative_log_likelihood(judgements, calibration), 4),
        "brier": round(brier(columns), 4),
        "calibration_error": round(calibration_error(columns), 4),
    }
