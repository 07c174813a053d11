"""Transactions that hold readers up, made on a broker that takes records into transactions nobody coordinates.

And topics that lose records, as the broker keeps them.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.options import MAX_RECORD_BYTES, KafkaOptions
from adapters.kafka.topic_configs import TopicReport
from adapters.log import LogError
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


def looked_at(broker: Broker, *topics: str) -> TopicReport:
    with closing(KafkaInspection([broker.address], KafkaOptions())) as inspection:
        return inspection.topics(dict.fromkeys(topics, 400.0))


def test_topics_that_were_made_here_keep_every_record(broker: Broker) -> None:
    name, missing = unique("inbound"), unique("missing")
    with closing(open_log(f"kafka://{broker.address}")) as log:
        log.create_topics({name: 2}, keep_days={name: 400.0})
    report = looked_at(broker, name, missing)
    assert (report.seen, report.faults) == ((name,), ())
    one_replica, forgotten = report.warnings
    assert one_replica.startswith(f"topic {name} has 1 replica: records may be lost with a broker; 3 are safe")
    assert forgotten.startswith("a group that nobody belonged to for 7 days is forgotten")


def test_a_topic_with_the_defaults_of_kafka_is_named_with_the_command_that_mends_it(broker: Broker) -> None:
    name = unique("inbound")
    with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
        configs = {"cleanup.policy": "compact,delete", "retention.bytes": "1000", "min.insync.replicas": "2"}
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1, "configs": configs}})
    (fault,) = looked_at(broker, name).faults
    said, _, command = fault.partition("; run: ")
    assert said == (
        f"topic {name} keeps records for 7 days, and 400 days are asked for, and keeps 1000 bytes of a partition, "
        "however young they are, and is compacted: of records with the same key only the last one stays, and takes "
        f"records of 1048588 bytes, and one may have {MAX_RECORD_BYTES}, and cannot be written: it has 1 replica, and "
        "2 have to be in sync"
    )
    head, mends = command.split(" --add-config ")
    where = f"--bootstrap-server {broker.address} --alter --entity-type topics --entity-name {name}"
    assert head == f"kafka-configs.sh {where}"
    with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:  # Kafka's tools are not among the jars
        admin.alter_configs([ConfigResource("topic", name, dict(mend.split("=") for mend in mends.split(",")))])
    assert looked_at(broker, name).faults == ()


def test_a_name_that_no_topic_can_have_is_said_with_what_can_be_done(broker: Broker) -> None:
    with closing(open_log(f"kafka://{broker.address}")) as log, pytest.raises(LogError) as refused:
        log.create_topics({"ecg inbound": 1})
    assert "InvalidTopicError; a topic's name is at most 249 letters" in str(refused.value)
