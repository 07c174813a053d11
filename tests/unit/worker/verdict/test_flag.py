"""A flag needs everything to be right at once."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

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
    "recording": "r",
    "ordered": "routine",
    "backfill": False,
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
        {"backfill": True},
        {"backfill": True, "ordered": "stat"},
    ],
    ids=str,
)
def test_any_single_doubt_keeps_it_down(change: dict[str, Any]) -> None:
    silent = flag(**change)
    assert not silent.raised
    assert (silent.priority, silent.expires_at) == ("routine", None)


@pytest.mark.parametrize("threshold", [0.5, 0.35])
def test_probability_at_the_threshold_counts_and_the_least_below_does_not(threshold: float) -> None:
    assert flag(assessment=assessment(probability=threshold, threshold=threshold)).raised
    below = threshold - 1e-9
    assert not flag(assessment=assessment(probability=below, threshold=threshold)).raised
    assert flag(assessment=assessment(probability=threshold + 1e-9, threshold=threshold)).raised


def test_an_alert_lives_for_a_day_from_the_recording_on() -> None:
    assert flag().expires_at == SUMMARY.acquired_at + timedelta(hours=24)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-12)), ZoneInfo("America/New_York")], ids=str)
@pytest.mark.parametrize("moment", [datetime.min, datetime.max, datetime.max - timedelta(hours=23)], ids=str)
def test_an_alert_at_either_end_of_the_calendar_lives_until_its_end_at_most(moment: datetime, zone: tzinfo) -> None:
    recorded = moment.replace(tzinfo=zone)
    raised = flag(ecg=SUMMARY.model_copy(update={"acquired_at": recorded}))
    last = datetime.max.replace(tzinfo=zone)
    assert raised.expires_at == (recorded + timedelta(hours=24) if moment.year == 1 else last)
    again = Flag.model_validate_json(raised.model_dump_json()).expires_at
    assert again is not None
    assert abs(again - raised.expires_at) < timedelta(minutes=1), "old local times are off by seconds, JSON's are not"


def test_what_comes_of_a_backfill_says_why_it_is_filed() -> None:
    filed = flag(backfill=True)
    assert filed.summary == (
        "T-wave inversion in V2, V3: possibly ischemic (P 0.90, threshold 0.50). Backfill: filed, no alert. "
        "Preliminary, over-read required."
    )
    assert "filed" not in flag().summary
    assert filed.dedupe_key == flag().dedupe_key


def test_a_demo_model_says_so_in_the_flag() -> None:
    raised = flag(model=ModelRef(name="m", digest="d", training="demo"))
    assert raised.raised
    assert "DEMO MODEL, not for clinical use" in raised.summary
    untrained = flag(model=ModelRef(name="m", digest="d", training="untrained"))
    assert "UNTRAINED MODEL, not for clinical use" in untrained.summary
    assert "MODEL" not in flag().summary


@pytest.mark.parametrize(("ordered", "priority"), [("stat", "stat"), ("asap", "urgent"), ("routine", "urgent")])
def test_a_stat_order_makes_a_stat_flag_and_any_other_an_urgent_one(ordered: str, priority: str) -> None:
    assert flag(ordered=ordered).priority == priority


def test_a_stat_order_without_an_alert_is_filed_as_routine() -> None:
    assert flag(ordered="stat", assessment=assessment(probability=0.1)).priority == "routine"


@pytest.mark.parametrize(
    ("changes", "inverted", "summary"),
    [
        ({}, (), "No T-wave inversion: possibly ischemic (P 0.90, threshold 0.50)"),
        (
            {"verdict": "non_ischemic", "probability": 0.2},
            ("V2", "V3"),
            "T-wave inversion in V2, V3: probably not ischemic (P 0.20, threshold 0.50)",
        ),
        (
            {"verdict": "no_t_wave_inversion", "probability": None},
            ("III",),
            "No T-wave inversion in contiguous leads",
        ),
        (
            {"verdict": "indeterminate", "probability": None, "reason": "too_few_beats"},
            ("V2",),
            "Indeterminate: too few beats",
        ),
    ],
)
def test_the_summary_says_the_verdict_in_one_line(
    changes: dict[str, Any], inverted: tuple[str, ...], summary: str
) -> None:
    said = flag(assessment=assessment(**changes), inverted=inverted).summary
    assert said == f"{summary}. Preliminary, over-read required."


def test_the_dedupe_key_is_the_recordings_own_and_shows_no_patient() -> None:
    key = flag().dedupe_key
    other_patient = PATIENT.model_copy(update={"id": "p2"})
    assert flag(assessment=assessment(probability=0.1)).dedupe_key == key
    assert flag(patient=other_patient).dedupe_key != key
    assert PATIENT.id not in key


@pytest.mark.parametrize(
    "change",
    [
        {"patient": PATIENT.model_copy(update={"id": "p2"})},
        {"patient": PATIENT.model_copy(update={"assigner": "HOSP"})},
        {"encounter": "e2"},
        {"encounter": None},
        {"ecg": SUMMARY.model_copy(update={"acquired_at": SUMMARY.acquired_at + timedelta(minutes=1)})},
        {"recording": "another of the same minute"},
    ],
    ids=str,
)
def test_the_dedupe_key_tells_patients_encounters_times_and_recordings_apart(change: dict[str, Any]) -> None:
    assert flag(**change).dedupe_key != flag().dedupe_key


def test_a_format_that_tells_the_seconds_and_another_zone_names_the_same_recording() -> None:
    there = SUMMARY.acquired_at.astimezone(timezone(timedelta(hours=-5))) + timedelta(seconds=59, microseconds=999_999)
    assert flag(ecg=SUMMARY.model_copy(update={"acquired_at": there})).dedupe_key == flag().dedupe_key


def test_the_dedupe_key_does_not_confuse_where_one_part_ends() -> None:
    one = flag(patient=PATIENT.model_copy(update={"id": "12"}), encounter="3")
    other = flag(patient=PATIENT.model_copy(update={"id": "1"}), encounter="23")
    assert one.dedupe_key != other.dedupe_key

    nothing = flag(patient=PATIENT.model_copy(update={"id": "1\x1f2"}), encounter=None)
    assert nothing.dedupe_key != flag(patient=PATIENT.model_copy(update={"id": "1"}), encounter="2").dedupe_key
