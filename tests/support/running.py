"""The runner on stages and a member that do exactly what the test says."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from prometheus_client import REGISTRY

from adapters.log import Polled, Record, TopicPartition
from schemas.ecg import Priority
from schemas.finding import Finding
from schemas.rejection import Rejected, Rejection
from tests.support import results
from tests.support.scripted import Clock, ScriptedMember, at_once
from worker.engine.question import Answer, Question
from worker.prepared import PreparedEcg
from worker.stream.breaker import Breaker
from worker.stream.fence import Fence
from worker.stream.limits import Limits
from worker.stream.runner import Runner
from worker.stream.session import Session
from worker.stream.stages import Preparation, Stages
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop
from worker.urgency import HEAD_START_S, Urgency

TP = TopicPartition("ecg.inbound", 0)
OTHER = TopicPartition("ecg.inbound", 1)
STAT_TOPIC = TopicPartition("ecg.inbound.stat", 0)
ASSIGNED = Polled(assigned={TP: None})
QUICK = Limits(publish_wait_s=0.0, rejected_share=1.0)
FENCE = Fence("ecg.findings", "ecg.rejections")
NEVER_DUE = replace(QUICK, publish_wait_s=1e6, publish_records=1_000_000)


def records(*offsets: int, value: bytes = b"x", partition: int = 0) -> tuple[Record, ...]:
    """Of the inbound topic."""
    return tuple(Record(TP.topic, partition, offset, 0, b"key", value) for offset in offsets)


def stat(*offsets: int) -> tuple[Record, ...]:
    """Records that are urgent at first glance."""
    return tuple(replace(record, headers=(("urgent", b""),)) for record in records(*offsets))


class InstantPreparation:
    """Prepares at once: an odd offset asks the model, an offset divisible by four is rejected."""

    room = 1000

    def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
        future: Future[PreparedEcg | Rejection] = Future()
        if record.offset % 4 == 0:
            future.set_result(results.rejection(record))
        else:
            ordered: Priority = "stat" if record.value == b"an order that is STAT" else "routine"
            future.set_result(replace(results.prepared(record, asks=record.offset % 2 == 1), priority=ordered))
        return future


class LastInFirstOut:
    """An engine that holds a few questions and answers the newest first, if `answers` lets it."""

    def __init__(self, room: int = 3, answers: Callable[[], bool] = lambda: True) -> None:
        self.room = room
        self.answers = answers
        self.held: list[Hashable] = []

    def put(self, tag: Hashable, question: Question, rank: float, *, waited_for: bool) -> bool:
        if len(self.held) >= self.room:
            return False
        self.held.append(tag)
        return True

    def take(self) -> tuple[Hashable, Answer | Rejected] | None:
        return (self.held.pop(), results.answer()) if self.held and self.answers() else None


def conclude_any(prepared: PreparedEcg, answer: Answer | None) -> Finding:
    """A finding of the record that was prepared."""
    return results.finding(
        Record(prepared.source.topic, prepared.source.partition, prepared.source.offset, 0, None, b"")
    )


def triage(record: Record) -> Urgency:
    """STAT by its header or its topic, or else routine."""
    urgent = ("urgent", b"") in record.headers or record.topic == STAT_TOPIC.topic
    return Urgency("stat", HEAD_START_S["stat"], waited_for=True) if urgent else Urgency()


def member_with(*script: Polled | Callable[[], object], failures: int = 0) -> ScriptedMember:
    """A member on a clock of its own; so many of its transactions fail."""
    return ScriptedMember(Clock(), *script, failures=failures)


def run(
    member: ScriptedMember,
    limits: Limits = QUICK,
    engine: LastInFirstOut | None = None,
    stop: Stop | None = None,
    preparation: Preparation | None = None,
    conclude: Callable[[PreparedEcg, Answer | None], Finding] | None = None,
    topics: Sequence[str] = (TP.topic,),
) -> Session:
    """Until the test stops it or, on the member's clock, nothing has come or moved for ten minutes."""
    session = Session(member, StallDetector(limits.stuck_s, member.clock), clock=member.clock, in_background=at_once)
    stages = Stages(
        preparation or InstantPreparation(), engine or LastInFirstOut(), conclude or conclude_any, FENCE, triage
    )
    breaker = Breaker(limits.rejected_share, limits.rejected_pace_s, member.clock)
    Runner(session, stages, breaker, limits, topics, wall_clock=lambda: 7.0).run(stop or Stop(60), idle_exit_s=600.0)
    return session


def ids(member: ScriptedMember) -> list[str]:
    """Of what was published, in the order of publishing."""
    return [dict(message.headers)["ce_id"].decode() for message in member.messages]


def stale_records() -> float:
    """How many were counted as stale by now."""
    value = REGISTRY.get_sample_value("ecg_void_records_total")
    assert value is not None
    return value


def sample(name: str, **labels: str) -> float:
    """What a metric says now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def of_the_stat_topic(*offsets: int, value: bytes = b"x") -> Polled:
    """A poll that brings records of the topic that comes before the other."""
    return Polled(tuple(replace(record, topic=STAT_TOPIC.topic) for record in records(*offsets, value=value)))
