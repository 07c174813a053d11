"""Findings that were not taken over, sent again: each selected one once, whatever fails; the others stay open."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Log, LogError, Message, Position, PublishFailed, Record, TopicPartition
from adapters.open_log import open_log
from schemas.delivery import DeliveryReason, Refused, Unanswered, Unsendable
from schemas.finding import Finding
from tests.support.flagged import finding_id, flagged, message, unflagged
from worker.delivery.pending import Pending, RejectionWriter
from worker.delivery.redelivery import ReceiverAway, Redelivery, RedeliveryOutcome, RedeliveryPlan
from worker.delivery.retry import RetryPolicy
from worker.history.interval import Bound, Interval
from worker.history.results import finding_in
from worker.stream.group_position import ExclusiveMember, ReadOnlyPosition
from worker.stream.session import Lease

FINDINGS, REJECTIONS, GROUP = "ecg.findings", "ecg.delivery-rejections", "ecg-deliver"
TP, AT = TopicPartition(FINDINGS, 0), TopicPartition(REJECTIONS, 0)
NO_ACK, UNREACHABLE = DeliveryReason.RECEIVER_NO_ACK, DeliveryReason.RECEIVER_UNREACHABLE
RETRY = RetryPolicy(max_sends=3, backoff_s=0.001)
SILENT, AWAY = Unanswered(sent=True, cause="TimeoutError"), Unanswered(sent=False, cause="ConnectionRefusedError")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite://{tmp_path}/log.db")) as opened:
        opened.create_topics({FINDINGS: 1, REJECTIONS: 1})
        yield opened


class Receiver:
    """Takes findings over, but for those to whose number it has something else to say."""

    def __init__(self, **says: Exception) -> None:
        self._says = {int(name.removeprefix("to_")): failure for name, failure in says.items()}
        self.asked: list[int] = []
        self.late_h: int | None = None

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        number = int(finding.finding_id[:4])
        self.asked.append(number)
        self.late_h = late_h
        if failure := self._says.get(number):
            raise failure


def rejected(log: Log, *written: Finding | bytes, reason: DeliveryReason = NO_ACK, group: str = GROUP) -> None:
    """Findings, and a delivery rejection of each."""
    for each in written:
        sent = message(each) if isinstance(each, Finding) else Message(FINDINGS, None, each)
        ((_, offset),) = log.append([sent])
        (record,) = log.read({TP: range(offset, offset + 1)})
        rejection_of(log, record, reason, group)


def rejection_of(log: Log, record: Record, reason: DeliveryReason = NO_ACK, group: str = GROUP) -> None:
    pending = Pending(record, Lease(TP, None, 0), finding_in(record.value), record.offset + 1)
    writer = RejectionWriter(group, REJECTIONS)
    log.append([writer.message(pending, writer.rejection(pending, reason, 5))])


class Unlucky(ExclusiveMember):
    """Fails the first transactions: before anything is written, or, with `late`, when everything is."""

    failures = 0
    late = False

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        if self.failures:
            type(self).failures -= 1
            if self.late:
                super().commit(messages, positions)
            raise PublishFailed("lost")
        super().commit(messages, positions)


def redrive(
    log: Log,
    receiver: Receiver | None,
    *reasons: DeliveryReason,
    start: int = 0,
    give_up: bool = False,
    hours: float = 1.0,
) -> list[RedeliveryOutcome]:
    """So many hours after the recording. Without a receiver it is a dry run."""
    now_s = flagged().ecg.acquired_at.timestamp() + hours * 3600
    interval = Interval.resolve(log, [REJECTIONS], Bound(offset=start), Bound(offset=10**9))
    plan = RedeliveryPlan(GROUP, FINDINGS, interval, frozenset(reasons), give_up)
    outcomes: list[RedeliveryOutcome] = []
    if receiver is None and not give_up:
        position = ReadOnlyPosition(log, f"{GROUP}-redrive", log.partitions(REJECTIONS))
        Redelivery(log, position, plan, None, outcomes.append, RETRY, wall_clock=lambda: now_s).run()
        return outcomes
    with closing(log.join(f"{GROUP}-redrive", [REJECTIONS], "m")) as member:
        position_of = Unlucky(member, log.partitions(REJECTIONS))
        Redelivery(
            log, position_of, plan, receiver, outcomes.append, RETRY, wall_clock=lambda: now_s, sleep=lambda _: None
        ).run()
    return outcomes


def told(outcomes: Sequence[RedeliveryOutcome]) -> list[tuple[int, str]]:
    return [(outcome.at.offset, str(outcome.settled or outcome.refusal)) for outcome in outcomes]


def test_each_selected_finding_is_sent_once_and_the_findings_topic_stays_as_it_is(log: Log) -> None:
    rejected(log, flagged(1), flagged(2))
    rejected(log, flagged(3), reason=UNREACHABLE)
    receiver = Receiver()
    assert told(redrive(log, receiver, NO_ACK)) == [(0, "delivered"), (1, "delivered")]
    assert told(redrive(log, receiver, NO_ACK)) == []
    assert told(redrive(log, receiver)) == [(2, "delivered")]
    assert receiver.asked == [1, 2, 3]
    assert log.bounds(TP) == (0, 3)


def test_a_dry_run_sends_nothing_and_remembers_nothing(log: Log) -> None:
    rejected(log, flagged(1))
    assert told(redrive(log, None)) == told(redrive(log, None)) == [(0, "delivered")]
    assert log.committed(f"{GROUP}-redrive", AT) is None


def test_what_is_given_up_is_not_sent_now_or_later(log: Log) -> None:
    rejected(log, flagged(1), flagged(2), b"junk")
    assert told(redrive(log, None, give_up=True, start=1)) == [(1, "given_up"), (2, "given_up")]
    receiver = Receiver()
    assert told(redrive(log, receiver)) == [(0, "delivered")]
    assert receiver.asked == [1]


def test_what_is_late_goes_as_a_review_and_what_is_too_late_does_not_go(log: Log) -> None:
    rejected(log, flagged(1), flagged(2))
    receiver = Receiver(to_2=Refused("AR"))
    redrive(log, receiver, hours=1)
    assert (receiver.asked, receiver.late_h) == ([1, 2], None)
    assert (
        told(redrive(log, receiver, hours=1000)) == told(redrive(log, None, hours=1000)) == [(1, "redeliver.expired")]
    )
    assert receiver.asked == [1, 2]
    later = Receiver()
    assert told(redrive(log, later, hours=30.5)) == [(1, "delivered")]
    assert (later.asked, later.late_h) == ([2], 30)


def test_rejections_of_another_receiver_are_not_ours(log: Log) -> None:
    rejected(log, flagged(1), group="ecg-deliver-archive")
    rejected(log, flagged(2))
    receiver = Receiver()
    assert told(redrive(log, receiver)) == [(1, "delivered")]
    assert receiver.asked == [2]
    assert log.committed(f"{GROUP}-redrive", AT) == Position(2)


def test_what_is_refused_again_stays_open_and_the_others_go(log: Log) -> None:
    rejected(log, *map(flagged, range(1, 6)))
    receiver = Receiver(to_1=Refused("AR", "202"), to_2=Refused("AE"), to_3=SILENT, to_4=Unsendable())
    outcomes = redrive(log, receiver)
    assert told(outcomes) == [
        (0, "redeliver.refused"),
        (1, "redeliver.refused"),
        (2, "redeliver.no_ack"),
        (3, "redeliver.unsendable"),
        (4, "delivered"),
    ]
    assert outcomes[0].answer is not None
    assert (outcomes[0].answer.ack_code, outcomes[0].answer.error_code) == ("AR", "202")
    assert receiver.asked == [1, *[2] * RETRY.max_sends, *[3] * RETRY.max_sends, 4, 5]
    assert told(redrive(log, Receiver())) == [(at, "delivered") for at in range(4)]


@pytest.mark.parametrize("failure", [AWAY, SILENT], ids=["not reachable", "silent"])
def test_a_receiver_that_is_away_ends_the_run_and_nothing_is_lost(log: Log, failure: Unanswered) -> None:
    rejected(log, *map(flagged, range(1, 5)))
    with pytest.raises(ReceiverAway, match=failure.cause):
        redrive(log, Receiver(to_2=failure, to_3=failure))
    again = Receiver()
    assert told(redrive(log, again)) == [(1, "delivered"), (2, "delivered"), (3, "delivered")]
    assert again.asked == [2, 3, 4]


WRONG = Unanswered(sent=True, cause="answers to other messages", check="MSA-2 has to be MSH-10")


def test_a_receiver_that_answers_to_other_messages_is_told_from_one_that_is_away(log: Log) -> None:
    rejected(log, *map(flagged, range(1, 4)))
    (outcome, _) = redrive(log, Receiver(to_1=WRONG, to_3=Refused("AR")))[:2]
    assert (outcome.refusal, outcome.failure, outcome.answer) == ("redeliver.no_ack", WRONG, None)
    rejected(log, flagged(4))
    with pytest.raises(ReceiverAway, match=re.escape(f"acknowledges nothing that it is sent ({WRONG.told})")) as away:
        redrive(log, Receiver(to_1=WRONG, to_3=WRONG))
    assert "does not answer" not in str(away.value)


def test_a_finding_that_the_receiver_breaks_down_under_does_not_keep_the_others(log: Log) -> None:
    class Fragile(Receiver):
        down = 0

        def deliver(self, finding: Finding, late_h: int | None) -> None:
            if self.down:
                self.down -= 1
                raise Unanswered(sent=False, cause="ConnectionRefusedError")
            self.down = RETRY.max_sends * (finding.finding_id == finding_id(1))
            super().deliver(finding, late_h)

    rejected(log, flagged(1), flagged(2))
    outcomes = redrive(log, Fragile(to_1=Unanswered(sent=True, cause="ConnectionResetError")))
    assert told(outcomes) == [(0, "redeliver.no_ack"), (1, "delivered")]


def test_what_cannot_be_sent_is_refused_with_a_code(log: Log) -> None:
    rejected(log, b"junk", unflagged(2))
    (record,) = log.read({TP: range(1, 2)})
    elsewhere = Record("ecg.other", 0, 0, None, None, record.value)
    gone = Record(FINDINGS, 0, 77, None, None, record.value)
    other = Record(FINDINGS, 0, 1, None, None, flagged(9).to_json())
    no_partition = Record(FINDINGS, 5, 0, None, None, record.value)
    for each in (elsewhere, gone, other, no_partition):
        rejection_of(log, each)
    log.append([Message(REJECTIONS, None, b"no rejection")])
    receiver = Receiver()
    assert sorted(told(redrive(log, receiver))) == [
        (0, "redeliver.no_finding"),
        (1, "no_alert"),
        (2, "redeliver.topic"),
        (3, "redeliver.gone"),
        (4, "redeliver.other"),
        (5, "redeliver.gone"),
        (6, "redeliver.unreadable"),
    ]
    assert receiver.asked == []


@pytest.mark.parametrize("late", [False, True])
def test_a_failed_transaction_sends_nothing_again_and_tells_everything_once(
    log: Log, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    rejected(log, flagged(1), flagged(2), flagged(3))
    monkeypatch.setattr(Unlucky, "failures", 2)
    monkeypatch.setattr(Unlucky, "late", late)
    receiver = Receiver(to_1=Refused("AR"))
    outcomes = redrive(log, receiver)
    assert told(outcomes) == [(0, "redeliver.refused"), (1, "delivered"), (2, "delivered")]
    assert receiver.asked == [1, 2, 3]


def test_too_many_failed_transactions_end_the_run(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(log, flagged(1))
    monkeypatch.setattr(Unlucky, "failures", 99)
    with pytest.raises(LogError):
        redrive(log, Receiver())
    monkeypatch.setattr(Unlucky, "failures", 0)


def test_ids_are_those_of_the_findings() -> None:
    """The helpers above rest on it."""
    assert int(finding_id(17)[:4]) == 17
