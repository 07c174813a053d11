"""Any record at all, through the whole of it: exactly one result, in a message that a log takes."""

import functools
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.inbound import decode, glance
from adapters.log import MAX_VALUE_BYTES, Message, Polled, Position, Record, TopicPartition, check_messages
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected, Rejection
from tests.support.hostile_records import hostile_records
from tests.support.results import READER, answer
from tests.support.scripted import Clock, ScriptedMember, at_once
from worker.engine.question import Answer, Question
from worker.history.results import parse, source_of
from worker.picture.layout import make_layout
from worker.pipeline import conclude, prepare
from worker.prepared import PreparedEcg
from worker.stream.breaker import Breaker
from worker.stream.fence import Fence
from worker.stream.limits import Limits
from worker.stream.runner import Runner
from worker.stream.session import Session
from worker.stream.stages import Stages
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop
from worker.stream.triage import Triage

TP = TopicPartition("ecg.inbound", 0)
LAYOUT = make_layout("3x4+II", 448, 336)
# Those of many megabytes have tests of their own.
GOOD = [one.value for one in hostile_records().values() if one.value and len(one.value) < 1_000_000]


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A real payload with a piece replaced, cut off, doubled; or anything."""
    payload = draw(st.sampled_from(GOOD))
    at = draw(st.integers(0, len(payload)))
    piece = draw(st.binary(max_size=30) | st.sampled_from([b"\r", b"|", b"^", b"\\", b"~", b"\x0b", b"99991231", b""]))
    match draw(st.sampled_from(["whole", "replaced", "cut", "doubled", "anything"])):
        case "replaced":
            return payload[:at] + piece + payload[at + len(piece) :]
        case "cut":
            return payload[:at]
        case "doubled":
            return payload[:at] + piece + payload[at // 2 :]
        case "anything":
            return piece
        case _:
            return payload


RECORDS = st.builds(
    Record,
    topic=st.just(TP.topic),
    partition=st.just(TP.partition),
    offset=st.just(0),
    timestamp_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(max_size=50) | st.just(b"k" * 70_000),
    value=payloads(),
    headers=st.lists(
        st.tuples(
            st.text(max_size=10)
            | st.sampled_from(["traceparent", "ecg-priority", "ecg-redrive-of", "ecg-redrive-count"]),
            st.binary(max_size=50),
        ),
        max_size=4,
    ).map(tuple),
    unreadable=st.none() | st.none() | st.text(max_size=50),
)


class HerePreparation:
    """Prepares in this process."""

    room = 8

    def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
        prepared: Future[PreparedEcg | Rejection] = Future()
        decode_here: functools.partial[Ecg] = functools.partial(decode, site=SiteDefaults())
        prepared.set_result(prepare(record, decode_here, LAYOUT))
        return prepared


class MoodyEngine:
    """Answers, says anything, or cannot answer, in turn."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._tags: list[Hashable] = []
        self._turn = 0

    def put(self, tag: Hashable, question: Question, rank: float, *, waited_for: bool) -> bool:
        self._tags.append(tag)
        return True

    def take(self) -> tuple[Hashable, Answer | Rejected] | None:
        if not self._tags:
            return None
        self._turn += 1
        said: Answer | Rejected = answer(text=self._texts[self._turn % len(self._texts)])
        return self._tags.pop(), said if self._turn % 3 else Rejected(Reason.ENGINE_NOT_FINITE, stage="ask")


class CheckingMember(ScriptedMember):
    """Takes what a log takes."""

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        check_messages(messages)
        super().publish(messages, positions)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(RECORDS, min_size=1, max_size=8),
    st.lists(st.text(max_size=60), min_size=1, max_size=3),
)
def test_every_record_has_exactly_one_result(drawn: list[Record], texts: list[str]) -> None:
    records = [
        Record(TP.topic, 0, offset, one.timestamp_ms, one.key, one.value, one.headers, one.unreadable)
        for offset, one in enumerate(drawn)
    ]
    member = CheckingMember(Clock(), Polled(assigned={TP: None}), Polled(tuple(records)))
    session = Session(member, StallDetector(300.0, member.clock), clock=member.clock, in_background=at_once)
    stages = Stages(
        HerePreparation(),
        MoodyEngine(texts),
        functools.partial(conclude, model_identity=READER),
        Fence("ecg.findings", "ecg.rejections"),
        Triage(glance, [TP.topic]),
    )
    Runner(session, stages, Breaker(1.0, 0.0), Limits(), [TP.topic]).run(Stop(60), idle_exit_s=60.0)
    found = [parse(message.value) for message in member.messages]
    assert sorted(source_of(result).offset for result in found if result is not None) == list(range(len(records)))
    assert len(found) == len(records)
    assert member.published[-1][1] == {TP: Position(len(records))}


def test_a_record_of_the_largest_size_is_one_result_too() -> None:
    record = Record(TP.topic, 0, 0, None, None, bytes(MAX_VALUE_BYTES))
    assert isinstance(HerePreparation().submit(record).result(), Rejection)
