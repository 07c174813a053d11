"""STAT before routine, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.ecg import Priority
from worker.urgency import HEAD_START_S, UrgencyQueue, rank

PRIORITIES: tuple[Priority, ...] = ("stat", "asap", "routine")


def taken(line: UrgencyQueue[str]) -> list[str]:
    return [line.pop() for _ in range(len(line))]


def test_stat_overtakes_asap_and_asap_overtakes_routine() -> None:
    line = UrgencyQueue[str]()
    for at, priority in enumerate(("routine", "routine", "asap", "stat", "asap", "stat")):
        line.add(rank(at, priority), f"{priority} {at}")  # type: ignore[arg-type]
    assert taken(line) == ["stat 3", "stat 5", "asap 2", "asap 4", "routine 0", "routine 1"]


def test_equal_ranks_leave_in_the_order_of_coming() -> None:
    line = UrgencyQueue[str]()
    for name in "abc":
        line.add(1.0, name)
    assert (line.peek(), line.peek_rank()) == ("a", 1.0)
    assert taken(line) == ["a", "b", "c"]


def test_a_routine_record_that_waited_for_long_is_overtaken_no_more() -> None:
    line = UrgencyQueue[str]()
    line.add(rank(0.0, "routine"), "old")
    line.add(rank(HEAD_START_S["stat"] + 1, "stat"), "new")
    assert taken(line) == ["old", "new"]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(PRIORITIES)), max_size=60))
def test_whoever_is_overtaken_is_overtaken_by_the_head_start_at_most(waiting: list[tuple[float, Priority]]) -> None:
    line = UrgencyQueue[tuple[float, Priority]]()
    for read_at, priority in waiting:
        line.add(rank(read_at, priority), (read_at, priority))
    order = [line.pop() for _ in range(len(line))]
    for first, (earlier_at, _) in enumerate(order):
        for later_at, later in order[first + 1 :]:
            assert later_at >= earlier_at - HEAD_START_S["stat"]
            if later == "stat":
                assert (
                    later_at >= earlier_at or order[first][1] == "stat" or HEAD_START_S["stat"] <= earlier_at - later_at
                )


def test_what_is_unwanted_leaves_and_the_rest_keeps_its_order() -> None:
    line = UrgencyQueue[int]()
    for number in (5, 3, 8, 1, 9):
        line.add(float(number), number)
    assert sorted(line.remove_if(lambda number: number > 5)) == [8, 9]
    assert [line.pop() for _ in range(len(line))] == [1, 3, 5]
