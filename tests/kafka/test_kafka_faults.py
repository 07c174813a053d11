"""A broker that dies, freezes and comes back while records are worked on."""

import itertools
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest
from kafka import KafkaProducer

from adapters.kafka.client import connect
from adapters.kafka.producer import discard
from adapters.log import LogUnavailable, Message, Position, PublishFailed, TopicPartition
from adapters.open_log import open_log
from tests.contract.worker import Worker, joined, poll_until, read_all
from tests.kafka.broker import Broker
from tests.kafka.helpers import BRISK, IMPATIENT, kafka_threads, unique, wait_for

pytestmark = pytest.mark.kafka

BATCH = 20


class Echo:
    """Works as the runner does: polls in one thread, publishes in another, rewinds after a failure."""

    def __init__(self, worker: Worker, findings: str) -> None:
        self.worker, self.findings = worker, findings
        self.failures = self.published = 0
        self.longest_poll_s = 0.0
        self._publishing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    def step(self) -> None:
        started = time.monotonic()
        revoked = len(self.worker.revoked)
        self.worker.poll(0.05, BATCH)
        self.longest_poll_s = max(self.longest_poll_s, time.monotonic() - started)
        if len(self.worker.revoked) > revoked:
            self.worker.records = [r for r in self.worker.records if r.topic_partition in self.worker.owned]
        if self._publishing is not None and self._publishing.done():
            try:
                self._publishing.result()
            except PublishFailed:
                self.failures += 1
                self.worker.records = []
                self.worker.member.rewind()
            self._publishing = None
        elif self._publishing is None and self.worker.records:
            batch, self.worker.records = self.worker.records[:BATCH], self.worker.records[BATCH:]
            messages = [Message(self.findings, r.key, r.value) for r in batch]
            after = {r.topic_partition: Position(r.offset + 1) for r in batch}
            self._publishing = self._pool.submit(self._publish, messages, after)

    def _publish(self, messages: list[Message], after: dict[TopicPartition, Position]) -> None:
        self.worker.member.publish(messages, after)
        self.published += len(messages)

    def close(self) -> None:
        self._pool.shutdown()


def test_nothing_is_lost_or_doubled_when_the_broker_is_killed_under_transactions(own_broker: Broker) -> None:
    count, kills = 2000, 2
    topic, findings, group = unique("inbound"), unique("findings"), unique("group")
    with closing(open_log(f"kafka://{own_broker.address}", BRISK)) as log:
        log.create_topics({topic: 4, findings: 4})
        log.append([Message(topic, b"%d" % n, b"%d" % n) for n in range(count)])
        with joined(log, group, topic) as worker, closing(Echo(worker, findings)) as echo:
            with ThreadPoolExecutor(1) as helper:
                for kill in range(1, kills + 1):
                    while echo.published < count * kill // (kills + 2):
                        echo.step()
                    restarted = helper.submit(own_broker.restart)
                    while not restarted.done():
                        echo.step()
                    restarted.result()
            ends = {partition: log.bounds(partition)[1] for partition in log.partitions(topic)}
            end = time.monotonic() + 60
            while any(_position(log.committed(group, p)) < offset for p, offset in ends.items()):
                assert time.monotonic() < end, "it did not go on after the last kill"
                for _ in range(20):
                    echo.step()
        seen = Counter(record.value for record in read_all(log, findings))
        assert seen == Counter(b"%d" % n for n in range(count))


def _position(position: Position | None) -> int:
    return 0 if position is None else position.offset


def test_a_commit_asked_for_while_the_broker_is_away_ends_when_it_is_back(own_broker: Broker) -> None:
    topic = unique("findings")
    with closing(open_log(f"kafka://{own_broker.address}", BRISK)) as log:
        log.create_topics({topic: 1})
    settings = {**BRISK.client_settings([own_broker.address]), "transactional_id": unique("worker")}
    # With the library's own network client this commit never ends.
    producer, client = connect(KafkaProducer, settings)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"v").get(10)
    own_broker.kill()
    wait_for(lambda: client.lost_contact or not client.in_flight_request_count())
    with ThreadPoolExecutor(1) as helper:
        committed = helper.submit(producer.commit_transaction)
        own_broker.start()
        committed.result(timeout=30)
    discard(producer)
    with closing(open_log(f"kafka://{own_broker.address}", BRISK)) as log:
        assert [record.value for record in read_all(log, topic)] == [b"v"]


def test_polling_goes_on_while_a_publish_hangs_and_everything_goes_on_afterwards(own_broker: Broker) -> None:
    topic, findings, group = unique("inbound"), unique("findings"), unique("group")
    with closing(open_log(f"kafka://{own_broker.address}", IMPATIENT)) as log:
        log.create_topics({topic: 1, findings: 1})
        log.append([Message(topic, b"k", b"%d" % n) for n in range(100)])
        with joined(log, group, topic) as worker, closing(Echo(worker, findings)) as echo:
            while echo.published < BATCH:
                echo.step()
            own_broker.freeze()
            frozen = time.monotonic()
            while not echo.failures:
                echo.step()
            # 3 s for the transaction and 5 s for its replacement, and one connection attempt that had begun by then.
            assert time.monotonic() - frozen < 13
            assert echo.longest_poll_s < 5  # the broker is silent for 8; a loaded machine took 2.9
            own_broker.thaw()
            thawed = time.monotonic()
            while echo.published < 100:
                assert time.monotonic() - thawed < 30
                echo.step()
            for _ in range(10):
                echo.step()
        assert [record.value for record in read_all(log, findings)] == [b"%d" % n for n in range(100)]
    wait_for(lambda: not kafka_threads(), limit_s=30)


def test_a_member_gives_up_when_the_broker_stays_silent(own_broker: Broker) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(f"kafka://{own_broker.address}", IMPATIENT)) as log:
        log.create_topics({topic: 1})
        with joined(log, group, topic) as worker:
            poll_until(lambda: len(worker.owned) == 1, worker)
            own_broker.freeze()
            started = time.monotonic()
            with pytest.raises(LogUnavailable):
                for _ in itertools.count():
                    worker.poll(0.2)
            assert 8 < time.monotonic() - started < 20
            started = time.monotonic()
            worker.member.close()
            assert time.monotonic() - started < 12
            own_broker.thaw()
