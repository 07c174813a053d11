"""The delivery loop on an embedded log: what reaches the receiver, and what is committed when."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
from prometheus_client import REGISTRY

from adapters.deadline import Deadline
from adapters.log import Log, LogUnavailable, Member, Message, Polled, Position, PublishFailed, Record, TopicPartition
from adapters.open_log import open_log
from schemas.delivery import DeliveryRejection, Refused, Unsendable
from schemas.finding import Finding
from tests.support.flagged import finding_id, flagged, message, unflagged
from tests.support.scripted import Clock, ScriptedMember, at_once, idle
from worker.delivery.deliverer import Deliverer
from worker.delivery.receiver import Outcome
from worker.delivery.retry import RetryPolicy
from worker.provenance import VERSION
from worker.stream.session import Session
from worker.stream.stall import StallDetector, Stalled
from worker.stream.stop import Stop

FINDINGS, REJECTIONS, GROUP = "ecg.findings", "ecg.delivery-rejections", "ecg-deliver"
TP = TopicPartition(FINDINGS, 0)
REJECTED = Refused("AR", "202")
ERROR = Refused("AE")
# Pauses that a test does not feel.
WHEN_RECORDED = flagged().ecg.acquired_at.timestamp
RETRY = RetryPolicy(max_sends=3, backoff_s=0.001, longest_pause_s=0.001)


class Receiver:
    """Takes findings over, or does what the test says before."""

    def __init__(self, before: Callable[[Finding], None] = lambda _: None) -> None:
        self._before = before
        self.ids: list[str] = []

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        assert late_h is None
        self._before(finding)
        self.ids.append(finding.finding_id)


class Watched:
    """A member that can be made to fail, and that lets a test look at each poll and each publish."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.failures: list[Exception] = []
        self.polls = 0
        self.polled = threading.Condition()
        self.paused: list[frozenset[TopicPartition]] = []
        self.before_publish: Callable[[], None] = lambda: None

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        with self.polled:
            self.polls += 1
            self.polled.notify_all()
        return self._member.poll(min(timeout_s, 0.001), max_records)

    def wait_for_polls(self, count: int) -> None:
        with self.polled:
            wanted = self.polls + count
            assert self.polled.wait_for(lambda: self.polls >= wanted, timeout=10)

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused.append(partitions)
        self._member.pause(partitions)

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self._member.resume(partitions)

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        self.before_publish()
        if self.failures:
            raise self.failures.pop(0)
        self._member.publish(messages, positions)

    def rewind(self) -> None:
        self._member.rewind()

    def behind(self) -> Mapping[TopicPartition, int]:
        return self._member.behind()

    def close(self, deadline: Deadline | None = None) -> None:
        self._member.close(deadline)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite://{tmp_path}/log.db")) as opened:
        opened.create_topics({FINDINGS: 1, REJECTIONS: 1})
        yield opened


@contextmanager
def joined(log: Log, name: str = "deliver-0") -> Iterator[Watched]:
    with closing(Watched(log.join(GROUP, [FINDINGS], name))) as member:
        yield member


def deliverer(member: Member, receiver: Receiver) -> Deliverer:
    session = Session(member, StallDetector(300))
    return Deliverer(session, receiver, GROUP, REJECTIONS, RETRY, wall_clock=WHEN_RECORDED)


def deliver(log: Log, receiver: Receiver, prepare: Callable[[Watched], None] = lambda _: None) -> None:
    """Deliver until there is nothing more to do."""
    with joined(log) as member:
        prepare(member)
        deliverer(member, receiver).run(Stop(10), idle_exit_s=0.02)


def rejections(log: Log) -> list[DeliveryRejection]:
    partition = TopicPartition(REJECTIONS, 0)
    records = log.read({partition: range(*log.bounds(partition))})
    return [DeliveryRejection.model_validate_json(record.value) for record in records]


def position(log: Log) -> int | None:
    committed = log.committed(GROUP, TP)
    return committed.offset if committed else None


def append(log: Log, *findings: Finding) -> None:
    log.append([message(finding) for finding in findings])


def test_flagged_findings_are_delivered_in_order_and_no_others(log: Log) -> None:
    append(log, unflagged(1), flagged(2), unflagged(3), unflagged(4), flagged(5), flagged(6), unflagged(7))
    receiver = Receiver()
    deliver(log, receiver)
    assert receiver.ids == [finding_id(2), finding_id(5), finding_id(6)]
    assert position(log) == 7
    assert rejections(log) == []


def test_a_second_run_begins_where_the_first_ended(log: Log) -> None:
    append(log, flagged(1))
    deliver(log, Receiver())
    append(log, flagged(2))
    receiver = Receiver()
    deliver(log, receiver)
    assert receiver.ids == [finding_id(2)]


def test_the_position_moves_only_after_the_receiver_took_the_finding_over(log: Log) -> None:
    append(log, unflagged(1), flagged(2), flagged(3))
    seen: list[int | None] = []
    deliver(log, Receiver(lambda _: seen.append(position(log))))
    assert seen == [None, 2]


def settled(outcome: str) -> float:
    return REGISTRY.get_sample_value("ecg_deliveries_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    ("failure", "reason", "attempts"),
    [
        (REJECTED, "receiver.rejected", 1),
        (ERROR, "receiver.error", RETRY.max_sends),
        (Unsendable(), "finding.unsendable", 0),
    ],
)
def test_a_finding_that_is_refused_becomes_a_rejection_and_the_next_go_on(
    log: Log, failure: Exception, reason: str, attempts: int
) -> None:
    append(log, unflagged(1), flagged(2), flagged(3))
    asked: list[str] = []

    def refuse(finding: Finding) -> None:
        asked.append(finding.finding_id)
        if finding.finding_id == finding_id(2):
            raise failure

    receiver = Receiver(refuse)
    before = settled("delivered"), settled(reason)
    deliver(log, receiver)
    assert asked == [finding_id(2)] * max(1, attempts) + [finding_id(3)]
    assert receiver.ids == [finding_id(3)]
    assert (settled("delivered"), settled(reason)) == (before[0] + 1, before[1] + 1)
    (rejection,) = rejections(log)
    answer = failure if isinstance(failure, Refused) else None
    assert rejection.model_dump() == {
        "schema_": "ecg-delivery-rejection/1",
        "reason": reason,
        "finding_id": finding_id(2),
        "finding": {"topic": FINDINGS, "partition": 0, "offset": 1},
        "attempts": attempts,
        "ack_code": answer.ack_code if answer else None,
        "error_code": answer.error_code if answer else None,
        "group": GROUP,
        "worker_version": VERSION,
    }
    assert position(log) == 3


def test_after_an_error_the_same_finding_may_be_taken_over(log: Log) -> None:
    append(log, flagged(1), flagged(2))
    errors = [ERROR] * (RETRY.max_sends - 1)

    def refuse_first(_: Finding) -> None:
        if errors:
            raise errors.pop()

    receiver = Receiver(refuse_first)
    deliver(log, receiver)
    assert receiver.ids == [finding_id(1), finding_id(2)]
    assert rejections(log) == []


def test_a_rejection_names_no_patient_and_no_reasoning(log: Log) -> None:
    append(log, flagged(1))

    def refuse(_: Finding) -> None:
        raise REJECTED

    deliver(log, Receiver(refuse))
    (record,) = log.read({TopicPartition(REJECTIONS, 0): range(1)})
    sent = record.value + b"".join(value for _, value in record.headers)
    assert record.key == finding_id(1).encode()
    assert dict(record.headers)["ce_type"] == b"ecg-delivery-rejection.v1"
    for secret in (b"4711", b"HOSP", b"E42", b"P1", b"F1", b"Inverted", b"V2"):
        assert secret not in sent


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"schema": "ecg-finding/1"}', b"[" * 100_000])
def test_a_record_that_is_no_finding_becomes_a_rejection(log: Log, value: bytes) -> None:
    log.append([Message(FINDINGS, b"k", value), message(flagged(2))])
    receiver = Receiver()
    deliver(log, receiver)
    assert receiver.ids == [finding_id(2)]
    (rejection,) = rejections(log)
    assert (rejection.reason, rejection.finding_id, rejection.attempts) == ("finding.unreadable", None, 0)
    assert position(log) == 2


def test_no_foreign_key_or_id_is_copied_however_long_it_is(log: Log) -> None:
    """A key of 80 KB was larger than a log takes beside our headers, and ended the process again and again."""
    strange = flagged(1).model_copy(update={"finding_id": "DOE^JANE" * 10_000})
    key = b"DOE^JANE" * 7_000
    log.append(
        [
            Message(FINDINGS, key, b"junk"),
            Message(FINDINGS, None, b"more junk"),
            Message(FINDINGS, None, strange.to_json()),
            message(flagged(2)),
        ]
    )

    def refuse(finding: Finding) -> None:
        if finding.finding_id != finding_id(2):
            raise REJECTED

    receiver = Receiver(refuse)
    deliver(log, receiver)
    assert receiver.ids == [finding_id(2)]
    written = list(log.read({TopicPartition(REJECTIONS, 0): range(9)}))
    assert len({record.key for record in written}) == 3
    for record in written:
        assert record.key is not None
        assert len(record.key) == 32
        assert b"DOE" not in record.key + record.value


def test_polling_goes_on_while_a_delivery_waits(log: Log) -> None:
    append(log, flagged(1))
    with joined(log) as member:
        receiver = Receiver(lambda _: member.wait_for_polls(50))
        deliverer(member, receiver).run(Stop(10), idle_exit_s=0.02)
        assert receiver.ids == [finding_id(1)]


def test_reading_ahead_is_bounded(log: Log) -> None:
    append(log, *map(flagged, range(300)))
    with joined(log) as member:
        receiver = Receiver(lambda f: member.wait_for_polls(5) if f.finding_id == finding_id(0) else None)
        deliverer(member, receiver).run(Stop(10), idle_exit_s=0.02)
    assert frozenset({TP}) in member.paused
    assert receiver.ids == [finding_id(number) for number in range(300)]


def test_a_failed_transaction_commits_again_without_sending_again(log: Log) -> None:
    append(log, unflagged(1), flagged(2), flagged(3))

    def refuse_the_last(finding: Finding) -> None:
        if finding.finding_id == finding_id(3):
            raise REJECTED

    receiver = Receiver(refuse_the_last)
    deliver(log, receiver, lambda member: member.failures.extend([PublishFailed("lost")] * 3))
    assert receiver.ids == [finding_id(2)]
    assert [rejection.finding_id for rejection in rejections(log)] == [finding_id(3)]
    assert position(log) == 3


def test_a_crash_between_acknowledgement_and_commit_sends_the_same_finding_again(log: Log) -> None:
    append(log, flagged(1), flagged(2))
    receiver = Receiver()
    with pytest.raises(LogUnavailable):
        deliver(log, receiver, lambda member: member.failures.append(LogUnavailable("gone")))
    assert position(log) is None
    deliver(log, receiver)
    assert receiver.ids == [finding_id(1), finding_id(1), finding_id(2)]


def test_what_breaks_in_the_receiver_ends_the_process_and_commits_nothing(log: Log) -> None:
    append(log, flagged(1))

    def break_down(_: Finding) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        deliver(log, Receiver(break_down))
    assert position(log) is None


def record(offset: int, finding: Finding) -> Record:
    return Record(FINDINGS, 0, offset, 0, None, finding.to_json())


def test_stopping_finishes_the_delivery_in_hand_and_begins_no_other(log: Log) -> None:
    append(log, flagged(1), flagged(2))
    stop = Stop(10)
    receiver = Receiver(lambda _: stop.set())
    with joined(log) as member:
        deliverer(member, receiver).run(stop)
    assert receiver.ids == [finding_id(1)]
    assert position(log) == 1


def test_stopping_leaves_a_delivery_that_takes_too_long_uncommitted(log: Log) -> None:
    append(log, flagged(1))
    stop, released = Stop(0.05), Event()

    def stall(_: Finding) -> None:
        stop.set()
        released.wait(10)

    with joined(log) as member:
        session = Session(member, StallDetector(300))
        Deliverer(session, Receiver(stall), GROUP, REJECTIONS, wall_clock=WHEN_RECORDED).run(stop)
    released.set()
    assert session.progress.draining
    assert position(log) is None


def test_findings_that_the_log_has_and_does_not_bring_end_the_deliverer() -> None:
    """What `run` notices, `deliver` notices too: both stand on the same session."""
    member = ScriptedMember(Clock(), Polled(assigned={TP: None}))
    member.left_to_read = {TP: 3}
    session = Session(member, StallDetector(60, member.clock), clock=member.clock, in_background=at_once)
    with pytest.raises(Stalled, match="brings no records"):
        Deliverer(session, Receiver(), GROUP, REJECTIONS).run(Stop(10))


def test_a_delivery_that_waits_for_its_receiver_is_no_stall() -> None:
    clock, stop, answer = Clock(), Stop(10), Future[Outcome]()
    member = ScriptedMember(
        clock,
        Polled(assigned={TP: None}),
        Polled((record(0, flagged(1)),)),
        *idle(90_000),
        lambda: answer.set_result(None),
    )
    member.script.extend([*idle(5), stop.set])
    session = Session(member, StallDetector(60, clock), clock=clock, in_background=at_once)
    Deliverer(session, Receiver(), GROUP, REJECTIONS, in_background=lambda name, call: answer).run(stop)
    assert clock.now > 1000 + 800, "thirteen minutes on"
    assert member.published[-1][1] == {TP: Position(1)}
