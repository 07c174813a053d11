"""The consume-publish loop, with stages and a member that do exactly what the test says."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from adapters.deadline import Deadline, beside
from adapters.log import Message, Polled, Position, PublishFailed, Record, TopicPartition
from schemas.ecg import Priority
from schemas.finding import Finding
from schemas.rejection import Rejection
from tests.support import results
from worker.engine.question import Answer, Question
from worker.operations import metrics
from worker.prepared import Case
from worker.stream import runner as runner_module
from worker.stream import stall as progress_watch
from worker.stream.breaker import TooManyRejections
from worker.stream.ledger import PartitionLedger
from worker.stream.runner import Limits, Runner
from worker.stream.stages import Stages
from worker.stream.stall import Stalled
from worker.stream.stop import Stop

TP = TopicPartition("ecg.inbound", 0)
ANSWER = Answer("", True, 0.9, 0.9, 1.0, False, False, 3)


def records(*offsets: int, value: bytes = b"x") -> tuple[Record, ...]:
    return tuple(Record(TP.topic, TP.partition, offset, 0, b"key", value) for offset in offsets)


class ScriptedMember:
    """Returns the scripted polls, then nothing; sets `stop` when the script is over and everything is published."""

    def __init__(self, polls: Sequence[Polled], stop: Stop, failures: int = 0) -> None:
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
        time.sleep(0.001)
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

    def behind(self) -> Mapping[TopicPartition, int]:
        return {}

    def close(self, deadline: Deadline | None = None) -> None: ...


class InstantPreparation:
    """Prepares at once: an odd offset asks the model, an offset divisible by four is rejected."""

    room = 1000

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

    def put(self, tag: Hashable, question: Question, rank: float) -> bool:
        if len(self.held) >= self.room:
            return False
        self.held.append(tag)
        return True

    def take(self) -> tuple[Hashable, Answer] | None:
        return (self.held.pop(), ANSWER) if self.held else None


def conclude(case: Case, answer: Answer | None) -> Finding:
    return results.finding(Record(TP.topic, case.source.partition, case.source.offset, 0, None, b""))


def stages(engine: LastInFirstOut | None = None) -> Stages:
    asking = engine or LastInFirstOut()
    return Stages(InstantPreparation(), asking, conclude, priority, "ecg.findings", "ecg.rejections")


def priority(record: Record) -> Priority:
    return "stat" if ("urgent", b"") in record.headers else "routine"


def published_ids(member: ScriptedMember) -> list[str]:
    return sorted(dict(m.headers)["ce_id"].decode() for messages, _ in member.published for m in messages)


QUICK = Limits(publish_wait_s=0.0, rejected_share=1.0)


def test_every_record_ends_as_one_finding_or_one_rejection() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(10)))], stop)
    Runner(member, stages(), QUICK).run(stop)
    topics = [m.topic for messages, _ in member.published for m in messages]
    assert (topics.count("ecg.findings"), topics.count("ecg.rejections")) == (7, 3)
    assert len(set(published_ids(member))) == 10
    assert member.published[-1][1] == {TP: Position(10)}


def test_positions_never_pass_a_record_that_is_not_published() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(12)))], stop)
    Runner(member, stages(LastInFirstOut(room=6)), QUICK).run(stop)
    seen: set[int] = set()
    for messages, positions in member.published:
        seen |= {int(dict(m.headers)["ce_id"].split(b"-")[1]) for m in messages if m.topic == "ecg.findings"}
        seen |= {0, 4, 8} if any(m.topic == "ecg.rejections" for m in messages) else set()
        assert set(range(positions[TP].offset)) <= seen


def test_a_failed_transaction_is_done_again_from_the_committed_position() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1, 2, 3))], stop, failures=1)
    member.on_rewind = [Polled(revoked=frozenset({TP}), assigned={TP: Position(1)}), Polled(records(1, 2, 3))]
    runner = Runner(member, stages(), QUICK)
    runner.run(stop)
    assert member.rewinds == 1
    assert published_ids(member) == ["0-1", "0-2", "0-3"]
    assert runner.progress.committed == 3


def test_a_transaction_that_has_not_begun_is_given_up_when_partitions_change_hands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []

    def late(name: str, call: Callable[[], Any]) -> Future[Any]:
        """Never comes to its first call."""
        begun.append(name)
        return Future() if len(begun) == 1 else beside(name, call)

    monkeypatch.setattr(runner_module, "beside", late)
    stop = Stop(grace_s=8)
    script = [Polled(assigned={TP: None}), Polled(records(2)), Polled(), Polled(revoked=frozenset({TP}))]
    member = ScriptedMember(script, stop)
    member.on_rewind = [Polled(assigned={TP: None}), Polled(records(2))]
    Runner(member, stages(), QUICK).run(stop)
    assert member.rewinds == 1
    assert published_ids(member) == ["0-2"]


def test_results_of_a_partition_that_was_taken_away_are_not_published() -> None:
    stop = Stop(grace_s=8)
    script = [Polled(assigned={TP: None}), Polled(records(1, 3)), Polled(revoked=frozenset({TP}))]
    member = ScriptedMember(script, stop)
    engine = LastInFirstOut()
    engine.take = lambda: None  # type: ignore[method-assign] # nothing is ever answered before the revocation
    runner = Runner(member, stages(engine), QUICK)
    runner.run(stop)
    assert engine.held
    assert member.published == []


def test_polling_goes_on_while_everything_is_paused() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), *[Polled(records(i)) for i in range(1, 40)]], stop)
    Runner(member, stages(), replace(QUICK, read_ahead=4)).run(stop)
    assert member.pauses > 0
    assert len(published_ids(member)) == 39


def test_bytes_in_work_are_bounded_too() -> None:
    stop = Stop(grace_s=8)
    big = [Polled(records(i, value=b"x" * 600)) for i in range(1, 10)]
    member = ScriptedMember([Polled(assigned={TP: None}), *big], stop)
    Runner(member, stages(), replace(QUICK, read_ahead_bytes=1000)).run(stop)
    assert member.pauses > 0
    assert len(published_ids(member)) == 9


def test_records_done_before_a_restart_are_not_done_again() -> None:
    before = PartitionLedger(Position(1))
    assert all([before.take(offset) for offset in (1, 2, 3)] + [before.finish(offset) for offset in (2, 3)])
    done_beyond = before.position()
    assert done_beyond.offset == 1
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: done_beyond}), Polled(records(1, 2, 3, 5))], stop)
    Runner(member, stages(), QUICK).run(stop)
    assert published_ids(member) == ["0-1", "0-5"]


def test_a_stage_that_dies_ends_the_loop() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1))], stop)
    engine = LastInFirstOut()

    def die() -> tuple[Hashable, Answer] | None:
        raise RuntimeError("engine thread is dead")

    engine.take = die  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="engine thread"):
        Runner(member, stages(engine), QUICK).run(stop)


def test_it_ends_by_itself_when_nothing_came_for_long_enough() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1, 2))], Stop(8))
    Runner(member, stages(), QUICK).run(stop, idle_exit_s=0.05)
    assert published_ids(member) == ["0-1", "0-2"]


def test_trace_context_is_carried_through_and_nothing_else_is() -> None:
    stop = Stop(grace_s=8)
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    (plain,) = records(2)
    traced = Record(TP.topic, 0, 6, 0, None, b"x", (("traceparent", trace), ("patient", b"DOE")))
    forged = Record(TP.topic, 0, 10, 0, None, b"x", (("traceparent", b"DOE^JANE"),))
    member = ScriptedMember([Polled(assigned={TP: None}), Polled((plain, traced, forged))], stop)
    Runner(member, stages(), QUICK).run(stop)
    headers = [dict(m.headers) for messages, _ in member.published for m in messages]
    assert [h.get("traceparent") for h in headers] == [None, trace, None]
    assert all("patient" not in h for h in headers)


def test_stat_records_overtake_those_that_are_not_begun() -> None:
    stop = Stop(grace_s=8)
    routine = records(*range(1, 40, 2))
    stat = tuple(replace(record, headers=(("urgent", b""),)) for record in records(41, 43))
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(routine), Polled(stat)], stop)
    Runner(member, stages(LastInFirstOut(room=1)), replace(QUICK, in_flight=2)).run(stop)
    order = [dict(m.headers)["ce_id"] for messages, _ in member.published for m in messages]
    assert len(order) == 22
    assert {order.index(b"0-41"), order.index(b"0-43")} < set(range(8))


def test_one_stat_result_makes_a_transaction_due() -> None:
    stop = Stop(grace_s=8)
    (record,) = records(2)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled((replace(record, headers=(("urgent", b""),)),))], stop)
    began = time.monotonic()
    Runner(member, stages(), replace(QUICK, publish_wait_s=60)).run(stop, idle_exit_s=0.3)
    assert published_ids(member) == ["0-2"]
    assert time.monotonic() - began < 10


def test_a_stop_leaves_what_is_not_begun_to_the_next() -> None:
    stop = Stop(grace_s=20)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(1, 100, 2)))], stop)
    engine = LastInFirstOut(room=1)
    answered = engine.take

    def answer_and_stop() -> tuple[Hashable, Answer] | None:
        if engine.held:
            stop.set()
        return answered()

    engine.take = answer_and_stop  # type: ignore[method-assign]
    Runner(member, stages(engine), replace(QUICK, in_flight=4)).run(stop)
    assert 1 <= len(published_ids(member)) <= 5
    assert member.paused == {TP}


def test_a_stop_of_a_replay_finishes_what_was_read() -> None:
    stop = Stop(float("inf"), finish_line=True)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(1, 100, 2)))], stop)
    Runner(member, stages(LastInFirstOut(room=1)), replace(QUICK, in_flight=4)).run(stop)
    assert len(published_ids(member)) == 50


def test_too_many_rejections_end_the_loop_and_are_not_committed() -> None:
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(*range(0, 800, 4)))], stop)
    with pytest.raises(TooManyRejections):
        Runner(member, stages(), replace(QUICK, rejected_share=0.5)).run(stop)
    assert len(published_ids(member)) < 50


def test_a_partition_with_more_than_its_share_in_hand_lets_the_others_come() -> None:
    other = TopicPartition(TP.topic, 1)
    stop = Stop(grace_s=0)
    member = ScriptedMember([Polled(assigned={TP: None, other: None}), Polled(records(*range(1, 21, 2)))], stop)
    engine = LastInFirstOut(room=0)
    paused_then: list[set[TopicPartition]] = []
    pause = member.pause

    def noting(partitions: frozenset[TopicPartition]) -> None:
        pause(partitions)
        paused_then.append(set(member.paused))

    member.pause = noting  # type: ignore[method-assign]
    Runner(member, stages(engine), replace(QUICK, read_ahead=20)).run(stop)
    assert paused_then[0] == {TP}


def test_partitions_that_come_to_a_full_worker_are_paused_before_they_bring_anything() -> None:
    other = TopicPartition(TP.topic, 1)
    stop = Stop(grace_s=0)
    member = ScriptedMember([Polled(assigned={TP: None}), Polled(records(1, 3, 5, 7))], stop)
    engine = LastInFirstOut(room=0)
    poll = member.poll
    seen: list[tuple[str, set[TopicPartition]]] = []

    def polling(timeout_s: float, max_records: int) -> Polled:
        if seen == [] and member.paused == {TP}:
            seen.append(("comes", set(member.paused)))
            return Polled(assigned={other: None})
        if len(seen) == 1:
            seen.append(("next", set(member.paused)))
        return poll(timeout_s, max_records)

    member.poll = polling  # type: ignore[method-assign]
    Runner(member, stages(engine), replace(QUICK, read_ahead=4)).run(stop)
    assert seen == [("comes", {TP}), ("next", {TP, other})]


def test_records_in_hand_of_a_partition_that_was_taken_away_are_counted() -> None:
    before = metrics.VOID_RECORDS._value.get()
    stop = Stop(grace_s=8)
    script = [Polled(assigned={TP: None}), Polled(records(1, 3, 5, 7)), Polled(revoked=frozenset({TP}))]
    member = ScriptedMember(script, stop)
    Runner(member, stages(LastInFirstOut(room=0)), replace(QUICK, in_flight=2)).run(stop, idle_exit_s=0.2)
    assert member.published == []
    assert metrics.VOID_RECORDS._value.get() - before == 2  # in line; the two that were begun never finished


def test_a_partition_that_stands_still_ends_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_watch, "LOOK_EVERY_S", 0.02)
    stop = Stop(grace_s=8)
    member = ScriptedMember([Polled(assigned={TP: None})], Stop(8))
    member.behind = lambda: {TP: 9}  # type: ignore[method-assign]
    with pytest.raises(Stalled):
        Runner(member, stages(), replace(QUICK, stuck_s=0.1)).run(stop)
