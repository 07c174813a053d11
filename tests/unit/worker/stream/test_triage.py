"""What speaks for a record's urgency before it is decoded."""

from dataclasses import replace

import pytest

from adapters.log import Headers, Record
from schemas.ecg import Glimpse, Priority
from worker.stream.triage import BACKFILL_S, FRESH_AGE_S, TOPIC_S, Triage
from worker.urgency import Urgency

NOW_S = 1_800_000_000.0
OLD = Record("ecg.inbound", 0, 0, None, None, b"")
TOPICS = ("ecg.stat", "ecg.asap", "ecg.inbound")


def triage(priority: Priority = "routine", units: tuple[str, ...] = (), *, backfill: bool = False) -> Triage:
    def glance(_value: bytes, _headers: Headers) -> Glimpse:
        return Glimpse(priority, units)

    return Triage(glance, TOPICS, ("ED", "ccu"), is_backfill=lambda _: backfill, wall_clock=lambda: NOW_S)


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ("stat", Urgency("stat", 900.0, waited_for=True)),
        ("asap", Urgency("asap", 60.0)),
        ("routine", Urgency("routine", 0.0)),
    ],
)
def test_the_orders_priority_counts(priority: Priority, expected: Urgency) -> None:
    assert triage(priority)(OLD) == expected


def test_an_urgent_unit_counts_whatever_its_case_and_others_do_not() -> None:
    assert triage(units=("4 WEST", "Ccu"))(OLD) == Urgency("routine", 600.0)
    assert triage(units=("CCU 2",))(OLD) == Urgency("routine", 0.0)
    assert triage("stat", units=("ED",))(OLD).head_start_s == 900.0


@pytest.mark.parametrize(
    ("age_s", "head_start_s"),
    [(0, 300.0), (FRESH_AGE_S, 300.0), (FRESH_AGE_S + 1, 0.0), (-FRESH_AGE_S, 300.0), (-FRESH_AGE_S - 1, 0.0)],
)
def test_a_fresh_record_goes_before_a_backlog_by_clocks_that_differ_a_little(age_s: float, head_start_s: float) -> None:
    record = replace(OLD, timestamp_ms=int((NOW_S - age_s) * 1000))
    assert triage()(record).head_start_s == head_start_s


def test_among_fresh_records_the_priority_and_the_unit_still_count() -> None:
    fresh = replace(OLD, timestamp_ms=int(NOW_S * 1000))
    in_order = triage("stat"), triage(units=("ED",)), triage("asap"), triage()
    head_starts_s = [one(fresh).head_start_s for one in in_order]
    assert head_starts_s == [1200.0, 900.0, 360.0, 300.0]
    assert max(head_starts_s) < TOPIC_S
    assert triage()(fresh).at_least("asap") == triage("asap")(fresh)


def test_a_topic_goes_before_all_that_come_after_it() -> None:
    first, second, last = (triage()(replace(OLD, topic=topic)) for topic in TOPICS)
    assert (first.head_start_s, second.head_start_s, last.head_start_s) == (3600.0, 1800.0, 0.0)
    assert (first.waited_for, second.waited_for, last.waited_for) == (True, True, False)
    assert triage("stat")(OLD).head_start_s < second.head_start_s
    assert triage()(replace(OLD, topic="files")).head_start_s == 0.0


def test_a_backfill_is_last_whatever_it_says() -> None:
    record = replace(OLD, topic="ecg.stat", timestamp_ms=int(NOW_S * 1000))
    assert triage("stat", units=("ED",), backfill=True)(record) == Urgency("stat", BACKFILL_S)


def test_a_glance_that_fails_makes_a_record_routine() -> None:
    def stumble(_value: bytes, _headers: Headers) -> Glimpse:
        raise ValueError("no glance")

    assert Triage(stumble, ["ecg.inbound"])(OLD) == Urgency()
