"""What is said of a topic that was made, where the brokers say less than they may."""

import pytest

from adapters.kafka.log import _created
from adapters.log import CreatedTopic


@pytest.mark.parametrize(
    ("answer", "asked", "replicas"),
    [
        ({"num_partitions": 6, "replication_factor": 3}, None, 3),  # the cluster's default, to whom may know it
        ({"num_partitions": -1, "replication_factor": -1}, 3, 3),  # no right to DescribeConfigs
        ({"num_partitions": -1, "replication_factor": -1}, None, None),
        ({}, 2, 2),
    ],
)
def test_a_topic_was_made_as_it_was_asked_for(answer: dict[str, int], asked: int | None, replicas: int | None) -> None:
    made = _created({"name": "ecg.inbound", **answer}, 6, asked)
    assert made == CreatedTopic("ecg.inbound", 6, replicas)
