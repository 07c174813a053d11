"""Which open transactions are wrong, and which are only young; what a group has left unread on topics not its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from adapters.kafka import inspection
from adapters.kafka.inspection import GRACE_S, Coordinated, KafkaInspection, Suspicion, suspicion
from adapters.kafka.options import KafkaOptions
from adapters.log import LogError, TopicPartition

Looking = Callable[["Cluster"], KafkaInspection]

NOW_S = 1_000_000.0
STAT, DRILL, OWN = "ecg.inbound.stat", "ecg.inbound.drill", "ecg.inbound"


@dataclass
class Cluster:
    """An admin client's cluster: offsets that each partition of a topic holds, and where the group stands."""

    held: Mapping[str, list[range]]
    at: Mapping[tuple[str, int], int] = field(default_factory=dict)
    refused: Mapping[str, type[KafkaError]] = field(default_factory=dict)

    def list_group_offsets(self, groups: Mapping[str, None]) -> dict[str, dict[Any, Any]]:
        (group,) = groups
        if group in self.refused:
            raise self.refused[group]
        return {group: {KafkaTopicPartition(*name): SimpleNamespace(offset=at) for name, at in self.at.items()}}

    def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        return [self._described(topic) for topic in topics]

    def _described(self, topic: str) -> dict[str, Any]:
        error = self.refused.get(topic, NoError if topic in self.held else UnknownTopicOrPartitionError)
        partitions = [{"partition_index": number} for number in range(len(self.held.get(topic, [])))]
        return {"name": topic, "error_code": error.errno, "partitions": partitions}

    def list_partition_offsets(self, wanted: Mapping[Any, OffsetSpec], isolation_level: str) -> dict[Any, Any]:
        found = {name: self.held[name.topic][name.partition] for name in wanted}
        return {
            name: SimpleNamespace(offset=held.start if wanted[name] == OffsetSpec.EARLIEST else held.stop)
            for name, held in found.items()
        }


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    def at(cluster: Cluster) -> KafkaInspection:
        monkeypatch.setattr(inspection, "connect_first", lambda *_: cluster)
        return KafkaInspection(["localhost:9092"], KafkaOptions())

    return at


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


def test_what_a_group_left_unread_on_other_topics_is_told_by_partition(looking: Looking) -> None:
    cluster = Cluster(
        {STAT: [range(5), range(10), range(4, 9), range(7)], OWN: [range(100)]},
        {(STAT, 0): 5, (STAT, 1): 7, (STAT, 2): 1, (STAT, 3): -1, (OWN, 0): 3},
    )
    # Partition 0 is read to its end, 2 has lost records before they were read, and 3 has no position.
    unread = {TopicPartition(STAT, 1): range(7, 10), TopicPartition(STAT, 2): range(4, 9)}
    assert looking(cluster).unread_elsewhere("group", [OWN]) == unread
    assert looking(cluster).unread_elsewhere("group", [STAT, OWN]) == {}


def test_a_group_without_positions_has_left_nothing(looking: Looking) -> None:
    assert looking(Cluster({STAT: [range(5)]})).unread_elsewhere("group", [OWN]) == {}


@pytest.mark.parametrize(
    "refused", [{"group": GroupAuthorizationFailedError}, {STAT: TopicAuthorizationFailedError}], ids=["group", "topic"]
)
def test_of_what_we_may_not_see_nothing_is_said(looking: Looking, refused: dict[str, type[KafkaError]]) -> None:
    at = {(STAT, 0): 1}
    assert looking(Cluster({STAT: [range(5)]}, at)).unread_elsewhere("group", [OWN]) != {}
    assert looking(Cluster({STAT: [range(5)]}, at, refused)).unread_elsewhere("group", [OWN]) == {}


def test_positions_on_a_topic_that_was_deleted_keep_nobody_from_seeing_the_others(looking: Looking) -> None:
    cluster = Cluster({STAT: [range(5)]}, {(DRILL, 0): 1, (STAT, 0): 4})
    assert looking(cluster).unread_elsewhere("group", [OWN]) == {TopicPartition(STAT, 0): range(4, 5)}


def test_a_topic_that_is_missing_holds_no_transaction(looking: Looking) -> None:
    """That it is missing another line says."""
    assert looking(Cluster({OWN: [range(5)]})).stuck_transactions([STAT, OWN]) == ()


def test_transactions_of_a_topic_that_we_may_not_see_are_no_good_news(looking: Looking) -> None:
    with pytest.raises(LogError, match=f"grant Describe on topic {STAT}"):
        looking(Cluster({}, {}, {STAT: TopicAuthorizationFailedError})).stuck_transactions([STAT])
