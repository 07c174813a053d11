"""The delivery loop and the age of what it delivers: an alert, a review, or a record that it came too late."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from adapters.log import Polled, Position, Record, TopicPartition
from schemas.delivery import DeliveryRejection
from schemas.finding import Finding
from tests.support.flagged import RECORDED_S, finding_id, flagged, recorded_at, unflagged
from tests.support.scripted import Clock, ScriptedMember, at_once
from worker.delivery.deliverer import Deliverer
from worker.delivery.lifetime import Lifetimes
from worker.stream.session import Session
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop

TP = TopicPartition("ecg.findings", 0)
HOUR_S = 3600.0


class Receiver:
    """Takes findings over, and notes how late each is."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int | None]] = []

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        self.taken.append((finding.finding_id, late_h))


def recorded(number: int, hours_later: float) -> Finding:
    """A flagged finding of an ECG that was recorded so much later than the others."""
    return recorded_at(datetime.fromtimestamp(RECORDED_S + hours_later * HOUR_S, UTC), number)


def deliver(age_h: float, *findings: Finding, lifetimes: Lifetimes | None = None) -> tuple[Receiver, ScriptedMember]:
    """Deliver at a moment so long after the first recording."""
    clock, stop, receiver = Clock(), Stop(10), Receiver()
    records = tuple(Record("ecg.findings", 0, at, 0, None, one.to_json()) for at, one in enumerate(findings))
    member = ScriptedMember(clock, Polled(assigned={TP: None}), Polled(records), *[Polled()] * 20, stop.set)
    session = Session(member, StallDetector(60, clock), clock=clock, in_background=at_once)
    Deliverer(
        session, receiver, "g", "rejected", lifetimes=lifetimes or Lifetimes(),
        wall_clock=lambda: RECORDED_S + age_h * HOUR_S, in_background=lambda _, call: at_once("", call),
    ).run(stop)  # fmt: skip
    return receiver, member


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("ecg_deliveries_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    ("age_h", "late_h", "outcome"), [(1, None, "delivered"), (31.7, 31, "delivered_late"), (168, 168, "delivered_late")]
)
def test_a_finding_goes_as_an_alert_or_as_a_review_by_its_age(age_h: float, late_h: int | None, outcome: str) -> None:
    before = {name: counted(name) for name in ("delivered", "delivered_late")}
    receiver, member = deliver(age_h, flagged(1))
    assert receiver.taken == [(finding_id(1), late_h)]
    assert member.published[-1] == ([], {TP: Position(1)})
    before[outcome] += 1
    assert {name: counted(name) for name in before} == before


def test_what_is_too_old_for_a_review_is_recorded_and_counted_and_the_others_go_on() -> None:
    before = counted("alert.expired")
    receiver, member = deliver(169, unflagged(0), flagged(1), recorded(2, 100), recorded(3, 168), recorded(4, 200))
    assert receiver.taken == [(finding_id(2), 69), (finding_id(3), None), (finding_id(4), None)]
    messages = [message for batch, _ in member.published for message in batch]
    (rejection,) = [DeliveryRejection.model_validate_json(message.value) for message in messages]
    assert (rejection.reason, rejection.finding_id, rejection.attempts) == ("alert.expired", finding_id(1), 0)
    assert rejection.finding.offset == 1
    assert counted("alert.expired") == before + 1
    assert member.published[-1][1] == {TP: Position(5)}


def test_lifetimes_are_the_sites() -> None:
    receiver, _ = deliver(3, flagged(1), recorded(2, 2), lifetimes=Lifetimes(alert_h=2, review_h=2.5))
    assert receiver.taken == [(finding_id(2), None)]


def test_docs_name_every_outcome_that_is_counted() -> None:
    page = (Path(__file__).parents[4] / "docs" / "ehr.md").read_text(encoding="utf-8")
    for outcome in ("delivered", "delivered_late", "alert.expired"):
        assert f"`{outcome}`" in page
