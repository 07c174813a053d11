"""The worker's own work on a session, with stages and a member that do exactly what the test says."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from adapters.log import Polled, Position, Record
from schemas.rejection import Rejection
from tests.support import results
from tests.support.running import (
    ASSIGNED,
    NEVER_DUE,
    QUICK,
    TP,
    InstantPreparation,
    LastInFirstOut,
    ids,
    member_with,
    records,
    run,
    sample,
    stale_records,
    stat,
)
from tests.support.scripted import idle
from worker.model.errors import EngineError
from worker.prepared import PreparedEcg
from worker.stream.ledger import MAX_SPAN, PartitionLedger
from worker.stream.limits import Limits
from worker.stream.preparation import PreparationFailed
from worker.stream.stop import Stop


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


def test_what_was_answered_before_the_engine_ends_is_committed() -> None:
    """Else records that end it each time would be read again each time, and nothing behind them."""

    def answers() -> bool:
        if len(engine.held) == 1:
            raise EngineError("5 times in a row")
        return True

    engine = LastInFirstOut(answers=answers)
    member = member_with(ASSIGNED, Polled(records(1, 3, 5)))
    with pytest.raises(EngineError):
        run(member, NEVER_DUE, engine)
    assert ids(member) == ["0-3", "0-5"]
    assert member.published[-1][1][TP].offset == 1


def test_an_end_by_the_engine_is_told_also_if_the_log_takes_nothing_any_more() -> None:
    def die() -> bool:
        raise EngineError("5 times in a row")

    member = member_with(ASSIGNED, Polled(records(1, 2)), failures=1)
    with pytest.raises(EngineError, match="5 times"):
        run(member, NEVER_DUE, LastInFirstOut(answers=die))
    assert (ids(member), member.rewinds) == ([], 1)


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


def test_a_pool_that_is_broken_ends_the_loop() -> None:
    class Broken(InstantPreparation):
        def submit(self, record: Record) -> Future[PreparedEcg | Rejection]:
            future: Future[PreparedEcg | Rejection] = Future()
            future.set_exception(PreparationFailed("no process stays alive"))
            return future

    with pytest.raises(PreparationFailed):
        run(member_with(ASSIGNED, Polled(records(1))), preparation=Broken())


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
