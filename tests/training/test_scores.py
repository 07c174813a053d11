"""Scores against their definitions, intervals against what is known of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.calibration import CalibrationError, best_threshold, fit_temperature
from training.evaluation.judgement import Judgement
from training.evaluation.scores import SCORES, auroc, difference, reliability, scored, table
from worker.model.manifest import TemperatureCalibration


def judged(
    probability: float, ischemic: bool, *, yes: bool | None = None, stated: str = "", inverted: str | None = ""
) -> Judgement:
    return Judgement(
        at=0,
        name="x",
        ischemic=ischemic,
        yes=probability >= 0.5 if yes is None else yes,
        raw_probability=probability,
        text="",
        stated=tuple(stated.split()),
        inverted=None if inverted is None else tuple(inverted.split()),
        grounded=ischemic,
    )


def test_each_score_is_what_it_is_called() -> None:
    of = table(
        [
            judged(0.9, True, stated="V2 V3", inverted="V2 V3"),
            judged(0.2, True, stated="V2", inverted="V2 V4"),
            judged(0.6, False, stated="I", inverted=""),
            judged(0.1, False),
            judged(0.3, False, inverted=None),
        ]
    )
    found = {name: score(of) for name, score in SCORES.items()}
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["sensitivity"] == pytest.approx(1 / 2)
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["ppv"] == pytest.approx(1 / 2)
    assert found["auroc"] == pytest.approx(4 / 6)
    assert found["lead_f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["lead_sets"] == pytest.approx(2 / 4)
    assert found["grounded"] == pytest.approx(2 / 5)
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.36 + 0.01 + 0.09) / 5)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.8 + 0.6 + 0.1 + 0.3) / 5)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(answers: list[tuple[float, bool]]) -> None:
    of = table([judged(probability, ischemic) for probability, ischemic in answers])
    pairs = [
        (yes > no) + (yes == no) / 2
        for yes in of.raw_probability[of.ischemic == 1]
        for no in of.raw_probability[of.ischemic == 0]
    ]
    found = auroc(of)
    assert math.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


def test_intervals_hold_the_value_and_shrink_with_numbers() -> None:
    def interval(count: int) -> tuple[float, float, float]:
        rng = np.random.default_rng(1)
        answers = [judged(0.9 if rng.random() < 0.8 else 0.1, True) for _ in range(count)]
        score = scored(table(answers))["accuracy"]
        return score.low, score.value, score.high

    low, value, high = interval(200)
    assert low < value < high
    # A share of 0.8 among 200 has a standard error of 0.028.
    assert high - low == pytest.approx(2 * 1.96 * 0.028, rel=0.25)
    narrow_low, _, narrow_high = interval(3200)
    assert narrow_high - narrow_low < (high - low) / 3


def test_a_difference_is_taken_on_the_same_examples() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300) < 0.5
    hard = rng.random(300) < 0.3
    worse = table([judged(float(right != is_hard), bool(right)) for right, is_hard in zip(truth, hard, strict=True)])
    better = table([judged(float(right), bool(right)) for right in truth])
    gain = difference(better, worse, "accuracy")
    assert gain.value == pytest.approx(hard.mean())
    assert gain.low > 0.2
    same = difference(worse, worse, "accuracy")
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same"):
        difference(better, table([judged(0.5, not right) for right in truth]), "accuracy")


def test_reliability_bins_say_what_was_stated_and_what_is_true() -> None:
    bins = reliability(table([judged(0.05, False), judged(0.08, True), judged(1.0, True)]))
    assert [(item.count, item.stated, item.true) for item in bins] == [
        (2, pytest.approx(0.065), 0.5),
        (1, 1.0, 1.0),
    ]


def overconfident(count: int = 2000) -> list[Judgement]:
    """Log odds three times too large."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, count)
    truth = rng.random(count) < 1 / (1 + np.exp(-logits))
    return [judged(float(1 / (1 + np.exp(-3 * z))), bool(right)) for z, right in zip(logits, truth, strict=True)]


def test_the_temperature_undoes_overconfidence() -> None:
    fit = fit_temperature(overconfident())
    assert fit.calibration.temperature == pytest.approx(3.0, rel=0.1)
    for name, before in fit.before.items():
        assert fit.after[name] < before


@pytest.mark.parametrize("judgements", [overconfident(99), [judged(0.4, False)] * 200])
def test_too_little_to_calibrate_on_is_refused(judgements: list[Judgement]) -> None:
    with pytest.raises(CalibrationError):
        fit_temperature(judgements)


def test_the_best_threshold_parts_the_two() -> None:
    judgements = [judged(0.3, False), judged(0.6, False), judged(0.7, True), judged(0.9, True)]
    assert best_threshold(judgements, TemperatureCalibration(temperature=1.0)) == pytest.approx(0.7)
