"""Partitions that move away, come back or are other ones, while a delivery is under way."""

from collections.abc import Callable, Mapping, Sequence
from threading import Event

from adapters.deadline import Deadline
from adapters.log import Message, Polled, Position, Record, TopicPartition
from schemas.finding import Finding
from tests.support.flagged import finding_id, flagged
from tests.support.scripted import Clock, ScriptedMember, at_once, idle
from worker.delivery.deliverer import Deliverer
from worker.stream.session import Session
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop

TP = TopicPartition("ecg.findings", 0)
WHEN_RECORDED = flagged().ecg.acquired_at.timestamp


class Receiver:
    """Takes findings over, after what the test does before."""

    def __init__(self, before: Callable[[Finding], None] = lambda _: None) -> None:
        self._before = before
        self.ids: list[str] = []

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        self._before(finding)
        self.ids.append(finding.finding_id)


class Scripted:
    """A member whose polls bring what the script says, and which notes what is published."""

    def __init__(self, *polls: Polled) -> None:
        self._polls = list(polls)
        self.published: list[dict[TopicPartition, Position]] = []

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        Event().wait(0.001)
        return self._polls.pop(0) if self._polls else Polled()

    def pause(self, partitions: frozenset[TopicPartition]) -> None: ...

    def resume(self, partitions: frozenset[TopicPartition]) -> None: ...

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        self.published.append(dict(positions))

    def rewind(self) -> None: ...

    def behind(self) -> Mapping[TopicPartition, int]:
        return {}

    def close(self, deadline: Deadline | None = None) -> None: ...

    @property
    def over(self) -> bool:
        return not self._polls


def record(offset: int, finding: Finding) -> Record:
    return Record(TP.topic, TP.partition, offset, 0, None, finding.to_json())


def deliver_script(*polls: Polled) -> tuple[Scripted, Receiver]:
    """Run through the script while the first delivery is under way."""
    member = Scripted(Polled(assigned={TP: None}), *polls)

    def wait_for_the_end(_: Finding) -> None:
        while not member.over:
            Event().wait(0.001)

    receiver = Receiver(wait_for_the_end)
    session = Session(member, StallDetector(300))
    Deliverer(session, receiver, "ecg-deliver", "ecg.delivery-rejections", wall_clock=WHEN_RECORDED).run(
        Stop(10), idle_exit_s=0.02
    )
    return member, receiver


def test_a_partition_that_moves_away_during_a_delivery_is_not_committed() -> None:
    other = TopicPartition(TP.topic, 1)
    member, receiver = deliver_script(
        Polled((record(0, flagged(1)), record(1, flagged(2)))),
        Polled(revoked=frozenset({TP}), assigned={other: None}),
        Polled((Record(TP.topic, 1, 0, 0, None, flagged(3).to_json()),)),
    )
    assert receiver.ids == [finding_id(1), finding_id(3)]
    assert member.published == [{other: Position(1)}]


def test_a_partition_that_comes_back_after_a_delivery_is_committed_without_sending_again() -> None:
    member, receiver = deliver_script(
        Polled((record(0, flagged(1)),)),
        Polled(revoked=frozenset({TP}), assigned={TP: None}),
        Polled((record(0, flagged(1)), record(1, flagged(2)))),
    )
    assert receiver.ids == [finding_id(1), finding_id(2)]
    assert member.published == [{TP: Position(1)}, {TP: Position(2)}]


MADE_AGAIN = Polled(revoked=frozenset({TP}), assigned={TP: None}, remade=frozenset({TP}))


def test_a_topic_that_is_made_again_during_a_delivery_has_findings_of_its_own() -> None:
    member, receiver = deliver_script(
        Polled((record(0, flagged(1)),)), MADE_AGAIN, Polled((record(0, flagged(11)), record(1, flagged(12))))
    )
    assert receiver.ids == [finding_id(1), finding_id(11), finding_id(12)]
    assert member.published == [{TP: Position(1)}, {TP: Position(2)}]


def test_what_was_delivered_of_a_topic_that_is_made_again_says_nothing_of_the_new_one() -> None:
    member = ScriptedMember(Clock(), failures=1)
    member.on_rewind = [MADE_AGAIN, Polled((record(0, flagged(11)), record(1, flagged(12))))]
    stop = Stop(10)
    member.script.extend(
        [Polled(assigned={TP: None}), Polled((record(0, flagged(1)), record(1, flagged(2)))), *idle(20), stop.set]
    )
    receiver = Receiver()
    session = Session(member, StallDetector(300, member.clock), clock=member.clock, in_background=at_once)
    Deliverer(
        session, receiver, "ecg-deliver", "ecg.delivery-rejections", wall_clock=WHEN_RECORDED, in_background=at_once
    ).run(stop)
    assert receiver.ids == [finding_id(1), finding_id(11), finding_id(12)]
