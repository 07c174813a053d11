"""Transactions that hold readers up, made on a broker that takes records into transactions nobody coordinates."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import TopicPartition

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.options import KafkaOptions
from adapters.open_log import open_log
from tests.kafka.broker import UNVERIFIED, Broker, BrokerUnavailable, running_broker, skip_or_fail
from tests.kafka.helpers import raw_producer, unique

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    try:
        with running_broker(UNVERIFIED) as running:
            yield running
    except BrokerUnavailable as error:
        skip_or_fail(str(error))


@pytest.fixture
def topic(broker: Broker) -> str:
    name = unique("findings")
    with closing(open_log(f"kafka://{broker.address}")) as log:
        log.create_topics({name: 2})
    return name


def stuck(broker: Broker, topic: str) -> tuple[str, ...]:
    with closing(KafkaInspection([broker.address], KafkaOptions())) as inspection:
        return inspection.stuck_transactions([topic])


def send_behind_the_coordinators_back(producer: Any, topic: str) -> None:
    producer.begin_transaction()
    producer._transaction_manager._partitions_in_transaction.add(TopicPartition(topic, 1))
    producer.send(topic, key=b"k", value=b"v", partition=1).get(10)


def test_a_topic_without_open_transactions_holds_nobody_up(broker: Broker, topic: str) -> None:
    assert stuck(broker, topic) == ()


def test_a_young_transaction_is_normal(broker: Broker, topic: str) -> None:
    producer = raw_producer(f"kafka://{broker.address}", unique("young"))
    producer.begin_transaction()
    producer.send(topic, key=b"k", value=b"v").get(10)
    assert stuck(broker, topic) == ()
    producer.commit_transaction()
    producer.close()


def test_a_transaction_that_its_coordinator_forgot_is_hanging(broker: Broker, topic: str) -> None:
    name = unique("forgotten")
    producer = raw_producer(f"kafka://{broker.address}", name)
    send_behind_the_coordinators_back(producer, topic)
    (on_progress,) = stuck(broker, topic)
    assert on_progress.startswith(f"{topic}/1 from offset 0 is undecided, hanging: transactional id {name}")
    producer.close()


def test_a_transaction_of_a_fenced_producer_is_named(broker: Broker, topic: str) -> None:
    name = unique("taken-over")
    zombie = raw_producer(f"kafka://{broker.address}", name)
    successor = raw_producer(f"kafka://{broker.address}", name)
    send_behind_the_coordinators_back(zombie, topic)
    (on_progress,) = stuck(broker, topic)
    assert f"fenced: transactional id {name}, epoch 0, was taken over by epoch 1" in on_progress
    for producer in (zombie, successor):
        producer.close()
