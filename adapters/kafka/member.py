"""A member of a Kafka consumer group whose results and positions commit together (KIP-447)."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.batches import Missing
from adapters.kafka.client import Rights, connect, translate_errors
from adapters.kafka.options import KafkaOptions
from adapters.kafka.patches import (
    ask_anew_for_committed_positions,
    bring_back_parked_records,
    keep_finished_joins,
    notify_when_fenced,
    read_on_during_rebalances,
)
from adapters.kafka.places import NO_PLACE, Moved, Places, from_kafka, to_kafka, to_note
from adapters.kafka.producer import DISPLACED, TransactionalProducer
from adapters.kafka.reading import consumer_settings, read_safely
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
    topic_ids: Mapping[TopicPartition, str | None] = field(default_factory=dict)
    """Of each partition that is ours: the topic that its positions belong to."""


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
        self._probe = to_kafka(TopicPartition(topics[0], 0))
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
                self._consumer, client = connect(KafkaConsumer, settings)
        except LogError:
            self._producer.close()
            raise
        self._places = Places(self._consumer, client.cluster)
        read_safely(self._consumer)
        keep_finished_joins(self._consumer)
        ask_anew_for_committed_positions(self._consumer)
        bring_back_parked_records(self._consumer)
        read_on_during_rebalances(self._consumer)
        notify_when_fenced(self._consumer, self._displaced.set)
        self._consumer.subscribe(topics=list(topics), listener=self._rebalances)

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Wait up to `timeout_s` for records; longer by what it takes to find where new partitions stand."""
        # The caller has seen the last poll's report by now, so what was assigned then may be published from here on.
        self._standing = self._standing_with(() if self._rewound else self._owned)
        batches = self._fetch(timeout_s, max_records)
        lost, gained = self._rebalances.take()
        if self._rewound:
            lost, gained, self._rewound = lost | self._owned, gained | (self._owned - lost), False
        self._unsettled = (self._unsettled - lost) | gained
        moved = self._find(self._owned - lost, from_kafka(batches))
        elsewhere: dict[TopicPartition, Position | None] = {**dict.fromkeys(moved.remade), **moved.truncated}
        revoked = frozenset((lost | elsewhere.keys()) & self._owned)
        self._places.forget(lost - self._unsettled)
        self._owned -= revoked
        self._consumer.resume(*map(to_kafka, elsewhere))
        records, missing = self._sort_out(batches)
        assigned, remade = self._settle()
        assigned.update(elsewhere)
        self._note_standing()
        self._owned |= assigned.keys()
        gone = {partition: offsets for partition, offsets in moved.gone.items() if partition in self._owned} | missing
        if records or assigned or gone:
            self._heard_at = time.monotonic()
        self._check_contact()
        return Polled(records, revoked, assigned, gone, frozenset(moved.remade | remade))

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
        if not positions.keys() <= standing.topic_ids.keys():
            raise PublishFailed("a position is of a partition that is not, or no longer, this member's")
        offsets = {
            # -1 is "unknown". Without a number the library never sends the request, and waits for its answer for ever.
            to_kafka(partition): OffsetAndMetadata(
                position.offset, to_note(position.metadata, standing.topic_ids[partition]), -1
            )
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
            except (RetriableError, UnknownTopicOrPartitionError, IllegalStateError, NoOffsetForPartitionError):
                return {}
            except NO_PLACE as error:
                self._places.lose(error)
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
            except (RetriableError, NoOffsetForPartitionError):  # the second: a partition that is not settled yet
                time.sleep(min(timeout_s, 0.1))
            except NO_PLACE as error:
                self._places.lose(error)
                time.sleep(min(timeout_s, 0.1))
            except FencedInstanceIdError:  # in answer to a join
                self._displaced.set()
        self._refuse_if_displaced()
        return batches

    def _refuse_if_displaced(self) -> None:
        if self._displaced.is_set():
            raise Fenced(DISPLACED)

    def _find(self, partitions: set[TopicPartition], read: set[TopicPartition]) -> Moved:
        """Where to go on with partitions whose place is no more; those that were read have theirs."""
        self._places.vouch(read & partitions)
        with translate_errors("looking for where to read on", self._rights):
            return self._places.find(partitions, Deadline(SETTLE_LIMIT_S))

    def _sort_out(
        self, batches: Mapping[Any, Sequence[Record | Missing]]
    ) -> tuple[tuple[Record, ...], dict[TopicPartition, range]]:
        """The records, and the offsets that cannot be told one by one, of the partitions that are ours.

        The others were read from where the library took the group to be, not from where we found it.
        """
        ours = {name: found for name, found in batches.items() if TopicPartition(*name) in self._owned}
        records = tuple(item for found in ours.values() for item in found if isinstance(item, Record))
        missing = {
            TopicPartition(*name): item.offsets
            for name, found in ours.items()
            for item in found
            if isinstance(item, Missing)
        }
        return records, missing

    def _settle(self) -> tuple[dict[TopicPartition, Position | None], set[TopicPartition]]:
        """Put newly assigned partitions where the group stands; those the broker is not asked about in time wait.

        Returns their places, and those of them whose topic was made anew.
        """
        deadline = Deadline(SETTLE_LIMIT_S)
        settled: dict[TopicPartition, Position | None] = {}
        remade: set[TopicPartition] = set()
        for partition in sorted(self._unsettled):
            with translate_errors("reading a committed position", self._rights):
                try:
                    settled[partition], is_remade = self._places.settle(partition, deadline)
                except RetriableError:
                    break
            self._consumer.resume(to_kafka(partition))
            if is_remade:
                remade.add(partition)
        self._unsettled -= settled.keys()
        return settled, remade

    def _note_standing(self) -> None:
        """Keep the generation that our partitions were assigned in; a rebalance under way has no partitions yet.

        A member that fell out of the group has none, and the broker lets positions without one pass unchecked: then the
        old one stays, and is refused.
        """
        group = self._consumer.group_metadata()
        if group.state != MemberState.STABLE:
            group = self._standing.group
        self._standing = replace(self._standing_with(self._owned), group=group)

    def _standing_with(self, partitions: Iterable[TopicPartition]) -> _Standing:
        ids = {partition: self._places.topic_id(partition) for partition in partitions}
        return _Standing(self._standing.group, ids)

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
