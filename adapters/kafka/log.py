"""The Log protocol over Apache Kafka (kafka-python 3.0.12; brokers 2.5 and later, for KIP-447).

What the library does by itself and this module relies on, or works around, is said where it happens: the producer's
network client in `adapters/kafka/client.py`, transactions in `adapters/kafka/producer.py`, group membership in
`adapters/kafka/member.py`, reading in `adapters/kafka/reading.py`, and where to read on in `adapters/kafka/places.py`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.batches import Missing
from adapters.kafka.client import Rights, connect, connect_first, in_words, request, translate_errors
from adapters.kafka.member import KafkaMember
from adapters.kafka.options import KafkaOptions
from adapters.kafka.places import NO_PLACE, committed_position, to_kafka
from adapters.kafka.producer import KafkaPublisher, TransactionalProducer, discard, producer_settings, send
from adapters.kafka.reading import consumer_settings, read_safely
from adapters.kafka.topic_configs import wanted_config
from adapters.log import (
    NO_TOPICS,
    CreatedTopic,
    LogError,
    LogUnavailable,
    Message,
    NoTopic,
    Position,
    Record,
    TopicPartition,
    check_messages,
)

ANSWER_LIMIT_S: Final = 30.0  # for a question about topics, offsets or positions, with the library's own retries
APPEND_LIMIT_S: Final = 60.0
READ_POLL_S: Final = 0.5
CLOSE_LIMIT_S: Final = 3.0  # all connections of a log together


class KafkaLog:
    """Implements the `Log` protocol. May be used from several threads; what it asks of the brokers it asks in turn."""

    every_offset_is_a_record = False

    def __init__(self, servers: Sequence[str], options: KafkaOptions) -> None:
        """Connect. Raises LogUnavailable if no broker answers, LogError if it refuses us."""
        self._options = options
        self._servers = list(servers)
        self._lock = threading.Lock()
        self._consumer: Any = None
        self._producer: Any = None
        with translate_errors("connecting"):
            self._admin = connect_first(KafkaAdminClient, self._settings())

    def create_topics(
        self, partitions: Mapping[str, int], replicas: int | None = None, keep_days: Mapping[str, float] = NO_TOPICS
    ) -> tuple[CreatedTopic, ...]:
        """Create the topics that do not exist yet, open to records as large as this log takes.

        Those of `keep_days` keep every record for so long, whatever the cluster's defaults are.
        """
        wanted = {
            topic: {
                "num_partitions": count,
                "replication_factor": -1 if replicas is None else replicas,  # -1: the cluster's own default
                "configs": wanted_config(keep_days.get(topic), replicas),
            }
            for topic, count in partitions.items()
            if not self._partition_count(topic)
        }
        if not wanted:
            return ()
        rights = {TopicAuthorizationFailedError: f"Create on topic {', '.join(wanted)}"}
        with self._requesting("creating topics", rights) as deadline:
            answer = request(deadline, lambda: self._admin.create_topics(wanted, raise_errors=False))
            for topic in answer["topics"]:
                error = for_code(topic["error_code"])
                if error is TopicAuthorizationFailedError:
                    raise error()
                if error not in (NoError, TopicAlreadyExistsError):
                    raise LogError(f"creating topic {topic['name']}: {in_words(error)}")
            request(deadline, lambda: self._admin.wait_for_topics(list(wanted)))
        made = [topic for topic in answer["topics"] if for_code(topic["error_code"]) is NoError]
        return tuple(_created(topic, partitions[topic["name"]], replicas) for topic in made)

    def append(self, messages: Sequence[Message]) -> tuple[tuple[TopicPartition, int], ...]:
        """Write messages, acknowledged by all replicas. LogUnavailable leaves open which of them were written."""
        check_messages(messages)
        for topic in {message.topic for message in messages}:
            self.partitions(topic)
        rights = {TopicAuthorizationFailedError: f"Write on topic {', '.join({m.topic for m in messages})}"}
        with self._lock, translate_errors("appending", rights):
            if self._producer is None:
                settings = {**self._settings(), **producer_settings(self._options.timeouts)}
                self._producer, _ = connect(KafkaProducer, settings)
            try:
                return _append(self._producer, messages, Deadline(APPEND_LIMIT_S))
            except BaseException:
                discard(self._producer)  # or what it still holds would be written after we said that it was not
                self._producer = None
                raise

    def join(self, group: str, topics: Sequence[str], member: str) -> KafkaMember:
        """Join a group, and take over the member's transactional identity. Raises LogError if a topic is missing."""
        for topic in topics:
            self.partitions(topic)
        return KafkaMember(self._settings(), group, topics, member, self._options, self.partitions)

    def publisher(self, name: str) -> KafkaPublisher:
        """A transactional publisher. Its transactional id is the name."""
        return KafkaPublisher(TransactionalProducer(self._settings(), name, self._options.timeouts, self.partitions))

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        """The topic's partitions in order."""
        count = self._partition_count(topic)
        if not count:
            raise NoTopic(topic)
        return tuple(TopicPartition(topic, partition) for partition in range(count))

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """First offset held, and the last stable one: nothing before it is still undecided."""
        self._require(partition)
        return self._bounds([partition])[partition]

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """The first offset at or after this time. The record there may since have been aborted or compacted away."""
        self._require(partition)
        times = {to_kafka(partition): max(0, timestamp_ms)}
        with self._requesting("looking for a time", _describe(partition.topic)) as deadline:
            found = self._requester().offsets_for_times(times, timeout_ms=deadline.remaining_s * 1000)
        at = found[to_kafka(partition)]
        return None if at is None else int(at.offset)

    def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """Where a group stands. Waits for a transaction under way to end."""
        self._require(partition)
        # A consumer that names the group without joining it: it finds the coordinator wherever that has moved to.
        settings = {**self._settings(), **consumer_settings(self._options.timeouts), "group_id": group}
        rights = {GroupAuthorizationFailedError: f"Describe on group {group}"}
        with self._requesting("reading a committed position", rights) as deadline, _consumer(settings) as consumer:
            return committed_position(consumer, partition, deadline)

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[Record]:
        """The committed records of the ranges, up to what is committed when the reading starts."""
        for partition in ranges:
            self._require(partition)
        wanted: dict[TopicPartition, range] = {}
        for partition, (first, end) in self._bounds(list(ranges)).items() if ranges else ():
            held = range(max(first, ranges[partition].start), min(end, ranges[partition].stop))
            if held:
                wanted[partition] = held
        if not wanted:
            return
        settings = {**self._settings(), **consumer_settings(self._options.timeouts)}
        rights = {TopicAuthorizationFailedError: f"Read on topic {', '.join({p.topic for p in wanted})}"}
        with translate_errors("reading", rights), _consumer(settings) as consumer:
            yield from _read(consumer, wanted, ANSWER_LIMIT_S)

    def close(self) -> None:
        """Close every connection, in bounded time."""
        if self._producer is not None:
            discard(self._producer)  # every append waited for its records: nothing is left to be sent
        deadline = Deadline(CLOSE_LIMIT_S)
        for client in (self._consumer, self._admin):
            if client is not None:
                _close(client, deadline)

    def _settings(self) -> dict[str, Any]:
        return self._options.client_settings(self._servers)

    @contextmanager
    def _requesting(self, doing: str, rights: Rights) -> Iterator[Deadline]:
        with self._lock, translate_errors(doing, rights):
            yield Deadline(ANSWER_LIMIT_S)

    def _requester(self) -> Any:
        """The consumer for questions about offsets. It belongs to no group and reads nothing."""
        if self._consumer is None:
            settings = {**self._settings(), **consumer_settings(self._options.timeouts)}
            self._consumer, _ = connect(KafkaConsumer, settings)
        return self._consumer

    def _partition_count(self, topic: str) -> int:
        """How many partitions the topic has; 0 if there is no such topic."""
        with self._requesting(f"describing topic {topic}", _describe(topic)) as deadline:
            (found,) = request(deadline, lambda: self._admin.describe_topics([topic]))
            error = for_code(found["error_code"])
            if error is UnknownTopicOrPartitionError:
                return 0
            if found["error_code"] != 0:
                raise error()
            return len(found["partitions"])

    def _require(self, partition: TopicPartition) -> None:
        if partition not in self.partitions(partition.topic):
            raise LogError(f"no partition {partition.partition} of topic {partition.topic}")

    def _bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        names = [to_kafka(partition) for partition in partitions]
        with self._requesting("reading offsets", _describe(*{partition.topic for partition in partitions})) as deadline:
            first = self._requester().beginning_offsets(names, timeout_ms=deadline.remaining_s * 1000)
            # Under read_committed this is the last stable offset: nothing before it is still undecided.
            end = self._requester().end_offsets(names, timeout_ms=deadline.remaining_s * 1000)
        return {p: (first[to_kafka(p)], end[to_kafka(p)]) for p in partitions}


def _describe(*topics: str) -> Rights:
    return {TopicAuthorizationFailedError: f"Describe on topic {', '.join(topics)}"}


@contextmanager
def _consumer(settings: dict[str, Any]) -> Iterator[Any]:
    consumer, _ = connect(KafkaConsumer, settings)
    try:
        yield consumer
    finally:
        _close(consumer, Deadline(CLOSE_LIMIT_S))


def _close(client: Any, deadline: Deadline) -> None:
    with suppress(KafkaError, TimeoutError):  # the process gives the sockets back in the end
        call_with_deadline(deadline, "kafka-close", client.close)


def _created(topic: Mapping[str, Any], partitions: int, asked: int | None) -> CreatedTopic:
    """A topic that the brokers made as they were asked. How many replicas it has they say to whom may know it."""
    said = topic.get("replication_factor", -1)  # -1: no right to DescribeConfigs
    return CreatedTopic(topic["name"], partitions, said if said > 0 else asked)


def _append(producer: Any, messages: Sequence[Message], deadline: Deadline) -> tuple[tuple[TopicPartition, int], ...]:
    sent = [send(producer, message) for message in messages]
    producer.flush(timeout=deadline.remaining_s)
    written = [future.get(timeout=deadline.remaining_s) for future in sent]
    return tuple((TopicPartition(where.topic, where.partition), where.offset) for where in written)


def _read(consumer: Any, wanted: Mapping[TopicPartition, range], patience_s: float) -> Iterator[Record]:
    """Records of the ranges until the consumer's position has passed the end of each.

    The last offsets of a range may hold no record: a transaction's marker, or one that compaction removed. So the end
    is where the position is, not the last record seen.
    """
    read_safely(consumer)
    consumer.assign([to_kafka(partition) for partition in wanted])
    for partition, offsets in wanted.items():
        consumer.seek(to_kafka(partition), offsets.start)
    at = {partition: offsets.start for partition, offsets in wanted.items()}
    deadline = Deadline(patience_s)
    while at:
        try:
            for name, found in consumer.poll(READ_POLL_S * 1000).items():
                stop = wanted[TopicPartition(*name)].stop
                yield from (item for item in found if not isinstance(item, Missing) and item.offset < stop)
            now_at = {partition: _position(consumer, partition) for partition in at}
        except NO_PLACE:
            now_at = _skip_what_is_gone(consumer, wanted, at, deadline)
        if now_at != at:
            deadline = Deadline(patience_s)
        elif deadline.expired:
            raise LogUnavailable(f"no record for {patience_s:.0f} s")
        over = [partition for partition, offset in now_at.items() if offset >= wanted[partition].stop]
        consumer.pause(*map(to_kafka, over))
        at = {partition: offset for partition, offset in now_at.items() if partition not in over}


def _position(consumer: Any, partition: TopicPartition) -> int:
    return consumer.position(to_kafka(partition), timeout_ms=READ_POLL_S * 1000) or 0


def _skip_what_is_gone(
    consumer: Any, wanted: Mapping[TopicPartition, range], at: Mapping[TopicPartition, int], deadline: Deadline
) -> dict[TopicPartition, int]:
    """Go on with the first offsets that are still held, of what is being read. A range that is gone is over."""
    names = [to_kafka(partition) for partition in at]
    first = consumer.beginning_offsets(names, timeout_ms=deadline.remaining_s * 1000)
    end = consumer.end_offsets(names, timeout_ms=deadline.remaining_s * 1000)
    now_at: dict[TopicPartition, int] = {}
    for name, offset in ((name, consumer.position(name, timeout_ms=0) or 0) for name in names):
        partition = TopicPartition(*name)
        # A log that ends before the place is another one: the topic was made anew, and what was asked for is no more.
        now_at[partition] = max(first[name], offset) if offset <= end[name] else wanted[partition].stop
        consumer.seek(name, now_at[partition])
    return now_at
