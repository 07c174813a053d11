"""Transactions as only a real broker shows them: aborted, undecided, of zombies, of members no longer in the group."""

import logging
import time

import pytest
from kafka.errors import KafkaError

from adapters.kafka.options import KafkaOptions, Timeouts
from adapters.log import LogUnavailable, Message, PublishFailed
from adapters.open_log import open_log
from tests.contract.worker import joined, poll_until, read_all
from tests.kafka.helpers import IMPATIENT, kafka_threads, raw_producer, unique, wait_for

pytestmark = pytest.mark.kafka


def test_aborted_records_are_gaps(kafka_url: str) -> None:
    log, topic = open_log(kafka_url), unique("findings")
    log.create_topics({topic: 1})
    (partition,) = log.partitions(topic)
    producer = raw_producer(kafka_url, unique("aborts"))
    for outcome in (producer.abort_transaction, producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.send(topic, key=b"k", value=outcome.__name__.encode()).get(10)
        outcome()
    producer.close()
    # Three records and three markers; the last of each are no records to a reader, and yet the reading ends.
    assert log.bounds(partition) == (0, 6)
    assert [(r.offset, r.value) for r in log.read({partition: range(6)})] == [(2, b"commit_transaction")]
    assert list(log.read({partition: range(3, 6)})) == []
    log.close()


def test_undecided_records_end_what_can_be_read(kafka_url: str) -> None:
    log, topic = open_log(kafka_url), unique("findings")
    log.create_topics({topic: 1})
    (partition,) = log.partitions(topic)
    log.append([Message(topic, b"k", b"before")])
    producer = raw_producer(kafka_url, unique("undecided"))
    producer.begin_transaction()
    producer.send(topic, key=b"k", value=b"undecided").get(10)
    log.append([Message(topic, b"k", b"after")])
    assert log.bounds(partition) == (0, 1)
    assert [record.value for record in log.read({partition: range(100)})] == [b"before"]
    producer.commit_transaction()
    producer.close()
    wait_for(lambda: log.bounds(partition) == (0, 4))
    assert [record.value for record in read_all(log, topic)] == [b"before", b"undecided", b"after"]
    log.close()


def test_joining_ends_what_the_last_process_of_that_name_left_open(kafka_url: str) -> None:
    log, topic, findings, group = open_log(kafka_url), unique("inbound"), unique("findings"), unique("group")
    log.create_topics({topic: 1, findings: 1})
    zombie = raw_producer(kafka_url, f"{group}-worker-0")
    zombie.begin_transaction()
    zombie.send(findings, key=b"k", value=b"zombie").get(10)
    log.append([Message(topic, b"k", b"ecg")])
    with joined(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 1, worker)
        worker.echo(findings)
        with pytest.raises(KafkaError):
            zombie.commit_transaction()
    assert [record.value for record in read_all(log, findings)] == [b"ecg"]
    zombie.close()
    log.close()


def test_a_member_that_fell_out_of_the_group_cannot_move_its_positions(kafka_url: str) -> None:
    log, topic, findings, group = open_log(kafka_url, IMPATIENT), unique("in"), unique("out"), unique("group")
    log.create_topics({topic: 2, findings: 1})
    log.append([Message(topic, b"%d" % n, b"%d" % n) for n in range(10)])
    with joined(log, group, topic, "slow") as slow, joined(log, group, topic, "quick") as quick:
        poll_until(lambda: len(slow.records) == 10, slow)
        # It stops polling, as if a call had hung, until it has been put out of the group.
        poll_until(lambda: len(quick.owned) == 2, quick)
        with pytest.raises(PublishFailed, match="CommitFailedError"):
            slow.echo(findings)
        poll_until(lambda: len(quick.records) == 10, quick)
        quick.echo(findings)
        poll_until(lambda: len(slow.owned) == len(quick.owned) == 1, slow, quick)
    assert len(read_all(log, findings)) == 10
    log.close()


def test_records_without_value_and_headers_without_content_are_empty(kafka_url: str) -> None:
    log, topic = open_log(kafka_url), unique("findings")
    log.create_topics({topic: 1})
    producer = raw_producer(kafka_url)
    producer.send(topic, key=b"k", value=None, headers=[("empty", b"")]).get(10)
    producer.close()
    (record,) = read_all(log, topic)
    assert (record.value, record.headers) == (b"", (("empty", b""),))
    log.close()


def test_no_content_is_logged_even_when_everything_is(kafka_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log, topic, findings, group = open_log(kafka_url), unique("inbound"), unique("findings"), unique("group")
    log.create_topics({topic: 1, findings: 1})
    log.append([Message(topic, b"CANARY-KEY", b"CANARY-VALUE", (("h", b"CANARY-HEADER"),))])
    with joined(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 1, worker)
        worker.echo(findings, metadata="CANARY-NOTE")
    read_all(log, findings)
    log.close()
    assert caplog.records
    assert "CANARY" not in caplog.text


def test_closing_leaves_no_thread_behind(kafka_url: str) -> None:
    wait_for(lambda: not kafka_threads())
    log, topic, group = open_log(kafka_url), unique("inbound"), unique("group")
    log.create_topics({topic: 1})
    log.append([Message(topic, b"k", b"v")])
    read_all(log, topic)
    with joined(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 1, worker)
    log.close()
    wait_for(lambda: not kafka_threads())


def test_a_cluster_out_of_reach_is_told_in_time_and_leaves_no_thread_behind() -> None:
    started = time.monotonic()
    with pytest.raises(LogUnavailable):
        open_log("kafka://127.0.0.1:9", KafkaOptions(timeouts=Timeouts(connect_s=1)))
    assert time.monotonic() - started < 20
    wait_for(lambda: not kafka_threads())
