"""Which open transactions are wrong, and which are only young."""

import pytest

from adapters.kafka.inspection import GRACE_S, Coordinated, Suspicion, suspicion

NOW_S = 1_000_000.0


def known(state: str = "Ongoing", epoch: int = 3, age_s: float = 1.0) -> Coordinated:
    return Coordinated("ecg-r1-worker-a", state, epoch, NOW_S - age_s, timeout_s=30.0)


@pytest.mark.parametrize(
    ("coordinated", "said"),
    [
        (known(epoch=4), "fenced: transactional id ecg-r1-worker-a, epoch 3, was taken over by epoch 4"),
        (known("CompleteAbort"), "hanging: transactional id ecg-r1-worker-a, over for its coordinator (CompleteAbort)"),
        (known("Empty"), "hanging"),
        (known(age_s=31 + GRACE_S), "overdue: transactional id ecg-r1-worker-a, Ongoing for 46 s; 30 s are allowed"),
        (known("PrepareCommit", age_s=600), "overdue: transactional id ecg-r1-worker-a, PrepareCommit for 600 s"),
    ],
)
def test_what_will_not_end_soon_is_named(coordinated: Coordinated, said: str) -> None:
    found = suspicion(7, 3, coordinated, NOW_S)
    assert found is not None
    assert found.certain
    assert said in found.text


@pytest.mark.parametrize("coordinated", [known(), known(age_s=29), known("PrepareCommit"), known(epoch=2)])
def test_a_transaction_within_its_time_is_none_of_our_business(coordinated: Coordinated) -> None:
    assert suspicion(7, 3, coordinated, NOW_S) is None


def test_a_producer_that_nobody_names_is_watched_for_longer() -> None:
    found = suspicion(7, 3, None, NOW_S)
    assert isinstance(found, Suspicion)
    assert not found.certain
    assert "producer 7" in found.text
