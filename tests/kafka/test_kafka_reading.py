"""Reading what nobody would write on purpose, from where it still is, on a real broker."""

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import CorruptRecordError
from kafka.structs import OffsetAndMetadata

from adapters.kafka.batches import MAX_BATCH_BYTES
from adapters.kafka.options import KafkaOptions, Timeouts
from adapters.kafka.places import to_kafka
from adapters.kafka.reading import read_safely
from adapters.log import Log, LogError, Message, Polled, Position, Record, TopicPartition
from adapters.open_log import open_log
from tests.contract.worker import Worker, joined, poll_until, read_all
from tests.kafka.broker import java_class_path
from tests.kafka.helpers import unique, wait_for

pytestmark = pytest.mark.kafka

QUICK = KafkaOptions(timeouts=Timeouts(session_s=6))
ANY_TIME = {"message.timestamp.after.max.ms": str(2**63 - 1), "message.timestamp.before.max.ms": str(2**63 - 1)}
NOTICED_S = 30


class NamedInBytes(str):
    """A header's name that the library writes as these bytes."""

    raw = b"\xff\xfeid"

    def encode(self, *_arguments: Any) -> bytes:
        return self.raw


class Watcher(Worker):
    """A member whose every report is kept."""

    def __init__(self, log: Log, group: str, topic: str) -> None:
        super().__init__(log, group, topic)
        self.gone: list[tuple[TopicPartition, range]] = []
        self.remade: list[TopicPartition] = []
        poll = self.member.poll

        def kept(timeout_s: float, max_records: int) -> Polled:
            polled = poll(timeout_s, max_records)
            self.gone += polled.gone.items()
            self.remade += polled.remade
            return polled

        self.member.poll = kept  # type: ignore[method-assign]


@pytest.fixture
def log(kafka_url: str) -> Iterator[Log]:
    with closing(open_log(kafka_url, QUICK)) as opened:
        yield opened


@pytest.fixture
def admin(kafka_url: str) -> Iterator[Any]:
    with closing(KafkaAdminClient(bootstrap_servers=_server(kafka_url))) as client:
        yield client


def _server(kafka_url: str) -> str:
    return kafka_url.removeprefix("kafka://")


def _both_ways(log: Log, topic: str, count: int) -> list[Record]:
    """The records of a topic as `read` brings them, which a member has to bring too."""
    found = read_all(log, topic)
    with joined(log, unique("group"), topic) as worker:
        poll_until(lambda: len(worker.records) >= count, worker)
        assert sorted(worker.records, key=lambda record: (record.partition, record.offset)) == found
    return found


@pytest.mark.skipif(shutil.which("javac") is None, reason="a JDK compiles the producer")
def test_what_java_compresses_is_read(log: Log, kafka_url: str) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    produce = ["java", "-cp", java_class_path(), str(Path(__file__).parent / "Produce.java"), _server(kafka_url), topic]
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    subprocess.run([*produce, "10", "100000", *codecs], check=True, capture_output=True, timeout=120)
    found = _both_ways(log, topic, 50)
    assert [record.unreadable for record in found] == [None] * 50
    values = [bytes([n]) + bytes(99_999) for n in range(10)]
    assert {codec: [r.value for r in found if r.key == codec.encode()] for codec in codecs} == dict.fromkeys(
        codecs, values
    )


def test_a_batch_that_inflates_beyond_the_bound_is_told_and_reading_goes_on(log: Log, kafka_url: str) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    settings = {"compression_type": "gzip", "max_request_size": 2 * MAX_BATCH_BYTES}
    with closing(KafkaProducer(bootstrap_servers=_server(kafka_url), **settings)) as producer:
        producer.send(topic, b"before").get(30)
        producer.send(topic, bytes(MAX_BATCH_BYTES + 1), key=b"k").get(60)
        producer.send(topic, b"after").get(30)
    before, large, after = _both_ways(log, topic, 3)
    assert (before.value, after.value) == (b"before", b"after")
    assert large == Record(topic, 0, 1, None, None, b"", unreadable="offset 1: inflates to more than 64 MiB")


def test_one_poll_brings_no_more_bytes_than_one_fetch(log: Log, kafka_url: str) -> None:
    topic, value = unique("inbound"), bytes(16 * 1024 * 1024)
    log.create_topics({topic: 1})
    settings = {"compression_type": "gzip", "max_request_size": 2 * len(value)}
    with closing(KafkaProducer(bootstrap_servers=_server(kafka_url), **settings)) as producer:
        for _ in range(12):
            producer.send(topic, value).get(60)
    seen: list[int] = []
    with joined(log, unique("group"), topic) as worker:
        while sum(seen) < 12:
            seen.append(len(worker.poll(0.1)))
            worker.records.clear()
    assert max(seen) == 4


@pytest.mark.parametrize("patched", [True, False])
def test_the_library_still_cannot_read_such_a_record(log: Log, kafka_url: str, patched: bool) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    with closing(KafkaProducer(bootstrap_servers=_server(kafka_url))) as producer:
        producer.send(topic, b"v", headers=[(NamedInBytes("x"), b"1")]).get(30)
    with closing(KafkaConsumer(bootstrap_servers=_server(kafka_url))) as consumer:
        if patched:
            read_safely(consumer)
        consumer.assign([to_kafka(TopicPartition(topic, 0))])
        consumer.seek_to_beginning()
        found: dict[Any, list[Any]] = {}

        def poll() -> bool:
            found.update(consumer.poll(200))
            return bool(found)

        # Once the library's own consumer reads it, see what else of `read_safely` can go.
        with nullcontext() if patched else pytest.raises(CorruptRecordError):
            wait_for(poll)
        assert [record.value for records in found.values() for record in records] == ([b"v"] if patched else [])


def test_a_headers_name_is_any_bytes(log: Log, kafka_url: str) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    with closing(KafkaProducer(bootstrap_servers=_server(kafka_url))) as producer:
        producer.send(topic, b"v", headers=[(NamedInBytes("x"), b"1"), ("ecg-priority", b"stat")]).get(30)
    (found,) = _both_ways(log, topic, 1)
    assert (found.value, found.unreadable) == (b"v", None)
    assert found.headers == (("\ufffd\ufffdid", b"1"), ("ecg-priority", b"stat"))


def test_a_timestamp_in_microseconds_is_a_number(log: Log, admin: Any, kafka_url: str) -> None:
    topic, times = unique("inbound"), [1_764_268_000_000_000, 2**63 - 1, 0]
    admin.create_topics({topic: {"num_partitions": 1, "configs": ANY_TIME}})
    with closing(KafkaProducer(bootstrap_servers=_server(kafka_url))) as producer:
        for timestamp_ms in times:
            producer.send(topic, b"v", timestamp_ms=timestamp_ms).get(30)
    assert [record.timestamp_ms for record in _both_ways(log, topic, 3)] == times


def test_records_that_retention_took_before_they_were_read_are_told(
    log: Log, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    log.create_topics({topic: 1, results: 1})
    partition = TopicPartition(topic, 0)
    _append(log, topic, 0, 10)
    with _watched(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 10, worker)
        worker.echo(results)
    _append(log, topic, 10, 30)
    _delete_before(admin, topic, 25)
    with caplog.at_level(logging.WARNING, "adapters.kafka"), _watched(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 5, worker)
        assert worker.owned[partition] == Position(10)
        assert worker.gone == [(partition, range(10, 25))]
        assert worker.values() == [b"%d" % n for n in range(25, 30)]
        # And while it is reading.
        worker.records.clear()
        worker.member.pause(frozenset({partition}))
        worker.poll()
        _append(log, topic, 30, 50)
        _delete_before(admin, topic, 45)
        worker.member.resume(frozenset({partition}))
        poll_until(lambda: worker.records != [] and worker.records[-1].offset == 49, worker)
        told = {offset for _, offsets in worker.gone[1:] for offset in offsets}
        assert told | {record.offset for record in worker.records} == set(range(30, 50))
        assert not worker.revoked
        assert not worker.remade
    assert "no longer holds the offsets 10 to 24" in caplog.text


def test_reading_a_range_goes_on_where_retention_bites(log: Log, admin: Any) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    log.append([Message(topic, b"k", bytes(4 * 1024 * 1024)) for _ in range(20)])  # more than one fetch brings
    reading = log.read({TopicPartition(topic, 0): range(20)})
    first = next(iter(reading))
    _delete_before(admin, topic, 18)
    began = time.monotonic()
    offsets = [first.offset, *(record.offset for record in reading)]
    assert offsets == sorted(set(offsets))
    assert {18, 19} <= set(offsets)
    assert len(offsets) < 20
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("again", [3, 30])
def test_a_topic_that_was_made_again_while_nobody_read_begins_anew(log: Log, admin: Any, again: int) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    log.create_topics({topic: 1, results: 1})
    partition = TopicPartition(topic, 0)
    _append(log, topic, 0, 10)
    with _watched(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 10, worker)
        worker.echo(results)
    note = admin.list_group_offsets({group: None})[group][to_kafka(partition)].metadata
    _make_again(log, admin, topic)
    _append(log, topic, 100, 100 + again)
    # The broker forgets a topic's positions with the topic; not so if it was made again from elsewhere, or restored.
    admin.alter_group_offsets(group, {to_kafka(partition): OffsetAndMetadata(10, note, -1)})
    with _watched(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == again, worker)
        assert worker.owned[partition] is None
        assert worker.remade == [partition]
        assert worker.values() == [b"%d" % n for n in range(100, 100 + again)]
        worker.echo(results)
    assert log.committed(group, partition) == Position(again)


@pytest.mark.parametrize("again", [3, 30])
def test_a_topic_that_is_made_again_while_it_is_read_begins_anew(log: Log, admin: Any, again: int) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    log.create_topics({topic: 1, results: 1})
    _append(log, topic, 0, 10)
    with _watched(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 10, worker)
        worker.echo(results)
        _make_again(log, admin, topic)
        _append(log, topic, 100, 100 + again)
        wanted = {b"%d" % n for n in range(100, 100 + again)}
        poll_until(lambda: wanted <= set(worker.values()), worker, limit_s=NOTICED_S)
        worker.records = [record for record in worker.records if record.offset < again]
        assert worker.remade == [TopicPartition(topic, 0)]
        worker.poll()
        worker.echo(results)
        assert log.committed(group, TopicPartition(topic, 0)) == Position(again)


def test_a_member_outlives_the_time_that_its_topic_is_away(log: Log, admin: Any) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 2})
    with _watched(log, unique("group"), topic) as worker:
        poll_until(lambda: len(worker.owned) == 2, worker)
        admin.delete_topics([topic])
        end = time.monotonic() + 12
        while time.monotonic() < end:
            worker.poll()
            worker.member.behind()
        log.create_topics({topic: 2})
        _append(log, topic, 0, 20)
        poll_until(lambda: len({*worker.values()}) == 20, worker, limit_s=NOTICED_S)


def test_new_partitions_are_read(log: Log, admin: Any) -> None:
    topic = unique("inbound")
    log.create_topics({topic: 1})
    with _watched(log, unique("group"), topic) as worker:
        poll_until(lambda: len(worker.owned) == 1, worker)
        admin.create_partitions({topic: 4})
        wait_for(lambda: len(log.partitions(topic)) == 4)
        _append(log, topic, 0, 100)
        poll_until(lambda: len(worker.records) == 100, worker, limit_s=NOTICED_S)
        assert len(worker.owned) == 4


@contextmanager
def _watched(log: Log, group: str, topic: str) -> Iterator[Watcher]:
    watcher = Watcher(log, group, topic)
    try:
        yield watcher
    finally:
        watcher.member.close()


def _append(log: Log, topic: str, first: int, stop: int) -> None:
    log.append([Message(topic, b"%d" % n, b"%d" % n) for n in range(first, stop)])


def _delete_before(admin: Any, topic: str, offset: int) -> None:
    admin.delete_records({to_kafka(TopicPartition(topic, 0)): offset})


def _make_again(log: Log, admin: Any, topic: str) -> None:
    admin.delete_topics([topic])
    wait_for(lambda: _is_made(log, topic))


def _is_made(log: Log, topic: str) -> bool:
    try:
        return bool(log.create_topics({topic: 1}))
    except LogError:  # the old one is on its way out
        return False


def test_what_is_written_while_it_is_read_is_never_taken_for_damaged(kafka_url: str) -> None:
    """A broker names the partition's end before it reads: one good record in a thousand lies beyond it."""
    topic, over = unique("inbound"), threading.Event()

    def write(producer: KafkaProducer) -> None:
        while not over.is_set():
            producer.send(topic, b"v" * 100)
            time.sleep(0.002)

    with ExitStack() as parts:
        log = parts.enter_context(closing(open_log(kafka_url)))
        log.create_topics({topic: 1})
        for _ in range(2):
            producer = KafkaProducer(
                bootstrap_servers=kafka_url.removeprefix("kafka://"), acks="all", linger_ms=0, batch_size=0
            )
            parts.callback(producer.close, timeout=5)
            writing = threading.Thread(target=write, args=(producer,), daemon=True)
            parts.callback(writing.join, 5)
            writing.start()
        parts.callback(over.set)
        member = parts.enter_context(closing(log.join(unique("group"), [topic], "worker")))
        read: list[Record] = []
        until = time.monotonic() + 10
        while time.monotonic() < until:
            read += member.poll(0.05, 500).records
    assert len(read) > 500
    assert [(record.offset, record.unreadable) for record in read if record.unreadable] == []
    assert [record.offset for record in read] == list(range(len(read)))
