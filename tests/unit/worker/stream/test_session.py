"""A session with a work that does as little as possible: leases, transactions, endings."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from adapters.log import Fenced, Message, Polled, Position, Record, TopicPartition
from tests.support.scripted import Clock, ScriptedMember, at_once, idle
from worker.operations.health import LoopProgress
from worker.stream.session import JOIN_S, LEAVE_S, Batch, Lease, Session
from worker.stream.stall import StallDetector, Stalled
from worker.stream.stop import Stop

TP, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)
ASSIGNED = Polled(assigned={TP: None})


def records(*offsets: int, partition: int = 0) -> Polled:
    return Polled(tuple(Record("t", partition, offset, None, None, b"x") for offset in offsets))


class Echo:
    """Publishes each record it is given, as soon as it may."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.in_hand: list[tuple[Record, Lease]] = []
        self.handed_over: list[tuple[Record, Lease]] = []
        self.preparing_since: float | None = None
        self.may_begin: list[bool] = []
        self.lost: list[frozenset[TopicPartition]] = []
        self.gone: list[tuple[TopicPartition, range]] = []
        self.may_rest = True

    @property
    def held(self) -> int:
        return len(self.in_hand)

    @property
    def results(self) -> int:
        return len(self.in_hand)

    @property
    def busy(self) -> bool:
        return bool(self.in_hand)

    def room(self) -> int:
        return 100 - len(self.in_hand)

    def full(self) -> Collection[TopicPartition]:
        return ()

    def assigned(self, leases: Collection[Lease], lost: Collection[TopicPartition]) -> None:
        self.lost.append(frozenset(lost))

    def drop_stale(self) -> None:
        assert self.session is not None
        self.in_hand = [item for item in self.in_hand if self.session.still_ours(item[1])]

    def take(self, record: Record, lease: Lease) -> None:
        self.in_hand.append((record, lease))

    def lose(self, offsets: range, lease: Lease) -> None:
        self.gone.append((lease.partition, offsets))

    def advance(self, *, may_begin: bool) -> None:
        self.may_begin.append(may_begin)

    def next_batch(self, *, at_once: bool) -> Batch | None:
        if not self.in_hand:
            return None
        self.handed_over, self.in_hand = self.in_hand, []
        messages = [Message("out", None, str(record.offset).encode()) for record, _ in self.handed_over]
        last = {record.topic_partition: Position(record.offset + 1) for record, _ in self.handed_over}
        return Batch(len(messages), messages, last)

    def committed(self) -> None:
        self.handed_over = []

    def not_committed(self) -> None:
        self.handed_over = []

    def at_rest(self, *, drain_queue: bool) -> bool:
        return self.may_rest and not self.in_hand

    def report(self, progress: LoopProgress) -> None:
        progress.in_flight = self.held


def run(
    member: ScriptedMember,
    work: Echo | None = None,
    *,
    stop: Stop | None = None,
    idle_exit_s: float | None = 600.0,
    stuck_s: float = 300.0,
    in_background: Callable[[str, Callable[[], Any]], Future[Any]] = at_once,
) -> Session:
    work = work or Echo()
    session = Session(member, StallDetector(stuck_s, member.clock), clock=member.clock, in_background=in_background)
    work.session = session
    session.run(work, stop or Stop(60), idle_exit_s)
    return session


def member_with(*script: Polled | Callable[[], object], failures: int = 0) -> ScriptedMember:
    return ScriptedMember(Clock(), *script, failures=failures)


def values(member: ScriptedMember) -> list[int]:
    return [int(message.value) for message in member.messages]


def test_results_and_positions_go_into_one_transaction() -> None:
    member = member_with(ASSIGNED, records(0, 1, 2))
    session = run(member)
    assert values(member) == [0, 1, 2]
    assert member.published[-1][1] == {TP: Position(3)}
    assert session.progress.committed == 3


def test_a_record_of_a_partition_that_is_not_ours_is_not_taken() -> None:
    member = member_with(ASSIGNED, records(4, partition=1))
    run(member)
    assert values(member) == []


def test_a_partition_that_comes_back_is_another_lease() -> None:
    member = member_with(ASSIGNED, records(0), Polled(revoked=frozenset({TP}), assigned={TP: Position(7)}))
    work = Echo()
    leases: list[Lease] = []
    take = work.take

    def keep(record: Record, lease: Lease) -> None:
        leases.append(lease)
        take(record, lease)

    work.take = keep  # type: ignore[method-assign] # looks on
    session = run(member, work)
    assert not session.still_ours(leases[0])
    assert session.leases[TP].next == 7
    assert work.lost == [frozenset(), frozenset()], "it was ours before and after"


def test_a_partition_that_went_to_others_is_named_as_lost() -> None:
    work = Echo()
    run(member_with(Polled(assigned={TP: None, OTHER: None}), Polled(revoked=frozenset({OTHER}))), work)
    assert work.lost == [frozenset(), frozenset({OTHER})]


def test_a_failed_transaction_begins_again_from_the_committed_positions() -> None:
    member = member_with(ASSIGNED, records(1, 2), failures=1)
    member.on_rewind = [Polled(revoked=frozenset({TP}), assigned={TP: Position(1)}), records(1, 2)]
    session = run(member)
    assert (member.rewinds, values(member), session.progress.committed) == (1, [1, 2], 2)


def test_a_transaction_that_has_not_begun_is_taken_back_when_partitions_change_hands() -> None:
    begun: list[str] = []

    def late(name: str, call: Callable[[], Any]) -> Future[Any]:
        """Never comes to its first call."""
        begun.append(name)
        return Future() if len(begun) == 1 else at_once(name, call)

    member = member_with(ASSIGNED, records(2), *idle(2), Polled(revoked=frozenset({TP})))
    member.on_rewind = [Polled(assigned={TP: None}), records(2)]
    run(member, in_background=late)
    assert member.rewinds == 1
    assert values(member) == [2]


def test_a_transaction_that_is_under_way_is_waited_for_when_partitions_change_hands() -> None:
    under_way: Future[float] = Future()
    under_way.set_running_or_notify_cancel()
    member = member_with(
        ASSIGNED, records(2), *idle(2), Polled(revoked=frozenset({TP})), lambda: under_way.set_result(0.1)
    )
    session = run(member, in_background=lambda name, call: under_way)
    assert member.rewinds == 0
    assert session.progress.committed == 1


def test_a_fenced_member_ends_the_session() -> None:
    def fenced(name: str, call: Callable[[], Any]) -> Future[Any]:
        outcome: Future[Any] = Future()
        outcome.set_exception(Fenced("another process has this name"))
        return outcome

    with pytest.raises(Fenced):
        run(member_with(ASSIGNED, records(2)), in_background=fenced)


def test_it_ends_when_nothing_came_for_long_enough_and_not_before() -> None:
    member = member_with(ASSIGNED, records(1), *idle(20), records(2))  # idle polls are 0.2 s each
    run(member, idle_exit_s=5.0)
    assert values(member) == [1, 2]
    member = member_with(ASSIGNED, records(1), *idle(30), records(2))
    run(member, idle_exit_s=5.0)
    assert values(member) == [1]


def test_without_partitions_it_waits_as_long_as_a_group_may_take_to_hand_them_out() -> None:
    member = member_with()
    began = member.clock.now
    run(member, idle_exit_s=1.0)
    assert JOIN_S < member.clock.now - began <= JOIN_S + 1.5


def test_a_stop_begins_nothing_and_publishes_what_is_there() -> None:
    stop, work = Stop(60), Echo()
    run(member_with(ASSIGNED, records(1), stop.set), work, stop=stop, idle_exit_s=None)
    assert work.may_begin[-1] is False
    assert all(work.may_begin[:-1])


def test_a_stop_ends_in_time_though_the_work_does_not() -> None:
    stop, work = Stop(LEAVE_S), Echo()
    work.may_rest = False
    run(member_with(ASSIGNED, stop.set), work, stop=stop, idle_exit_s=None)
    assert stop.deadline.remaining_s <= LEAVE_S


def test_a_stop_waits_for_the_transaction_that_is_under_way() -> None:
    stop = Stop(60)
    under_way: Future[float] = Future()
    member = member_with(ASSIGNED, records(1), stop.set, *idle(50), lambda: under_way.set_result(0.1))
    session = run(member, stop=stop, idle_exit_s=None, in_background=lambda name, call: under_way)
    assert session.progress.committed == 1


def test_a_partition_that_stands_still_ends_the_session() -> None:
    member = member_with(ASSIGNED)
    member.left_to_read = {TP: 9}
    with pytest.raises(Stalled, match="t/0 brings no records"):
        run(member, idle_exit_s=None, stuck_s=60.0)


def test_a_transaction_that_never_ends_ends_the_session() -> None:
    with pytest.raises(Stalled, match="nothing is committed"):
        run(member_with(ASSIGNED, records(1)), stuck_s=60.0, in_background=lambda name, call: Future())


def test_a_record_that_stays_in_preparation_ends_the_session() -> None:
    member, work = member_with(ASSIGNED), Echo()
    work.preparing_since = member.clock.now
    with pytest.raises(Stalled, match="being prepared"):
        run(member, work, idle_exit_s=None, stuck_s=60.0)


def test_progress_tells_how_far_it_is() -> None:
    stop = Stop(60)
    seen: list[tuple[int, bool]] = []
    member = member_with(ASSIGNED, records(1, 2))
    work = Echo()

    def look() -> None:
        assert work.session is not None
        progress = work.session.progress
        seen.append((progress.assigned_partitions, progress.draining))

    member.script.append(look)
    member.script.append(stop.set)
    session = run(member, work, stop=stop, idle_exit_s=None)
    assert seen == [(1, False)]
    assert REGISTRY.get_sample_value("ecg_assigned_partitions") == 1
    assert session.progress.draining
    assert session.progress.turned_at == member.clock.now


def test_a_lease_knows_what_is_to_be_read_next() -> None:
    session = run(member_with(ASSIGNED, records(0, 1, 2)), Echo())
    assert session.leases[TP].next == 3


def test_records_that_a_log_brings_again_under_one_lease_are_passed_by() -> None:
    """They would have two results. Under another lease they are new: its owner does not know what came of them."""
    again = replace(records(5, 6, 7), gone={TP: range(4, 6)})
    moved = Polled(revoked=frozenset({TP}), assigned={TP: Position(5)})
    member, work = member_with(ASSIGNED, records(5, 6), again, moved, records(5)), Echo()
    run(member, work)
    assert [message.value for message in member.messages] == [b"5", b"6", b"7", b"5"]
    assert work.gone == []


def test_a_partition_that_is_paused_is_not_taken_for_one_that_stands_still() -> None:
    member, work, stop = member_with(ASSIGNED, *idle(3000)), Echo(), Stop(60)
    member.script.append(stop.set)
    work.room = lambda: 0  # type: ignore[method-assign] # full
    member.left_to_read = {TP: 9}
    session = run(member, work, stop=stop, idle_exit_s=None, stuck_s=60.0)
    assert member.paused == {TP}
    assert session.progress.turned_at > 1000 + 60


def test_what_the_log_no_longer_holds_is_handed_to_the_work_and_read_past() -> None:
    work = Echo()
    script = [ASSIGNED, Polled(gone={TP: range(50), OTHER: range(3)}), records(50)]
    session = run(member_with(*script), work)
    assert work.gone == [(TP, range(50))], "of a partition that is not ours nothing is said"
    assert session.leases[TP].next == 51


def test_a_topic_that_was_made_again_is_counted_and_read_from_its_first_record() -> None:
    before = REGISTRY.get_sample_value("ecg_partitions_remade_total") or 0.0
    remade = Polled(revoked=frozenset({TP}), assigned={TP: None}, remade=frozenset({TP}))
    session = run(member_with(Polled(assigned={TP: Position(7)}), records(7), remade, records(0)))
    assert session.leases[TP].next == 1
    assert (REGISTRY.get_sample_value("ecg_partitions_remade_total") or 0.0) - before == 1
