"""The way of one record through the stages."""

from collections.abc import Hashable
from concurrent.futures import Future

from adapters.log import Record, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Reason, Rejected, Rejection
from tests.support import results
from worker.engine.question import Answer, Question
from worker.prepared import PreparedEcg
from worker.stream.ledger import PartitionLedger
from worker.stream.session import Lease
from worker.stream.stages import Dispatcher, Stages

TP = TopicPartition("ecg.inbound", 0)


class AtOnce:
    """Prepares at once; every ECG asks the model."""

    room = 1000

    def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
        future: Future[PreparedEcg | Rejection] = Future()
        future.set_result(results.prepared(record, asks=True))
        return future


class AnswersEveryOther:
    """An engine that cannot answer every second question."""

    def __init__(self) -> None:
        self.asked = list[Hashable]()
        self.taken = 0

    def put(self, tag: Hashable, question: Question, rank: float) -> bool:
        self.asked.append(tag)
        return True

    def take(self) -> tuple[Hashable, Answer | Rejected] | None:
        if not self.asked:
            return None
        self.taken += 1
        rejected = Rejected(Reason.ENGINE_NOT_FINITE, "after the prompt", "ask")
        return self.asked.pop(0), rejected if self.taken % 2 == 0 else results.answer()


def conclude(prepared: PreparedEcg, answer: Answer | None) -> Finding:
    assert isinstance(answer, Answer)
    return results.finding(Record(TP.topic, 0, prepared.source.offset, 0, None, b""))


def test_a_question_that_the_engine_cannot_answer_is_that_records_rejection() -> None:
    stages = Stages(AtOnce(), AnswersEveryOther(), conclude, lambda _record: "routine", "findings", "rejections")
    dispatcher, lease, ledger = Dispatcher(stages, 10, lambda: 0.0), Lease(TP, None, 0), PartitionLedger(None)
    for offset in range(4):
        dispatcher.add(Record(TP.topic, 0, offset, 0, None, b"x"), lease, ledger)
    finished = dispatcher.advance(may_begin=True)
    assert len(dispatcher) == 0
    kinds = [type(tracked.result) for tracked in finished]
    assert kinds == [Finding, Rejection, Finding, Rejection]
    for tracked in finished[1::2]:
        assert isinstance(tracked.result, Rejection)
        assert (tracked.result.reason, tracked.result.stage) == (Reason.ENGINE_NOT_FINITE, "ask")
        assert tracked.result.source.offset == tracked.record.offset
