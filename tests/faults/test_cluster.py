"""When the cluster can serve: the seconds until the next result count from there."""

from typing import Any

import pytest

from tests.faults.cluster import takes_writes


def partition(leader: int, in_sync: list[int]) -> dict[str, Any]:
    return {"leader_id": leader, "isr_nodes": in_sync, "replica_nodes": [1, 2, 3]}


@pytest.mark.parametrize(
    ("leader", "in_sync", "takes"),
    [
        (1, [1, 2], True),
        (-1, [1, 2], False),
        (3, [1, 2, 3], False),  # the leader is the dead one
        (1, [1, 2, 3], False),  # the dead one leads nothing, but every write waits for it
        (1, [1], False),
    ],
)
def test_a_partition_takes_writes_once_no_dead_broker_counts(leader: int, in_sync: list[int], takes: bool) -> None:
    assert takes_writes(partition(leader, in_sync), down={3}, replicas=2) == takes


def test_all_replicas_may_be_asked_for() -> None:
    assert not takes_writes(partition(1, [1, 2]), down=set(), replicas=3)
    assert takes_writes(partition(1, [1, 2, 3]), down=set(), replicas=3)
