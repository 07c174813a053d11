"""An alert that comes late is a review, and one that comes much later is none at all."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.flagged import flagged
from worker.delivery.lifetime import Handling, Lifetimes, handling
from worker.verdict.flag import ALERT_LIFETIME

RECORDED = flagged().ecg.acquired_at
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), Handling()),
        (24 * HOUR, Handling()),
        (24 * HOUR + SECOND, Handling(late_h=24)),
        (31 * HOUR, Handling(late_h=31)),
        (168 * HOUR, Handling(late_h=168)),
        (168 * HOUR + SECOND, Handling(late_h=168, expired=True)),
        (-50 * HOUR, Handling()),
    ],
)
def test_the_age_of_the_recording_decides(age: timedelta, expected: Handling) -> None:
    assert handling(flagged(), RECORDED + age, Lifetimes()) == expected


def test_a_site_may_choose_other_lifetimes() -> None:
    lifetimes = Lifetimes(alert_h=0.5, review_h=2)
    assert handling(flagged(), RECORDED + HOUR, lifetimes) == Handling(late_h=1)
    assert handling(flagged(), RECORDED + 3 * HOUR, lifetimes).expired


def test_a_review_is_worth_no_less_time_than_an_alert() -> None:
    with pytest.raises(ValueError, match="ECG_REVIEW_LIFETIME_H"):
        Lifetimes(alert_h=24, review_h=23)


@pytest.mark.parametrize("year", [1000, 9998])
def test_dates_at_the_ends_of_the_calendar_have_an_age(year: int) -> None:
    plain = flagged()
    finding = plain.model_copy(
        update={"ecg": plain.ecg.model_copy(update={"acquired_at": datetime(year, 1, 1, tzinfo=UTC)})}
    )
    assert handling(finding, datetime(2026, 11, 28, tzinfo=UTC), Lifetimes()).expired is (year == 1000)


def test_a_finding_says_of_its_alert_what_delivery_does_with_it_by_default() -> None:
    assert timedelta(hours=Lifetimes().alert_h) == ALERT_LIFETIME
