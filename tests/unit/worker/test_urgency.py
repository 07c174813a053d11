"""STAT before routine, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.ecg import Priority
from worker import urgency
from worker.urgency import HEAD_START_S, TwoLanes, Urgency, UrgencyQueue

PRIORITIES: tuple[Priority, ...] = ("stat", "asap", "routine")


def rank(read_at_s: float, priority: Priority) -> float:
    return urgency.rank(read_at_s, Urgency(priority, HEAD_START_S[priority]))


def taken(line: UrgencyQueue[str]) -> list[str]:
    return [line.pop() for _ in range(len(line))]


def test_stat_overtakes_asap_and_asap_overtakes_routine() -> None:
    line = UrgencyQueue[str]()
    priorities: tuple[Priority, ...] = ("routine", "routine", "asap", "stat", "asap", "stat")
    for at, priority in enumerate(priorities):
        line.add(rank(at, priority), f"{priority} {at}")
    assert taken(line) == ["stat 3", "stat 5", "asap 2", "asap 4", "routine 0", "routine 1"]


def test_equal_ranks_leave_in_the_order_of_coming() -> None:
    line = UrgencyQueue[str]()
    for name in "abc":
        line.add(1.0, name)
    assert line.peek() == "a"
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


def two_lanes(waited_for: int, others: int, share: float = 0.25) -> TwoLanes[str]:
    lanes = TwoLanes[str](share)
    for number in range(waited_for):
        lanes.add(100.0 + number, f"stat {number}", waited_for=True)
    for number in range(others):
        lanes.add(1000.0 + number, f"other {number}", waited_for=False)
    return lanes


def drained(lanes: TwoLanes[str]) -> list[str]:
    return [item[0] for item in iter(lanes.pop, None)]


def test_who_is_waited_for_goes_first_and_the_others_have_their_share() -> None:
    order = drained(two_lanes(9, 5))
    assert order[:4] == ["stat 0", "stat 1", "stat 2", "other 0"]
    assert order[4:8] == ["stat 3", "stat 4", "stat 5", "other 1"]
    assert order[-2:] == ["other 3", "other 4"]
    assert len(order) == 14


def test_the_share_is_said_and_is_owed_only_while_both_wait() -> None:
    lanes = two_lanes(0, 10)
    assert all(lanes.pop() == (f"other {number}", False) for number in range(10))
    lanes.add(1.0, "stat", waited_for=True)
    lanes.add(2.0, "other", waited_for=False)
    assert lanes.pop() == ("stat", False)
    half = TwoLanes[str](1.0)
    half.add(1.0, "stat", waited_for=True)
    half.add(2.0, "other", waited_for=False)
    assert half.pop() == ("other", True)


def test_what_has_waited_for_hours_has_its_share_and_no_more() -> None:
    lanes = two_lanes(4, 0)
    for number in range(3):
        lanes.add(-10_000.0 + number, f"patient {number}", waited_for=False)
    assert drained(lanes) == ["stat 0", "stat 1", "stat 2", "patient 0", "stat 3", "patient 1", "patient 2"]


def test_the_others_can_be_left_waiting() -> None:
    lanes = two_lanes(1, 2)
    assert lanes.pop(others_too=False) == ("stat 0", False)
    assert lanes.pop(others_too=False) is None
    assert len(lanes) == 2
    assert lanes.remove_if(lambda name: name == "other 0") == ["other 0"]
    assert drained(lanes) == ["other 1"]


def test_the_whole_record_can_only_make_it_more_urgent() -> None:
    routine = Urgency()
    assert routine.at_least("stat") == Urgency("stat", 900.0, waited_for=True)
    assert routine.at_least("asap") == Urgency("asap", 60.0)
    fresh = Urgency("routine", 300.0)
    assert fresh.at_least("asap") == Urgency("asap", 360.0)
    assert Urgency("stat", 900.0, waited_for=True).at_least("routine") == Urgency("stat", 900.0, waited_for=True)
    backfill = Urgency("routine", -86_400.0)
    assert backfill.at_least("stat") is backfill


def test_what_is_promoted_waits_as_if_it_were_stat() -> None:
    assert Urgency("asap", 60.0).promoted() == Urgency("asap", 900.0)
    assert Urgency("stat", 2700.0, waited_for=True).promoted() == Urgency("stat", 2700.0, waited_for=True)
