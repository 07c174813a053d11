"""A group's positions count only for one who has all partitions to itself."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.deadline import Deadline
from adapters.log import LogError, Message, Polled, Position, PublishFailed, TopicPartition
from adapters.sqlite.log import SqliteLog
from worker.stream.group_position import ExclusiveMember, ReadOnlyPosition
from worker.stream.session import JOIN_S

ZERO, ONE = TopicPartition("ecg.rejections", 0), TopicPartition("ecg.rejections", 1)
BOTH = (ZERO, ONE)
MESSAGES = (Message("ecg.inbound", b"k", b"v"),)
STANDS = Position(7, "note")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A member whose polls bring what the script says and then nothing; each takes as long as it may."""

    def __init__(self, clock: Clock, *script: Polled) -> None:
        self.clock = clock
        self.script = list(script)
        self.polls: list[tuple[float, int]] = []
        self.paused: list[frozenset[TopicPartition]] = []
        self.rewound = 0
        self.published: list[tuple[tuple[Message, ...], dict[TopicPartition, Position]]] = []

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        self.polls.append((timeout_s, max_records))
        self.clock.now += timeout_s
        return self.script.pop(0) if self.script else Polled()

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused.append(partitions)

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        raise AssertionError("records are read by other means")

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        self.published.append((tuple(messages), dict(positions)))

    def rewind(self) -> None:
        self.rewound += 1

    def behind(self) -> Mapping[TopicPartition, int]:
        return {}

    def close(self, deadline: Deadline | None = None) -> None:
        pass


def assigned(*partitions: TopicPartition, at: Position | None = STANDS) -> Polled:
    return Polled(assigned=dict.fromkeys(partitions, at))


def revoked(*partitions: TopicPartition) -> Polled:
    return Polled(revoked=frozenset(partitions))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_positions_are_those_of_all_partitions_from_the_last_rewind_on(clock: Clock) -> None:
    member = Scripted(clock, assigned(ZERO), assigned(ONE, at=None))
    assert ExclusiveMember(member, BOTH, clock).positions() == {ZERO: STANDS, ONE: None}
    assert member.rewound == 1


def test_one_poll_more_than_brought_the_last_partition_is_needed_before_anything_may_be_published(clock: Clock) -> None:
    member = Scripted(clock, assigned(*BOTH))
    ExclusiveMember(member, BOTH, clock).positions()
    assert len(member.polls) == 2


def test_no_record_is_taken_into_hand(clock: Clock) -> None:
    member = Scripted(clock, assigned(ZERO), assigned(ONE))
    ExclusiveMember(member, BOTH, clock).positions()
    assert frozenset.union(*member.paused) == set(BOTH)
    assert {count for _, count in member.polls} == {1}


def test_a_partition_that_is_taken_away_before_all_are_here_is_waited_for_again(clock: Clock) -> None:
    later = Position(9)
    member = Scripted(clock, assigned(*BOTH), revoked(ZERO), Polled(), assigned(ZERO, at=later))
    assert ExclusiveMember(member, BOTH, clock).positions() == {ZERO: later, ONE: STANDS}
    assert len(member.polls) == 5


def test_a_partition_taken_and_given_back_in_one_poll_has_its_new_position(clock: Clock) -> None:
    back = Polled(revoked=frozenset({ZERO}), assigned={ZERO: Position(9)})
    member = Scripted(clock, assigned(*BOTH), back)
    assert ExclusiveMember(member, BOTH, clock).positions() == {ZERO: Position(9), ONE: STANDS}
    assert len(member.polls) == 3


def test_a_partition_that_is_given_once_more_has_its_newest_position_and_is_waited_for(clock: Clock) -> None:
    member = Scripted(clock, assigned(*BOTH), assigned(ZERO, at=Position(9)))
    assert ExclusiveMember(member, BOTH, clock).positions() == {ZERO: Position(9), ONE: STANDS}
    assert len(member.polls) == 3


def test_a_group_that_another_one_shares_is_given_up_after_the_time_to_join(clock: Clock) -> None:
    member = Scripted(clock, assigned(ZERO))
    began = clock.now
    with pytest.raises(LogError, match="another process has part of this group"):
        ExclusiveMember(member, BOTH, clock).positions()
    assert JOIN_S <= clock.now - began < JOIN_S + 1


def test_partitions_that_come_at_the_last_moment_are_in_time(clock: Clock) -> None:
    idle_polls = round(JOIN_S / 0.2) - 3
    member = Scripted(clock, *[Polled()] * idle_polls, assigned(*BOTH))
    assert ExclusiveMember(member, BOTH, clock).positions() == dict.fromkeys(BOTH, STANDS)


@pytest.mark.parametrize(("after_s", "polls"), [(0.99, 0), (1.0, 1), (5.0, 1)])
def test_a_member_is_kept_by_a_poll_a_second_and_no_more(clock: Clock, after_s: float, polls: int) -> None:
    member = Scripted(clock)
    sole = ExclusiveMember(member, BOTH, clock)
    clock.now += after_s
    for _ in range(3):
        sole.heartbeat()
    assert member.polls == [(0.0, 1)] * polls


def test_the_poll_of_the_positions_counts_as_one(clock: Clock) -> None:
    member = Scripted(clock, assigned(*BOTH))
    sole = ExclusiveMember(member, BOTH, clock)
    clock.now += 10
    sole.positions()
    before = len(member.polls)
    sole.heartbeat()
    assert len(member.polls) == before


@pytest.mark.parametrize("change", [revoked(ZERO), assigned(ZERO)], ids=["taken", "given"])
def test_a_partition_that_changes_hands_while_it_is_kept_is_an_error(clock: Clock, change: Polled) -> None:
    sole = ExclusiveMember(Scripted(clock, change), BOTH, clock)
    sole.heartbeat()
    clock.now += 1.0
    with pytest.raises(PublishFailed, match="changed hands"):
        sole.heartbeat()


def test_messages_and_positions_are_published_together(clock: Clock) -> None:
    member = Scripted(clock)
    ExclusiveMember(member, BOTH, clock).commit(MESSAGES, {ZERO: Position(8)})
    assert member.published == [(MESSAGES, {ZERO: Position(8)})]


def test_an_onlooker_sees_where_the_group_stands_and_moves_nothing(tmp_path: Path) -> None:
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.create_topics({ZERO.topic: 2, "ecg.inbound": 1})
        with closing(log.join("g", [ZERO.topic], "m")) as member:
            while not member.poll(0.01, 1).assigned:
                pass
            member.poll(0.01, 1)
            member.publish([], {ZERO: STANDS})
            onlooker = ReadOnlyPosition(log, "g", BOTH)
            assert onlooker.positions() == {ZERO: STANDS, ONE: None}
            onlooker.commit(MESSAGES, {ZERO: Position(8)})
            onlooker.heartbeat()
            assert onlooker.positions() == {ZERO: STANDS, ONE: None}
        assert log.bounds(TopicPartition("ecg.inbound", 0)) == (0, 0)
        assert ReadOnlyPosition(log, "other", BOTH).positions() == {ZERO: None, ONE: None}
