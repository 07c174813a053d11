"""Pauses between tries."""

from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.retry import RetryPolicy


@given(st.text(), st.integers(1, 10_000))
def test_pauses_double_up_to_a_bound_and_differ_between_messages(name: str, failures: int) -> None:
    retry = RetryPolicy(backoff_s=1, longest_pause_s=30)
    full_s = min(30, 2 ** min(failures - 1, 10))
    assert full_s / 2 <= retry.pause_s(name, failures) <= full_s
    assert retry.pause_s(name, failures) == retry.pause_s(name, failures)
    assert len({retry.pause_s(f"{name}{other}", failures) for other in range(20)}) > 10


def test_a_single_send_is_suspect_at_once_and_of_more_one_is_kept() -> None:
    assert [RetryPolicy(max_sends=sends).suspect_after for sends in (1, 2, 5)] == [1, 1, 4]
