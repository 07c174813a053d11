"""A replay names what the broker no longer holds, and offsets that a transaction's end took."""

from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition as KafkaTopicPartition

from adapters.log import Message, Record, TopicPartition
from adapters.open_log import open_log
from worker.audit.replay import IntervalMember
from worker.history.interval import Bound, Interval
from worker.stream.stop import Stop

pytestmark = pytest.mark.kafka


def test_deleted_records_are_gone_and_transaction_markers_are_holes(kafka_url: str) -> None:
    inbound, audit = f"inbound-{uuid4().hex[:8]}", f"audit-{uuid4().hex[:8]}"
    place = TopicPartition(inbound, 0)
    with closing(open_log(kafka_url)) as log:
        log.create_topics({inbound: 1, audit: 1})
        with closing(log.publisher(f"writer-{inbound}")) as writer:
            for number in range(3):  # offsets 0, 2, 4; the markers are 1, 3, 5
                writer.publish([Message(inbound, None, b"%d" % number)])
        with closing(KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))) as admin:
            admin.delete_records({KafkaTopicPartition(inbound, 0): 2})
        interval = Interval.resolve(log, [inbound], Bound(offset=0), Bound(offset=100))
        assert (interval.ranges, interval.expired) == ({place: range(2, 6)}, {place: range(2)})

        ended = Stop(float("inf"), drain_queue=True)
        with closing(log.publisher(f"replay-{inbound}")) as publisher:
            member = IntervalMember(log, interval, publisher, ended)
            records: list[Record] = []
            while not ended.is_set():
                records += member.poll(0, 1).records
        assert [(record.offset, record.value) for record in records] == [(2, b"1"), (4, b"2")]
        assert member.replayed.gaps == {place: [3, 5]}
