"""What a replay reads of a real broker: what it no longer holds, a transaction's end, and clocks that are ahead."""

from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition as KafkaTopicPartition

from adapters.log import Message, Record, TopicPartition
from adapters.open_log import open_log
from tests.support.hostile_records import MICROSECONDS, TOPIC_CONFIGS, HostileRecord, send, sender
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


def test_every_record_whose_own_time_lies_inside_is_read_whatever_the_other_clocks_say(kafka_url: str) -> None:
    inbound, servers = f"inbound-{uuid4().hex[:8]}", [kafka_url.removeprefix("kafka://")]
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        admin.create_topics({inbound: {"num_partitions": 1, "configs": dict(TOPIC_CONFIGS)}})
    now_ms, minute_ms = 1_764_268_000_000, 60_000
    ahead = {1: 50 * minute_ms, 5: 61 * 365 * 24 * 60 * minute_ms, 7: -50 * minute_ms}
    times = [now_ms + 1000 * number + ahead.get(number, 0) for number in range(9)]
    times[6] = MICROSECONDS
    with closing(sender(servers, None)) as producer:
        for time_ms in times:
            send(producer, inbound, HostileRecord(b"x", timestamp_ms=time_ms)).get(30)
    ends = Bound(timestamp_ms=now_ms - 5 * minute_ms), Bound(timestamp_ms=now_ms + 5 * minute_ms)
    with closing(open_log(kafka_url)) as log:
        interval = Interval.resolve(log, [inbound], *ends)
        ended = Stop(float("inf"), drain_queue=True)
        with closing(log.publisher(f"replay-{inbound}")) as publisher:
            member = IntervalMember(log, interval, publisher, ended)
            offsets: list[int] = []
            while not ended.is_set():
                offsets += [record.offset for record in member.poll(0.1, 1).records]
    assert offsets == [0, 2, 3, 4, 6, 8]
    (account,) = member.replayed.scanned.values()
    assert (account.outside, account.undated) == (3, [6])
