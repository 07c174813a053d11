"""What is read and begun first, and how much is read ahead."""

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.log import Polled, Position, TopicPartition
from tests.support.running import (
    ASSIGNED,
    OTHER,
    QUICK,
    STAT_TOPIC,
    TP,
    LastInFirstOut,
    ids,
    member_with,
    of_the_stat_topic,
    records,
    run,
    sample,
    stale_records,
    stat,
)
from tests.support.scripted import idle
from worker.stream.limits import Limits
from worker.stream.stop import Stop


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
    ("limits", "content", "read"),
    [
        (replace(QUICK, read_ahead=4), {"value": b"x" * 600}, 4),
        (replace(QUICK, read_ahead_bytes=1000), {"value": b"x" * 600}, 2),
        (replace(QUICK, read_ahead_bytes=1000), {"key": b"x" * 600}, 2),
        (replace(QUICK, read_ahead_bytes=1000), {"headers": (("x", b"x" * 500),)}, 2),
    ],
)
def test_what_is_read_ahead_is_bounded_in_records_and_in_bytes(limits: Limits, content: Any, read: int) -> None:
    stop = Stop(0)
    big = [Polled(tuple(replace(record, **content) for record in records(i))) for i in range(1, 21, 2)]
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
