"""The consume-publish loop, with stages and a member that do exactly what the test says."""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from adapters.log import Message, Polled, Position, PublishFailed, Record, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from tests.unit import results
from worker.case import Case
from worker.engine.answer import Answer, Question
from worker.runner import Limits, Runner, Stages

TP = TopicPartition("ecg.inbound", 0)
ANSWER = Answer("", True, 0.9, 0.9, 1.0, False, False, 3)


def records(*offsets: int, value: bytes = b"x") -> tuple[Record, ...]:
    return tuple(Record(TP.topic, TP.partition, offset, 0, b"key", value) for offset in offsets)


class ScriptedMember:
    """Returns the scripted polls, then nothing; sets `stop` when the script is over and everything is published."""

    def __init__(self, polls: Sequence[Polled], stop: Event, failures: int = 0) -> None:
        self.polls = deque(polls)
        self.stop = stop
        self.failures = failures
        self.published: list[tuple[list[Message], dict[TopicPartition, Position]]] = []
        self.paused: set[TopicPartition] = set()
        self.pauses = self.rewinds = self.idle = 0
        self.on_rewind: Sequence[Polled] = ()

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        if self.polls and not self.paused:
            self.idle = 0
            return self.polls.popleft()
        self.idle += 1
        if self.idle > 20 and not self.polls:
            self.stop.set()
        Event().wait(0.001)
        return Polled()

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self.pauses += 1
        self.paused |= partitions

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused -= partitions

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        if self.failures:
            self.failures -= 1
            raise PublishFailed("lost")
        self.published.append((list(messages), dict(positions)))

    def rewind(self) -> None:
        self.rewinds += 1
        self.paused.clear()
        self.polls.extendleft(reversed(self.on_rewind))

    def close(self) -> None: ...


class InstantPreparation:
    """Prepares at once: an odd offset asks the model, an offset divisible by four is rejected."""

    def submit(self, record: Record) -> Future[Case | Rejection]:
        future: Future[Case | Rejection] = Future()
        if record.offset % 4 == 0:
            future.set_result(results.rejection(record))
        else:
            future.set_result(results.case(record, asks=record.offset % 2 == 1))
        return future


class LastInFirstOut:
    """An engine that holds a few questions and answers the newest first."""

    def __init__(self, room: int = 3) -> None:
        self.room = room
        self.held: list[Hashable] = []

    def put(self, tag: Hashable, question: Question) -> bool:
        if len(self.held) >= self.room:
            return False
        self.held.append(tag)
        return True

    def take(self) -> tuple[Hashable, Answer] | None:
        return (self.held.pop(), ANSWER) if self.held else None


def conclude(case: Case, answer: Answer | None) -> Finding:
    return results.finding(Record(TP.topic, case.source.partition, case.source.offset, 0, None, b""))


def stages(engine: LastInFirstOut | None = None) -> Stages:
    return Stages(InstantPreparation(), engine or LastInFirstOut(), conclude, "ecg.findings", "ecg.rejections")


def published_ids(member: ScriptedMember) -> list[str]:
    return sorted(dict(m.headers)["ce_id"].decode() for messages, _ in member.published for m in messages)


QUICK = Limits(publish_wait_s=0.0, drain_s=5.0)


def test_every_record_ends_as_one_finding_or_one_rejection() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(10)))], stop)
    Runner(member, stages(), QUICK).run(stop)
    topics = [m.topic for messages, _ in member.published for m in messages]
    assert (topics.count("ecg.findings"), topics.count("ecg.rejections")) == (7, 3)
    assert len(set(published_ids(member))) == 10
    assert member.published[-1][1] == {TP: Position(10)}


def test_positions_never_pass_a_record_that_is_not_published() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(12)))], stop)
    Runner(member, stages(LastInFirstOut(room=6)), QUICK).run(stop)
    seen: set[int] = set()
    for messages, positions in member.published:
        seen |= {int(dict(m.headers)["ce_id"].split(b"-")[1]) for m in messages if m.topic == "ecg.findings"}
        seen |= {0, 4, 8} if any(m.topic == "ecg.rejections" for m in messages) else set()
        assert set(range(positions[TP].offset)) <= seen


def test_a_failed_transaction_is_done_again_from_the_committed_position() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1, 2, 3))], stop, failures=1)
    member.on_rewind = [Polled(revoked=frozenset({TP}), assigned={TP: Position(1)}), Polled(records(1, 2, 3))]
    runner = Runner(member, stages(), QUICK)
    runner.run(stop)
    assert member.rewinds == 1
    assert published_ids(member) == ["0-1", "0-2", "0-3"]
    assert runner.progress.committed == 3


def test_a_transaction_that_has_not_begun_is_given_up_when_partitions_change_hands() -> None:
    class NeverIdle(ThreadPoolExecutor):
        """Holds the first submission back for good."""

        held = 0

        def submit(self, *arguments: Any, **more: Any) -> Future[Any]:
            self.held += 1
            return Future() if self.held == 1 else super().submit(*arguments, **more)

    stop = Event()
    script = [Polled(assigned={TP: None}), Polled(records(2)), Polled(), Polled(revoked=frozenset({TP}))]
    member = ScriptedMember(script, stop)
    member.on_rewind = [Polled(assigned={TP: None}), Polled(records(2))]
    runner = Runner(member, stages(), QUICK)
    runner._publisher = NeverIdle(1)
    runner.run(stop)
    assert member.rewinds == 1
    assert published_ids(member) == ["0-2"]


def test_results_of_a_partition_that_was_taken_away_are_not_published() -> None:
    stop = Event()
    script = [Polled(assigned={TP: None}), Polled(records(1, 3)), Polled(revoked=frozenset({TP}))]
    member = ScriptedMember(script, stop)
    engine = LastInFirstOut()
    engine.take = lambda: None  # type: ignore[method-assign] # nothing is ever answered before the revocation
    runner = Runner(member, stages(engine), Limits(publish_wait_s=0.0, drain_s=0.05))
    runner.run(stop)
    assert engine.held
    assert member.published == []


def test_polling_goes_on_while_everything_is_paused() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), *[Polled(records(i)) for i in range(1, 40)]], stop)
    Runner(member, stages(), Limits(in_flight=4, publish_wait_s=0.0)).run(stop)
    assert member.pauses > 0
    assert len(published_ids(member)) == 39


def test_bytes_in_work_are_bounded_too() -> None:
    stop = Event()
    big = [Polled(records(i, value=b"x" * 600)) for i in range(1, 10)]
    member = ScriptedMember([Polled(assigned={TP: None}), *big], stop)
    Runner(member, stages(), Limits(in_flight_bytes=1000, publish_wait_s=0.0)).run(stop)
    assert member.pauses > 0
    assert len(published_ids(member)) == 9


def test_records_done_before_a_restart_are_not_done_again() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: Position(1, "1:1-2")}), Polled(records(1, 2, 3, 5))], stop)
    Runner(member, stages(), QUICK).run(stop)
    assert published_ids(member) == ["0-1", "0-5"]


def test_a_stage_that_dies_ends_the_loop() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1))], stop)
    engine = LastInFirstOut()

    def die() -> tuple[Hashable, Answer] | None:
        raise RuntimeError("engine thread is dead")

    engine.take = die  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="engine thread"):
        Runner(member, stages(engine), QUICK).run(stop)


def test_it_ends_by_itself_when_nothing_came_for_long_enough() -> None:
    stop = Event()
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1, 2))], Event())
    Runner(member, stages(), QUICK).run(stop, idle_exit_s=0.05)
    assert published_ids(member) == ["0-1", "0-2"]


def test_trace_context_is_carried_through_and_nothing_else_is() -> None:
    stop = Event()
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    (plain,) = records(2)
    traced = Record(TP.topic, 0, 6, 0, None, b"x", (("traceparent", trace), ("patient", b"DOE")))
    forged = Record(TP.topic, 0, 10, 0, None, b"x", (("traceparent", b"DOE^JANE"),))
    member = ScriptedMember([Polled(assigned={TP: None}), Polled((plain, traced, forged))], stop)
    Runner(member, stages(), QUICK).run(stop)
    headers = [dict(m.headers) for messages, _ in member.published for m in messages]
    assert [h.get("traceparent") for h in headers] == [None, trace, None]
    assert all("patient" not in h for h in headers)
