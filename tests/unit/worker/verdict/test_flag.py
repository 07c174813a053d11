"""A flag needs everything to be right at once."""

from typing import Any

import pytest

from schemas.finding import Assessment, Flag, ModelRef, Quality, Reasoning
from tests.support.results import PATIENT, SUMMARY, USABLE
from worker.verdict.flag import decide

GOOD: dict[str, Any] = {
    "assessment": Assessment(verdict="ischemic", probability=0.9, threshold=0.5, reason="model_answer"),
    "reasoning": Reasoning(text="T inverted in V2.", claims=(), grounded=True),
    "quality": USABLE,
    "inverted": ("V2", "V3"),
    "model": ModelRef(name="ecg-r1", digest="d", training="trained"),
    "patient": PATIENT,
    "encounter": "e1",
    "ecg": SUMMARY,
    "ordered": "routine",
}


def flag(**changes: Any) -> Flag:
    return decide(**(GOOD | changes))


def assessment(**changes: Any) -> Assessment:
    return GOOD["assessment"].model_copy(update=changes)  # type: ignore[no-any-return]


def test_a_flag_is_raised_when_everything_is_right() -> None:
    raised = flag()
    assert raised.raised
    assert (raised.priority, raised.expires_at) == ("urgent", SUMMARY.acquired_at.replace(day=4))
    assert raised.summary.startswith("T-wave inversion in V2, V3: possibly ischemic (P 0.90, threshold 0.50)")


@pytest.mark.parametrize(
    "change",
    [
        {"assessment": assessment(verdict="indeterminate")},
        {"assessment": assessment(verdict="non_ischemic")},
        {"assessment": assessment(probability=0.49)},
        {"assessment": assessment(probability=None)},
        {"reasoning": None},
        {"reasoning": Reasoning(text="", claims=(), grounded=False)},
        {"quality": Quality(usable=False, flags=())},
        {"model": ModelRef(name="m", digest="d", training="untrained")},
    ],
    ids=str,
)
def test_any_single_doubt_keeps_it_down(change: dict[str, Any]) -> None:
    silent = flag(**change)
    assert not silent.raised
    assert (silent.priority, silent.expires_at) == ("routine", None)


def test_probability_at_the_threshold_counts() -> None:
    assert flag(assessment=assessment(probability=0.5)).raised


def test_a_demo_model_says_so_in_the_flag() -> None:
    raised = flag(model=ModelRef(name="m", digest="d", training="demo"))
    assert raised.raised
    assert "DEMO MODEL, not for clinical use" in raised.summary


def test_a_stat_order_makes_a_stat_flag() -> None:
    assert flag(ordered="stat").priority == "stat"


def test_the_dedupe_key_is_the_recordings_own_and_shows_no_patient() -> None:
    key = flag().dedupe_key
    other_patient = PATIENT.model_copy(update={"id": "p2"})
    assert flag(assessment=assessment(probability=0.1)).dedupe_key == key
    assert flag(patient=other_patient).dedupe_key != key
    assert PATIENT.id not in key
