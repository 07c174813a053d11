"""A member of a Kafka consumer group whose results and positions commit together (KIP-447)."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import TopicPartition as KafkaTopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.client import Rights, connect, translate_errors
from adapters.kafka.options import MAX_FETCH_BYTES, MAX_RECORD_BYTES, KafkaOptions, Timeouts
from adapters.kafka.patches import (
    bring_back_parked_records,
    keep_finished_joins,
    notify_when_fenced,
    read_on_during_rebalances,
)
from adapters.kafka.producer import DISPLACED, TransactionalProducer
from adapters.log import (
    Fenced,
    LogError,
    LogUnavailable,
    Message,
    Polled,
    Position,
    PublishFailed,
    Record,
    TopicPartition,
    check_messages,
    check_positions,
)

SETTLE_LIMIT_S: Final = 2.0  # what a poll spends at most on reading committed positions; the next poll goes on
SILENCE_S: Final = 5.0  # after which a member with nothing to read asks the broker whether it is still there
CLOSE_LIMIT_S: Final = 10.0


def transactional_id(group: str, member: str) -> str:
    """Stable, so that a restarted process ends at once what its predecessor left open."""
    return f"{group}-{member}"


def consumer_settings(timeouts: Timeouts) -> dict[str, Any]:
    """What every consumer here has in common: bytes, committed ones only, of any size a record may have."""
    return {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "fetch_max_bytes": MAX_FETCH_BYTES,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
        "session_timeout_ms": round(timeouts.session_s * 1000),
        # A third of the session at most, or one lost heartbeat would end it.
        "heartbeat_interval_ms": min(3000, round(timeouts.session_s * 1000 / 3)),
        "max_poll_interval_ms": round(timeouts.poll_s * 1000),
        # Kept partitions stay ours through a rebalance: their work in hand goes on.
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }


def record_of(raw: Any) -> Record:
    """The library's record as ours."""
    value = b"" if raw.value is None else bytes(raw.value)
    timestamp_ms = raw.timestamp if raw.timestamp is not None and raw.timestamp >= 0 else None
    headers = tuple((name, b"" if content is None else bytes(content)) for name, content in raw.headers)
    return Record(raw.topic, raw.partition, raw.offset, timestamp_ms, raw.key, value, headers)


def to_kafka(partition: TopicPartition) -> Any:
    """Our name of a partition as the library's."""
    return KafkaTopicPartition(partition.topic, partition.partition)


def from_kafka(partitions: Iterable[Any]) -> set[TopicPartition]:
    """The library's names of partitions as ours."""
    return {TopicPartition(topic, partition) for topic, partition in partitions}


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # the library ships no types
    """Notes what was assigned and revoked. It runs on the loop that sends heartbeats, during `poll`: it never waits."""

    def __init__(self) -> None:
        self.lost: set[TopicPartition] = set()
        self.gained: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Note what was taken."""
        partitions = from_kafka(revoked)
        self.lost |= partitions
        self.gained -= partitions

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note what was given."""
        self.gained |= from_kafka(assigned)

    def take(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """What was lost and gained since the last time. Something in both was lost first."""
        taken = self.lost, self.gained
        self.lost, self.gained = set(), set()
        return taken


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a publish may act on, as the polling thread last knew it. Replaced as a whole, so never half old."""

    group: Any
    partitions: frozenset[TopicPartition] = frozenset()


class KafkaMember:
    """Keeps the `Member` protocol."""

    def __init__(
        self,
        client_settings: dict[str, Any],
        group: str,
        topics: Sequence[str],
        member: str,
        options: KafkaOptions,
        require_topic: Callable[[str], object],
    ) -> None:
        """Take over the member's transactional id and start to join the group; the first polls complete it."""
        timeouts = options.timeouts
        self._timeouts = timeouts
        own_id = transactional_id(group, member)
        self._producer = TransactionalProducer(client_settings, own_id, timeouts, require_topic)
        self._rebalances = _Rebalances()
        self._owned: set[TopicPartition] = set()
        self._unsettled: set[TopicPartition] = set()
        self._rewound = False
        self._displaced = threading.Event()
        self._standing = _Standing(ConsumerGroupMetadata())
        self._probe = KafkaTopicPartition(topics[0], 0)
        self._rights: Rights = {
            TopicAuthorizationFailedError: f"Read on topic {', '.join(topics)}",
            GroupAuthorizationFailedError: f"Read on group {group}",
        }
        self._heard_at = self._asked_at = time.monotonic()
        settings = {
            **client_settings,
            **consumer_settings(timeouts),
            "group_id": group,
            "group_instance_id": member if options.static_member else None,
        }
        try:
            with translate_errors("joining the group", self._rights):
                self._consumer, _ = connect(KafkaConsumer, settings)
        except LogError:
            self._producer.close()
            raise
        keep_finished_joins(self._consumer)
        bring_back_parked_records(self._consumer)
        read_on_during_rebalances(self._consumer)
        notify_when_fenced(self._consumer, self._displaced.set)
        self._consumer.subscribe(topics=list(topics), listener=self._rebalances)

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Wait up to `timeout_s` for records; longer by what it takes to find where new partitions stand."""
        # The caller has seen the last poll's report by now, so what was assigned then may be published from here on.
        self._standing = _Standing(self._standing.group, frozenset() if self._rewound else frozenset(self._owned))
        batches = self._fetch(timeout_s, max_records)
        lost, gained = self._rebalances.take()
        if self._rewound:
            lost, gained, self._rewound = lost | self._owned, gained | (self._owned - lost), False
        revoked = frozenset(lost & self._owned)
        self._unsettled = (self._unsettled - lost) | gained
        self._owned -= lost
        records = tuple(
            record_of(raw)
            for raw_partition, raws in batches.items()
            # The others were read from where the library took the group to be, not from where we found it.
            if TopicPartition(*raw_partition) in self._owned
            for raw in raws
        )
        assigned = self._settle()
        self._note_standing()
        self._owned |= assigned.keys()
        if records or assigned:
            self._heard_at = time.monotonic()
        self._check_contact()
        return Polled(records, revoked, assigned)

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Return no records of these partitions until they are resumed."""
        self._consumer.pause(*(to_kafka(p) for p in partitions & self._owned))

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """Return records of these partitions again."""
        self._consumer.resume(*(to_kafka(p) for p in partitions & self._owned))

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write the messages and move the positions, both or neither, within `Timeouts.publish_s` and a reopening."""
        check_messages(messages)
        check_positions(positions.values())
        # Or a new producer here would take the transactional id back from the process that has our place.
        self._refuse_if_displaced()
        standing = self._standing
        # The broker checks that the member is current, not that the partition is its own: that is for us to check.
        if not positions.keys() <= standing.partitions:
            raise PublishFailed("a position is of a partition that is not, or no longer, this member's")
        offsets = {
            # -1 is "unknown". Without a number the library never sends the request, and waits for its answer for ever.
            to_kafka(partition): OffsetAndMetadata(position.offset, position.metadata, -1)
            for partition, position in positions.items()
        }
        self._producer.publish(messages, offsets, standing.group)

    def rewind(self) -> None:
        """Go back to the committed positions, at the next poll."""
        self._rewound = True

    def behind(self) -> Mapping[TopicPartition, int]:
        """How many offsets each partition has left to read, for those of which the broker tells in time."""
        deadline = Deadline(SETTLE_LIMIT_S)
        names = [to_kafka(partition) for partition in self._owned]
        with translate_errors("reading offsets", self._rights):
            try:
                ends = self._consumer.end_offsets(names, timeout_ms=deadline.remaining_s * 1000)
                at = {name: self._consumer.position(name, timeout_ms=deadline.remaining_s * 1000) for name in names}
            except (RetriableError, UnknownTopicOrPartitionError, IllegalStateError):
                return {}
        return {TopicPartition(*name): max(0, ends[name] - at[name]) for name in names if at[name] is not None}

    def close(self, deadline: Deadline | None = None) -> None:
        """Leave the group at once, in bounded time."""
        self._producer.close()
        leave_s = min(CLOSE_LIMIT_S, deadline.remaining_s if deadline else CLOSE_LIMIT_S)
        with suppress(KafkaError, TimeoutError, RuntimeError):  # then the group finds out when the session ends
            call_with_deadline(
                Deadline(leave_s),
                "kafka-leave",
                lambda: self._consumer.close(autocommit=False, timeout_ms=leave_s * 1000 / 2),
            )

    def _fetch(self, timeout_s: float, max_records: int) -> Mapping[Any, Sequence[Any]]:
        batches: Mapping[Any, Sequence[Any]] = {}
        with translate_errors("polling", self._rights):
            try:
                batches = self._consumer.poll(round(timeout_s * 1000), max_records)
            except RetriableError:
                time.sleep(min(timeout_s, 0.1))
            except FencedInstanceIdError:  # in answer to a join
                self._displaced.set()
        self._refuse_if_displaced()
        return batches

    def _refuse_if_displaced(self) -> None:
        if self._displaced.is_set():
            raise Fenced(DISPLACED)

    def _settle(self) -> dict[TopicPartition, Position | None]:
        """Put newly assigned partitions where the group stands. Those the broker is not asked about in time wait."""
        deadline = Deadline(SETTLE_LIMIT_S)
        settled: dict[TopicPartition, Position | None] = {}
        for partition in sorted(self._unsettled):
            with translate_errors("reading a committed position", self._rights):
                try:
                    position = committed_position(self._consumer, partition, deadline)
                except RetriableError:
                    break
            name = to_kafka(partition)
            if position is None:
                self._consumer.seek_to_beginning(name)
            else:
                self._consumer.seek(name, position.offset)
            self._consumer.resume(name)
            settled[partition] = position
        self._unsettled -= settled.keys()
        return settled

    def _note_standing(self) -> None:
        """Keep the generation that our partitions were assigned in; a rebalance under way has no partitions yet.

        A member that fell out of the group has none, and the broker lets positions without one pass unchecked: then the
        old one stays, and is refused.
        """
        group = self._consumer.group_metadata()
        if group.state != MemberState.STABLE:
            group = self._standing.group
        self._standing = _Standing(group, frozenset(self._owned))

    def _check_contact(self) -> None:
        """Raise LogUnavailable after a silence that questions did not break."""
        silent_s = time.monotonic() - max(self._heard_at, self._asked_at)
        if silent_s < SILENCE_S:
            return
        with translate_errors("asking the group's coordinator", self._rights):
            try:
                self._consumer.committed(self._probe, timeout_ms=SETTLE_LIMIT_S * 1000)
                self._heard_at = time.monotonic()
            except RetriableError:
                self._asked_at = time.monotonic()
                if self._asked_at - self._heard_at > self._timeouts.unreachable_s:
                    raise LogUnavailable(
                        f"no answer from the group's coordinator for {self._timeouts.unreachable_s:.0f} s; are the "
                        "brokers up, and in reach?"
                    ) from None


def committed_position(consumer: Any, partition: TopicPartition, deadline: Deadline) -> Position | None:
    """Where the consumer's group stands. Waits for a transaction under way to end; raises KafkaTimeoutError."""
    if deadline.expired:
        raise KafkaTimeoutError
    found = consumer.committed(to_kafka(partition), metadata=True, timeout_ms=deadline.remaining_s * 1000)
    return None if found is None else Position(found.offset, found.metadata or "")
