"""The patches of the client library: what a consumer does with them, and that it still needs them."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaTimeoutError

from adapters.kafka.patches import ask_anew_for_committed_positions, bring_back_parked_records
from adapters.log import Message
from adapters.open_log import open_log
from tests.kafka.helpers import unique, wait_for

pytestmark = pytest.mark.kafka


@pytest.fixture
def two_full_partitions(kafka_url: str) -> Iterator[tuple[Any, TopicPartition, TopicPartition]]:
    """A consumer of two partitions with ten records each."""
    topic = unique("inbound")
    with closing(open_log(kafka_url)) as log:
        log.create_topics({topic: 2})
        keys = {partition: key for key in (b"%d" % n for n in range(50)) for partition in [_partition(log, topic, key)]}
        assert len(keys) == 2
        log.append([Message(topic, key, b"v") for key in keys.values() for _ in range(9)])
    with closing(KafkaConsumer(bootstrap_servers=kafka_url.removeprefix("kafka://"))) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(2)]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        yield consumer, partitions[0], partitions[1]


def _partition(log: Any, topic: str, key: bytes) -> int:
    ((place, _),) = log.append([Message(topic, key, b"v")])
    number: int = place.partition
    return number


@pytest.mark.parametrize("patched", [True, False])
def test_a_partition_that_was_paused_in_the_middle_of_its_records_brings_the_rest(
    two_full_partitions: tuple[Any, TopicPartition, TopicPartition], patched: bool
) -> None:
    consumer = two_full_partitions[0]
    if patched:
        bring_back_parked_records(consumer)
    got: dict[TopicPartition, int] = {}

    def poll(most: int) -> bool:
        got.update({partition: len(records) for partition, records in consumer.poll(200, max_records=most).items()})
        return bool(got)

    wait_for(lambda: poll(1))
    (paused,) = got
    (other,) = {*two_full_partitions[1:]} - {paused}
    end = consumer.end_offsets([paused, other])
    consumer.pause(paused)
    wait_for(lambda: poll(100) and consumer.position(other) == end[other])
    consumer.resume(paused)
    for _ in range(10):
        poll(100)
    # Once the library's own consumer brings them all, its bug is fixed and `bring_back_parked_records` can go.
    assert (consumer.position(paused) == end[paused]) == patched


@pytest.mark.parametrize("patched", [True, False])
def test_a_committed_position_is_the_answer_to_this_question(
    two_full_partitions: tuple[Any, TopicPartition, TopicPartition], kafka_url: str, patched: bool
) -> None:
    """Not to one that came too late for whoever asked before."""
    partition, group = two_full_partitions[1], unique("group")
    open_consumer = partial(
        KafkaConsumer, bootstrap_servers=kafka_url.removeprefix("kafka://"), group_id=group, enable_auto_commit=False
    )
    with closing(open_consumer()) as owner, closing(open_consumer()) as asker:
        if patched:
            ask_anew_for_committed_positions(asker)
        ask = asker._coordinator._send_offset_fetch_request
        slow, answered = [True], list[object]()

        async def ask_and_wait(partitions: Any) -> Any:
            found = await ask(partitions)
            if slow:
                await asker._coordinator._net.sleep(0.5)
            answered.append(found)
            return found

        asker._coordinator._send_offset_fetch_request = ask_and_wait
        owner.assign([partition])
        owner.commit({partition: OffsetAndMetadata(2, "", -1)})
        with pytest.raises(KafkaTimeoutError):
            asker.committed(partition, timeout_ms=200)
        wait_for(lambda: bool(answered or asker.poll(50)))
        slow.clear()
        owner.commit({partition: OffsetAndMetadata(7, "", -1)})
        # Once the library's own consumer says 7, its bug is fixed and `ask_anew_for_committed_positions` can go.
        assert asker.committed(partition, timeout_ms=5000) == (7 if patched else 2)
