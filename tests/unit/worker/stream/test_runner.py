"""The worker's own work on a session, with stages and a member that do exactly what the test says."""

import json
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from adapters.log import MAX_VALUE_BYTES, Polled, Position, Record, TopicPartition
from schemas.ecg import Priority
from schemas.finding import Finding
from schemas.rejection import Reason, Rejected, Rejection
from tests.support import results
from tests.support.scripted import Clock, ScriptedMember, at_once, idle
from worker.engine.question import Answer, Question
from worker.prepared import PreparedEcg
from worker.stream.breaker import LEAST, Breaker
from worker.stream.envelope import coordinates_digest
from worker.stream.fence import Fence
from worker.stream.ledger import MAX_SPAN, PartitionLedger
from worker.stream.limits import Limits
from worker.stream.preparation import PreparationFailed
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
# Only what a test is about may make a transaction due.
NEVER_DUE = replace(QUICK, publish_wait_s=1e6, publish_records=1_000_000)


def records(*offsets: int, value: bytes = b"x", partition: int = 0) -> tuple[Record, ...]:
    return tuple(Record(TP.topic, partition, offset, 0, b"key", value) for offset in offsets)


def stat(*offsets: int) -> tuple[Record, ...]:
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
    return results.finding(
        Record(prepared.source.topic, prepared.source.partition, prepared.source.offset, 0, None, b"")
    )


def triage(record: Record) -> Urgency:
    urgent = ("urgent", b"") in record.headers or record.topic == STAT_TOPIC.topic
    return Urgency("stat", HEAD_START_S["stat"], waited_for=True) if urgent else Urgency()


def member_with(*script: Polled | Callable[[], object], failures: int = 0) -> ScriptedMember:
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
    value = REGISTRY.get_sample_value("ecg_void_records_total")
    assert value is not None
    return value


def test_every_record_ends_as_one_finding_or_one_rejection() -> None:
    member = member_with(ASSIGNED, Polled(records(*range(10))))
    run(member)
    topics = [message.topic for message in member.messages]
    assert (topics.count("ecg.findings"), topics.count("ecg.rejections")) == (7, 3)
    assert len(set(ids(member))) == 10
    assert member.published[-1][1] == {TP: Position(10)}


def test_positions_never_pass_a_record_that_is_not_published() -> None:
    member = member_with(ASSIGNED, Polled(records(*range(12))))
    run(member, engine=LastInFirstOut(room=6))
    seen: set[int] = set()
    for messages, positions in member.published:
        seen |= {int(dict(m.headers)["ce_id"].split(b"-")[1]) for m in messages if m.topic == "ecg.findings"}
        seen |= {0, 4, 8} if any(m.topic == "ecg.rejections" for m in messages) else set()
        assert set(range(positions[TP].offset)) <= seen


def test_results_of_one_batch_make_room_for_one_another_in_a_position() -> None:
    """The last offset is too far from the first to be noted beyond it; once the first is done too it is no more."""
    far = 2 * (MAX_SPAN // 2) + 4003
    member = member_with(ASSIGNED, Polled(records(1, far)))
    # The newest is answered first, so that the far one is finished first.
    run(member, replace(NEVER_DUE, publish_records=2), engine=LastInFirstOut(room=2))
    assert [positions for _, positions in member.published] == [{TP: Position(far + 1)}]
    assert len(member.messages) == 2


def test_a_failed_transaction_is_done_again_from_the_committed_position() -> None:
    member = member_with(ASSIGNED, Polled(records(1, 2, 3)), failures=1)
    member.on_rewind = [Polled(revoked=frozenset({TP}), assigned={TP: Position(1)}), Polled(records(1, 2, 3))]
    session = run(member)
    assert member.rewinds == 1
    assert sorted(ids(member)) == ["0-1", "0-2", "0-3"]
    assert session.progress.committed == 3


def test_results_of_a_partition_that_was_taken_away_are_not_published() -> None:
    member = member_with(ASSIGNED, Polled(records(1, 3)), Polled(revoked=frozenset({TP})), *idle(5))
    engine = LastInFirstOut(answers=lambda: len(member.script) < 5)  # after the revocation
    run(member, engine=engine)
    assert engine.held == []
    assert member.published == []


def test_records_in_hand_of_a_partition_that_was_taken_away_are_counted() -> None:
    before = stale_records()
    seen: list[float] = []
    stop = Stop(0)
    script = [ASSIGNED, Polled(records(1, 3, 5, 7)), *idle(2), Polled(revoked=frozenset({TP})), *idle(2)]
    member = member_with(*script, lambda: seen.append(stale_records() - before), stop.set)
    run(member, replace(QUICK, in_flight=2), LastInFirstOut(room=0), stop)
    assert seen == [2]  # those in the queue; the two that were begun never finished
    assert member.published == []


def test_polling_goes_on_while_everything_is_paused() -> None:
    member = member_with(ASSIGNED, *[Polled(records(i)) for i in range(1, 80, 2)])
    looks = 0

    def one_in_twenty() -> bool:
        nonlocal looks
        looks += 1
        return looks % 20 == 0

    run(member, replace(QUICK, read_ahead=4), LastInFirstOut(answers=one_in_twenty))
    assert member.pauses
    assert len(ids(member)) == 40


@pytest.mark.parametrize(
    ("limits", "read"), [(replace(QUICK, read_ahead=4), 4), (replace(QUICK, read_ahead_bytes=1000), 2)]
)
def test_what_is_read_ahead_is_bounded_in_records_and_in_bytes(limits: Limits, read: int) -> None:
    stop = Stop(0)
    big = [Polled(records(i, value=b"x" * 600)) for i in range(1, 21, 2)]
    member = member_with(ASSIGNED, *big)
    left: list[int] = []

    def answers() -> bool:
        if member.clock.now > 1100:  # long after everything stood still
            left.append(len(member.script))
            stop.set()
        return False

    run(member, limits, LastInFirstOut(room=1, answers=answers), stop)
    assert 10 - left[0] == read
    assert member.paused == {TP}


def test_a_full_worker_reads_on_only_when_a_fifth_is_free_again() -> None:
    """Ten may be read ahead: it pauses at ten, and reads on at seven, not at nine."""
    held: list[tuple[int, bool]] = []
    member = member_with(ASSIGNED, Polled(records(*range(1, 21, 2))), *[Polled(records(i)) for i in range(21, 40, 2)])
    looked = 0

    def one_in_five() -> bool:
        nonlocal looked
        looked += 1
        held.append((10 - len(member.messages), bool(member.paused)))
        return looked % 5 == 0

    run(member, replace(QUICK, read_ahead=10), LastInFirstOut(room=1, answers=one_in_five))
    first_resumed = next(left for left, paused in held[2:] if not paused)
    assert held[1] == (10, True)
    assert first_resumed == 7
    assert len(ids(member)) == 20


def test_records_done_before_a_restart_are_not_done_again() -> None:
    before = PartitionLedger(Position(1))
    assert all([before.take(offset) for offset in (1, 2, 3)] + [before.finish(offset) for offset in (2, 3)])
    done_beyond = before.position()
    assert done_beyond.offset == 1
    member = member_with(Polled(assigned={TP: done_beyond}), Polled(records(1, 2, 3, 5)))
    run(member)
    assert sorted(ids(member)) == ["0-1", "0-5"]


def test_a_stage_that_dies_ends_the_loop() -> None:
    def die() -> bool:
        raise RuntimeError("engine thread is dead")

    with pytest.raises(RuntimeError, match="engine thread"):
        run(member_with(ASSIGNED, Polled(records(1))), engine=LastInFirstOut(answers=die))


def test_trace_context_is_carried_through_and_nothing_else_is() -> None:
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    (plain,) = records(2)
    traced = Record(TP.topic, 0, 6, 0, None, b"x", (("traceparent", trace), ("patient", b"DOE")))
    forged = Record(TP.topic, 0, 10, 0, None, b"x", (("traceparent", b"DOE^JANE"),))
    member = member_with(ASSIGNED, Polled((plain, traced, forged)))
    run(member)
    headers = [dict(message.headers) for message in member.messages]
    assert [h.get("traceparent") for h in headers] == [None, trace, None]
    assert all("patient" not in h for h in headers)


def test_stat_records_overtake_those_that_are_not_begun() -> None:
    member = member_with(ASSIGNED, Polled(records(*range(1, 40, 2))), Polled(stat(41, 43)))
    run(member, replace(QUICK, in_flight=2), LastInFirstOut(room=1))
    order = ids(member)
    assert len(order) == 22
    assert {order.index("0-41"), order.index("0-43")} < set(range(8))


def test_a_backlog_that_has_waited_for_hours_holds_up_no_stat_record() -> None:
    """Neither what is not begun nor, once both are begun later, what waits for room in the engine."""
    polls = 6
    member = member_with(
        ASSIGNED,
        Polled(records(*range(1, 40, 2))),
        lambda: member.clock.wait(10_000.0),
        Polled(stat(41, 43)),
        *idle(polls),
    )
    engine = LastInFirstOut(room=1, answers=lambda: len(member.script) < polls)
    run(member, replace(QUICK, in_flight=4), engine)
    order = ids(member)
    assert len(order) == 22
    assert {order.index("0-41"), order.index("0-43")} < set(range(8)), "after the four that were begun, at most"


def test_an_order_that_only_the_decoder_sees_to_be_stat_overtakes_in_the_engines_queue() -> None:
    """All four were begun as routine, and wait for room in the engine."""
    open_at = 4  # polls from now
    late = records(7, value=b"an order that is STAT")
    member = member_with(ASSIGNED, Polled((*records(1, 3, 5), *late)), *idle(open_at))
    engine = LastInFirstOut(room=1, answers=lambda: len(member.script) < open_at - 2)
    run(member, engine=engine)
    assert ids(member).index("0-7") <= 1  # after the one at most that the engine had taken before


@pytest.mark.parametrize(("urgent", "published"), [(True, ["0-2"]), (False, [])])
def test_one_stat_result_makes_a_transaction_due_and_a_routine_one_does_not(urgent: bool, published: list[str]) -> None:
    stop, seen = Stop(60), list[list[str]]()
    record = stat(2) if urgent else records(2)
    member = member_with(ASSIGNED, Polled(record), *idle(3), lambda: seen.append(ids(member)), stop.set)
    run(member, NEVER_DUE, stop=stop)
    assert seen == [published]
    assert ids(member) == ["0-2"], "the stop publishes what there is"


@pytest.mark.parametrize(("records_due", "published"), [(2, 2), (3, 0)])
def test_enough_results_make_a_transaction_due(records_due: int, published: int) -> None:
    stop, seen = Stop(60), list[int]()
    member = member_with(ASSIGNED, Polled(records(2, 6)), *idle(3), lambda: seen.append(len(ids(member))), stop.set)
    run(member, replace(NEVER_DUE, publish_records=records_due), stop=stop)
    assert seen == [published]


@pytest.mark.parametrize(("wait_s", "published"), [(0.019, 1), (0.031, 0)])
def test_the_age_of_the_oldest_result_makes_a_transaction_due(wait_s: float, published: int) -> None:
    stop, seen = Stop(60), list[int]()
    # Busy polls are 0.01 s apart: after two of them the result is 0.02 s old.
    member = member_with(ASSIGNED, Polled(records(2)), *idle(2), lambda: seen.append(len(ids(member))), stop.set)
    run(member, replace(NEVER_DUE, publish_wait_s=wait_s), stop=stop)
    assert seen == [published]


def test_a_transaction_holds_no_more_results_than_its_limit_and_the_most_urgent_first() -> None:
    member = member_with(ASSIGNED, Polled((*records(2, 6, 10), *stat(14))))
    run(member, replace(NEVER_DUE, transaction_records=2, publish_records=2))
    assert [len(messages) for messages, _ in member.published] == [2, 2]
    assert "0-14" in ids(member)[:2]


def test_a_stop_leaves_what_is_not_begun_to_the_next() -> None:
    stop = Stop(20)
    member = member_with(ASSIGNED, Polled(records(*range(1, 100, 2))))

    def stop_at_the_first() -> bool:
        stop.set()
        return True

    run(member, replace(QUICK, in_flight=4), LastInFirstOut(room=1, answers=stop_at_the_first), stop)
    assert 1 <= len(ids(member)) <= 5
    assert member.paused == {TP}


def test_a_stop_of_a_replay_finishes_what_was_read() -> None:
    stop = Stop(float("inf"), drain_queue=True)
    member = member_with(ASSIGNED, Polled(records(*range(1, 100, 2))), stop.set)
    run(member, replace(QUICK, in_flight=4), LastInFirstOut(room=1), stop)
    assert len(ids(member)) == 50


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


def test_a_pool_that_is_broken_ends_the_loop() -> None:
    class Broken(InstantPreparation):
        def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
            future: Future[PreparedEcg | Rejection] = Future()
            future.set_exception(PreparationFailed("no process stays alive"))
            return future

    with pytest.raises(PreparationFailed):
        run(member_with(ASSIGNED, Polled(records(1))), preparation=Broken())


def test_a_partition_with_more_than_its_share_in_hand_lets_the_others_come() -> None:
    stop = Stop(0)
    member = member_with(
        Polled(assigned={TP: None, OTHER: None}), Polled(records(*range(1, 21, 2))), *idle(2), stop.set
    )
    run(member, replace(QUICK, read_ahead=20), LastInFirstOut(room=0), stop)
    assert member.pauses[0] == {TP}


def test_partitions_that_come_to_a_full_worker_are_paused_before_they_bring_anything() -> None:
    stop, seen = Stop(0), list[set[TopicPartition]]()
    full, comes = Polled(records(1, 3, 5, 7)), Polled(assigned={OTHER: None})
    member = member_with(ASSIGNED, full, *idle(2), comes, lambda: seen.append(set(member.paused)), stop.set)
    run(member, replace(QUICK, read_ahead=4), LastInFirstOut(room=0), stop)
    assert seen == [{TP, OTHER}]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_what_is_published_makes_room_again() -> None:
    member = member_with(ASSIGNED, *(Polled(records(offset, value=b"x" * 600)) for offset in range(2, 42, 4)))
    run(member, replace(QUICK, read_ahead_bytes=1000))
    assert len(ids(member)) == 10


def test_what_could_not_be_published_makes_room_too_and_is_counted_as_stale() -> None:
    again = (Polled(revoked=frozenset({TP}), assigned={TP: Position(2)}), Polled(records(2, value=b"x" * 600)))
    member = member_with(ASSIGNED, Polled(records(2, value=b"x" * 600)), failures=3)
    member.on_rewind = again
    before, failed = stale_records(), sample("ecg_transactions_total", outcome="failed")
    run(member, replace(QUICK, read_ahead_bytes=1000))
    assert (member.rewinds, ids(member)) == (3, ["0-2"])
    assert stale_records() - before == 3
    assert sample("ecg_transactions_total", outcome="failed") - failed == 3


def test_what_is_committed_is_counted_by_what_it_says_and_how_old_it_is() -> None:
    names = ("ecg_findings_total", "ecg_rejections_total", "ecg_flags_raised_total", "ecg_transactions_total")
    finding, rejection = results.finding(records(1)[0]), results.rejection(records(4)[0])
    labels: tuple[dict[str, str], ...] = (
        {"verdict": finding.assessment.verdict},
        {"reason": rejection.reason},
        {},
        {"outcome": "committed"},
    )
    ages = [
        ("ecg_end_to_end_seconds_count", {"priority": "stat"}),
        ("ecg_end_to_end_seconds_sum", {"priority": "stat"}),
    ]
    wanted = [*zip(names, labels, strict=True), *ages, ("ecg_commit_seconds_count", {})]
    before = [sample(name, **found) for name, found in wanted]
    member = member_with(ASSIGNED, Polled(stat(1) + records(4)))
    run(member, replace(NEVER_DUE, publish_records=2))
    counted = [sample(name, **found) - was for (name, found), was in zip(wanted, before, strict=True)]
    assert counted == [1, 1, int(finding.flag.raised), 1, 1, 7.0, 1]


def test_as_many_results_go_into_one_transaction_as_the_documents_say() -> None:
    assert Limits().transaction_records == 500


def of_the_stat_topic(*offsets: int, value: bytes = b"x") -> Polled:
    return Polled(tuple(replace(record, topic=STAT_TOPIC.topic) for record in records(*offsets, value=value)))


def test_a_backlog_never_keeps_a_topic_that_comes_before_it_from_being_read() -> None:
    """A thousand bytes may be read ahead, and the engine answers nothing: the routine topic fills 750 and no more."""
    stop, seen = Stop(0), list[set[TopicPartition]]()
    payload = b"x" * 100
    member = member_with(
        Polled(assigned={TP: None, STAT_TOPIC: None}),
        Polled(records(*range(1, 17, 2), value=payload)),
        *idle(2),
        lambda: seen.append(set(member.paused)),
        of_the_stat_topic(1, 3, value=payload),
        *idle(2),
        lambda: seen.append(set(member.paused)),
        stop.set,
    )
    limits = replace(QUICK, read_ahead_bytes=1000)
    run(member, limits, LastInFirstOut(room=0), stop, topics=(STAT_TOPIC.topic, TP.topic))
    assert seen == [{TP}, {TP, STAT_TOPIC}]


def test_what_comes_on_a_topic_before_others_is_answered_first_and_the_others_have_their_share() -> None:
    urgent = [of_the_stat_topic(*range(1, 121, 2))]
    member = member_with(Polled(assigned={TP: None, STAT_TOPIC: None}), Polled(records(*range(1, 121, 2))), *urgent)
    run(
        member,
        replace(QUICK, in_flight=2, routine_share=0.25),
        LastInFirstOut(room=1),
        topics=(STAT_TOPIC.topic, TP.topic),
    )
    assert len(ids(member)) == 120
    sources = [json.loads(message.value)["source"]["topic"] for message in member.messages]
    while_both_wait = sources[4:64]
    routine = while_both_wait.count(TP.topic)
    assert 12 <= routine <= 18, "a quarter"
    assert TP.topic not in sources[-10:] or STAT_TOPIC.topic not in sources[-10:]
