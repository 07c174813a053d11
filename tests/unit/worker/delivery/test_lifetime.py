"""When an alert is no alert any more: by the age of its ECG, and the same words each time that it is sent."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.log import TopicPartition
from schemas.finding import Finding
from tests.support.flagged import flagged
from tests.support.scripted import Clock
from worker.delivery.lifetime import Handling, Handlings, Lifetimes, handling
from worker.history.interval import Coordinates

RECORDED = flagged().ecg.acquired_at
TP = TopicPartition("ecg.findings", 0)
AT = Coordinates(TP, 7)


def of_ecg_at(moment: datetime, expires_at: datetime | None = None) -> Finding:
    plain = flagged()
    return flagged(
        ecg=plain.ecg.model_copy(update={"acquired_at": moment}),
        flag=plain.flag.model_copy(update={"expires_at": expires_at}),
    )


def after(passed: timedelta, finding: Finding | None = None, **lifetimes: float) -> Handling:
    return handling(finding or flagged(), RECORDED + passed, Lifetimes(**lifetimes))


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


@pytest.mark.parametrize("expires", [True, False])
@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (hours(0), Handling("alert", 0)),
        (hours(24), Handling("alert", 24)),
        (hours(24) + timedelta(microseconds=1), Handling("review", 24)),
        (hours(31) + timedelta(minutes=59), Handling("review", 31)),
        (hours(168), Handling("review", 168)),
        (hours(168) + timedelta(seconds=1), Handling("expired", 168)),
    ],
    ids=str,
)
def test_an_alert_becomes_a_review_after_a_day_and_nothing_after_a_week(
    passed: timedelta, expected: Handling, expires: bool
) -> None:
    finding = flagged() if expires else of_ecg_at(RECORDED)
    assert after(passed, finding) == expected


def test_a_site_may_call_an_alert_late_sooner_and_never_later_than_its_finding_does() -> None:
    assert after(hours(3), alert_h=2) == Handling("review", 3)
    assert after(hours(0.7), alert_h=0.5) == Handling("review", 0)
    assert after(hours(25), alert_h=100) == Handling("review", 25)
    assert after(hours(999), review_h=1000) == Handling("review", 999)
    assert after(timedelta(days=100_000), review_h=float("inf")).kind == "review"


def test_an_ecg_of_the_future_is_new() -> None:
    assert after(timedelta(days=-1)) == after(timedelta(days=-400_000)) == Handling("alert", 0)


def test_a_review_that_ends_before_the_alert_is_no_setting() -> None:
    with pytest.raises(ValueError, match="review_lifetime_h is less than alert_lifetime_h; make it"):
        Lifetimes(alert_h=24, review_h=23)
    assert Lifetimes(alert_h=24, review_h=24).review_h == 24


def test_the_age_is_that_of_the_moment_in_whichever_zone_it_is_told() -> None:
    there = RECORDED.astimezone(timezone(timedelta(hours=-11)))
    assert after(hours(25), of_ecg_at(there)) == Handling("review", 25)


ENDS = st.sampled_from([datetime.min, datetime.max]) | st.datetimes()
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(ENDS, ZONES, ENDS.map(lambda end: end.replace(tzinfo=UTC)))
def test_no_date_breaks_it(recorded: datetime, zone: timezone, expires_at: datetime) -> None:
    finding = of_ecg_at(recorded.replace(tzinfo=zone), expires_at)
    assert handling(finding, datetime(2026, 3, 4, tzinfo=UTC), Lifetimes()).age_h >= 0


def test_late_and_counted_apart_is_only_what_is_no_alert() -> None:
    assert (Handling("alert", 3).late_h, Handling("alert", 3).outcome) == (None, "delivered")
    assert (Handling("review", 31).late_h, Handling("review", 31).outcome) == (31, "delivered_late")


class Hours:
    """The time of day, told in hours since the recording."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.handlings = Handlings(Lifetimes(), self.clock)
        self.at(0)

    def at(self, hours: float) -> "Hours":
        self.clock.now = RECORDED.timestamp() + hours * 3600
        return self

    def decide(self, **changes: Any) -> Handling:
        return self.handlings.decide(AT, flagged(**changes))


def test_what_was_not_sent_is_decided_anew() -> None:
    """The receiver may be away for days: what reaches it then says how late it is then."""
    told = Hours()
    assert told.at(2).decide() == Handling("alert", 2)
    assert told.at(25).decide() == Handling("review", 25)
    assert told.at(80).decide() == Handling("review", 80)
    assert told.at(169).decide() == Handling("expired", 169)


def test_a_review_that_the_receiver_may_have_keeps_its_words_until_it_expires() -> None:
    told = Hours()
    sent = told.at(25).decide()
    told.handlings.sent(AT)
    assert told.at(30).decide() == told.at(100).decide() == sent
    other = Coordinates(TP, 8)
    assert told.handlings.decide(other, flagged(2)) == Handling("review", 100)
    assert told.at(169).decide() == Handling("expired", 169)


def test_an_alert_that_the_receiver_may_have_becomes_a_review_nevertheless() -> None:
    told = Hours()
    assert told.at(2).decide().kind == "alert"
    told.handlings.sent(AT)
    assert told.at(25).decide() == Handling("review", 25)
    assert told.at(26).decide() == Handling("review", 26), "the review was not sent yet"


def test_what_is_settled_is_counted_as_it_was_sent_and_forgotten() -> None:
    told = Hours()
    told.at(25).decide()
    told.handlings.sent(AT)
    assert told.handlings.settled(AT) == "delivered_late"
    assert told.at(30).decide() == Handling("review", 30)
    assert told.at(1).decide().kind == "alert"
    assert told.handlings.settled(AT) == "delivered"
    assert told.handlings.settled(AT) == "delivered"


def test_what_lies_in_a_partition_that_moved_is_forgotten() -> None:
    told = Hours()
    told.at(25).decide()
    told.handlings.sent(AT)
    told.handlings.forget_partitions({TopicPartition("ecg.findings", 1)})
    assert told.at(30).decide() == Handling("review", 25)
    told.handlings.forget_partitions({TP})
    assert told.at(30).decide() == Handling("review", 30)
