"""What one record is costs that record alone, and what the log lost is said."""

import json
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import replace

from adapters.log import MAX_VALUE_BYTES, Polled, Position, Record
from schemas.finding import Finding
from schemas.rejection import Reason, Rejected, Rejection
from tests.support.running import (
    ASSIGNED,
    QUICK,
    TP,
    InstantPreparation,
    LastInFirstOut,
    conclude_any,
    ids,
    member_with,
    records,
    run,
    sample,
    stat,
)
from tests.support.scripted import idle
from worker.engine.question import Answer
from worker.prepared import PreparedEcg
from worker.stream.breaker import LEAST
from worker.stream.envelope import coordinates_digest
from worker.stream.ledger import PartitionLedger


def test_a_good_record_behind_any_amount_of_junk_comes_out_and_nothing_is_lost() -> None:
    """Half of all may be rejected: from the fiftieth on one a second is begun, and every one of them is committed."""
    junk = range(0, 800, 4)
    member = member_with(ASSIGNED, Polled(records(*junk, 801)))
    began = member.clock.now
    session = run(member, replace(QUICK, rejected_share=0.5, rejected_pace_s=1.0, in_flight=8))
    assert len(ids(member)) == len(junk) + 1
    assert "0-801" in ids(member)
    assert member.clock.now - began - 600 >= len(junk) - LEAST - 8
    assert session.progress.trouble is not None
    assert "payload" in session.progress.trouble or "internal" in session.progress.trouble


def test_what_is_stat_is_not_held_back_by_junk() -> None:
    member = member_with(ASSIGNED, Polled(records(*range(0, 800, 4))), *idle(100), Polled(stat(801)))
    run(member, replace(QUICK, rejected_share=0.5, rejected_pace_s=100.0, in_flight=8))
    assert ids(member).index("0-801") <= LEAST + 16


def test_records_that_are_not_worth_a_look_keep_nobody_waiting() -> None:
    """They cost no process any time, so there is nothing to be spared by beginning them slowly."""
    junk = records(*range(0, 4 * LEAST, 4))
    broken = [replace(record, value=b"", unreadable="damaged") for record in records(*range(400, 800, 4))]
    member = member_with(ASSIGNED, Polled(junk), *idle(10), Polled((*broken, *records(801))))
    began = member.clock.now
    run(member, replace(QUICK, rejected_share=0.5, rejected_pace_s=100.0))
    assert len(ids(member)) == len(junk) + len(broken) + 1
    assert member.clock.now - began - 600 <= 2 * 100


def test_what_the_log_no_longer_holds_is_one_rejection_that_names_it() -> None:
    before = sample("ecg_records_gone_total")
    member = member_with(ASSIGNED, Polled(gone={TP: range(5)}, records=records(5, 6)))
    run(member)
    gone = [json.loads(message.value) for message in member.messages if message.topic == "ecg.rejections"]
    assert [(one["reason"], one["stage"], one["detail"]) for one in gone] == [
        ("log.records_gone", "read", "offsets 0 to 4")
    ]
    assert len(ids(member)) == 3
    assert member.published[-1][1] == {TP: Position(7)}
    assert sample("ecg_records_gone_total") - before == 5


def test_what_is_gone_at_the_end_of_a_partition_moves_the_position_past_it() -> None:
    member = member_with(ASSIGNED, Polled(gone={TP: range(5)}))
    run(member)
    assert member.published[-1][1] == {TP: Position(5)}


def test_what_was_done_before_it_was_gone_is_no_loss() -> None:
    before = PartitionLedger(Position(1))
    assert all([before.take(offset) for offset in (1, 2, 3)] + [before.finish(offset) for offset in (2, 3)])
    member = member_with(Polled(assigned={TP: before.position()}), Polled(gone={TP: range(1, 4)}, records=records(5)))
    run(member)
    assert sorted(ids(member)) == sorted([gone_id(1), "0-5"])
    (gone,) = [json.loads(message.value) for message in member.messages if message.topic == "ecg.rejections"]
    assert gone["detail"] == "offsets 1 to 1"


def test_what_was_done_among_what_is_gone_is_told_once() -> None:
    before = PartitionLedger(Position(1))
    assert all([before.take(offset) for offset in (1, 2, 3)] + [before.finish(2)])
    counted = sample("ecg_records_gone_total")
    member = member_with(Polled(assigned={TP: before.position()}), Polled(gone={TP: range(1, 6)}))
    run(member)
    details = [json.loads(message.value)["detail"] for message in member.messages]
    assert details == ["offsets 1 to 1", "offsets 3 to 5"]
    assert member.published[-1][1] == {TP: Position(6)}
    assert sample("ecg_records_gone_total") - counted == 4


def gone_id(offset: int) -> str:
    return coordinates_digest(records(offset)[0])


def test_a_record_that_the_log_cannot_give_is_rejected_and_the_others_come_out() -> None:
    (broken,) = records(2)
    broken = replace(broken, value=b"", unreadable="offsets 2 to 2: codec snappy")
    member = member_with(ASSIGNED, Polled((broken, *records(3))))
    run(member)
    (said,) = [json.loads(message.value) for message in member.messages if message.topic == "ecg.rejections"]
    assert (said["reason"], said["detail"]) == ("log.unreadable_batch", "offsets 2 to 2: codec snappy")
    assert len(ids(member)) == 2


def test_a_record_that_is_too_large_is_not_copied_to_another_process() -> None:
    class Untouched(InstantPreparation):
        def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
            assert len(record.value) <= MAX_VALUE_BYTES
            return super().submit(record)

    member = member_with(ASSIGNED, Polled(records(1, value=b"x" * (MAX_VALUE_BYTES + 1)) + records(3)))
    run(member, preparation=Untouched())
    (said,) = [json.loads(message.value) for message in member.messages if message.topic == "ecg.rejections"]
    assert said["reason"] == "payload.too_large"
    assert len(ids(member)) == 2


def test_a_preparation_that_fails_is_that_records_rejection() -> None:
    class Failing(InstantPreparation):
        def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
            if record.offset != 1:
                return super().submit(record)
            future: Future[PreparedEcg | Rejection] = Future()
            future.set_exception(OverflowError("date value out of range"))
            return future

    member = member_with(ASSIGNED, Polled(records(1, 3)))
    run(member, preparation=Failing())
    assert sorted(message.topic for message in member.messages) == ["ecg.findings", "ecg.rejections"]


def test_a_question_that_the_engine_cannot_answer_is_that_records_rejection() -> None:
    class Refusing(LastInFirstOut):
        def take(self) -> tuple[Hashable, Answer | Rejected] | None:
            taken = super().take()
            if taken is None or taken[0] != 1:
                return taken
            return taken[0], Rejected(Reason.ENGINE_NOT_FINITE, stage="ask")

    member = member_with(ASSIGNED, Polled(records(1, 3)))
    run(member, engine=Refusing())
    (said,) = [json.loads(message.value) for message in member.messages if message.topic == "ecg.rejections"]
    assert (said["reason"], said["stage"], said["source"]["offset"]) == ("engine.not_finite", "ask", 1)
    assert len(ids(member)) == 2


def test_a_finding_that_cannot_be_concluded_is_that_records_rejection() -> None:
    def conclude_most(prepared: PreparedEcg, answer: Answer | None) -> Finding:
        if prepared.source.offset == 1:
            raise OverflowError("date value out of range")
        return conclude_any(prepared, answer)

    member = member_with(ASSIGNED, Polled(records(1, 3)))
    run(member, conclude=conclude_most)
    assert sorted(message.topic for message in member.messages) == ["ecg.findings", "ecg.rejections"]
