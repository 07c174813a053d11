"""A call is held to its deadline."""

import threading

import pytest

from adapters.deadline import Deadline, within


def test_the_result_of_a_call_in_time_is_returned() -> None:
    assert within(Deadline(10), "quick", lambda: 42) == 42


def test_the_error_of_a_call_in_time_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        within(Deadline(10), "failing", fail)


def test_a_call_that_does_not_end_is_given_up() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        within(Deadline(0.01), "hanging", release.wait)
    release.set()


def test_time_left_is_never_negative() -> None:
    assert Deadline(-1).remaining_s == 0
    assert Deadline(-1).expired
    assert not Deadline(60).expired
