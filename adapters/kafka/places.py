"""Where a member reads each of its partitions, also when that place is no more: records gone, topics made anew.

A position is a number. To which topic it belongs, where a topic was deleted and made again under its name, says the
topic's id, which is committed as the position's note where the caller has none of its own. Brokers before 2.8 have no
ids; there a topic that was made anew shows only if it is shorter than the position.
"""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from kafka import TopicPartition as KafkaTopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, LogTruncationError, OffsetOutOfRangeError, RetriableError

from adapters.deadline import Deadline
from adapters.log import Position, TopicPartition

LOGGER: Final = logging.getLogger(__name__)

NO_PLACE: Final = (OffsetOutOfRangeError, LogTruncationError)
"""What the library raises of a position that the broker does not have."""

# So long one broker may not have heard yet what another has done to a topic.
HEARSAY_S: Final = 5.0

# What a version of the worker that does not know this takes for a note that is not its own: for none.
_NOTE: Final = "topic:"


def to_kafka(partition: TopicPartition) -> Any:
    """Our name of a partition as the library's."""
    return KafkaTopicPartition(partition.topic, partition.partition)


def from_kafka(partitions: Iterable[Any]) -> set[TopicPartition]:
    """The library's names of partitions as ours."""
    return {TopicPartition(topic, partition) for topic, partition in partitions}


def to_note(metadata: str, topic_id: str | None) -> str:
    """What is committed beside an offset: the caller's metadata, or the topic's id where there is none."""
    return metadata or (_NOTE + topic_id if topic_id else "")


def from_note(note: str) -> tuple[str, str | None]:
    """The caller's metadata, and the topic's id."""
    return ("", note.removeprefix(_NOTE)) if note.startswith(_NOTE) else (note, None)


def committed_position(consumer: Any, partition: TopicPartition, deadline: Deadline) -> Position | None:
    """Where the consumer's group stands. Waits for a transaction under way to end; raises KafkaTimeoutError."""
    found = _committed(consumer, partition, deadline)
    return found and found[0]


def _committed(consumer: Any, partition: TopicPartition, deadline: Deadline) -> tuple[Position, str | None] | None:
    if deadline.expired:
        raise KafkaTimeoutError
    found = consumer.committed(to_kafka(partition), metadata=True, timeout_ms=deadline.remaining_s * 1000)
    if found is None:
        return None
    metadata, topic_id = from_note(found.metadata or "")
    return Position(found.offset, metadata), topic_id


@dataclass(slots=True)
class Moved:
    """What became of places: partitions that are read from elsewhere than where they stood."""

    gone: dict[TopicPartition, range] = field(default_factory=dict)
    remade: set[TopicPartition] = field(default_factory=set)
    truncated: dict[TopicPartition, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stray:
    """A position that the broker did not have, and when we began to ask what has become of the topic."""

    offset: int
    since: float
    news: Any


class Places:
    """The places of one member. Used by the thread that polls."""

    def __init__(self, consumer: Any, cluster: Any) -> None:
        """`cluster` is what the consumer knows of topics; it is kept fresh by the library."""
        self._consumer = consumer
        self._cluster = cluster
        self._topic_ids: dict[TopicPartition, str | None] = {}
        self._last_ids: dict[TopicPartition, str] = {}  # also of partitions that are no longer ours
        self._strays: dict[TopicPartition, _Stray] = {}

    def topic_id(self, partition: TopicPartition) -> str | None:
        """The id of the topic that the place in this partition belongs to; None if that cannot be told."""
        return self._topic_ids.get(partition)

    def settle(self, partition: TopicPartition, deadline: Deadline) -> tuple[Position | None, bool]:
        """Put a newly assigned partition where the group stands. Returns that place, and whether the topic is new."""
        committed = _committed(self._consumer, partition, deadline)
        self._strays.pop(partition, None)
        position, topic_id = committed or (None, None)
        now_id = self._now_id(partition)
        if committed is None:  # the broker forgets a topic's positions with the topic, but we read it a while ago
            topic_id = self._last_ids.get(partition)
        is_remade = topic_id is not None and now_id is not None and topic_id != now_id
        if is_remade:
            _say_remade(partition)
            position = None
        if position is None:
            self._begin(partition)
        else:
            self._consumer.seek(to_kafka(partition), position.offset)
            self._topic_ids[partition] = topic_id
        return position, is_remade

    def vouch(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that these partitions brought records where we stood: our places are of the topics that are there."""
        for partition in partitions:
            self._strays.pop(partition, None)
            if self._topic_ids.get(partition) is None:
                self._topic_ids[partition] = self._now_id(partition)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions that are no longer ours."""
        for partition in partitions:
            if topic_id := self._topic_ids.pop(partition, None):
                self._last_ids[partition] = topic_id
            self._strays.pop(partition, None)

    def lose(self, error: Any) -> None:
        """Note which places the broker did not have, as the library says it."""
        offsets = error.args[0] if isinstance(error, OffsetOutOfRangeError) else dict.fromkeys(error.divergent_offsets)
        for name, refused in offsets.items():
            # Of a truncated log the broker says where to go on. A topic that was made anew looks the same to it.
            offset = self._position(name) if refused is None else refused
            known = self._strays.get(TopicPartition(*name))
            if offset is not None and (known is None or known.offset != offset):
                self._strays[TopicPartition(*name)] = _Stray(offset, time.monotonic(), self._cluster.request_update())

    def _position(self, name: Any) -> int | None:
        with suppress(KafkaError):  # then the broker refuses the place once more
            position: int | None = self._consumer.position(name, timeout_ms=0)
            return position
        return None

    def find(self, owned: Iterable[TopicPartition], deadline: Deadline) -> Moved:
        """Look for topics that were made anew, and where to go on with lost places. What takes longer waits."""
        moved = Moved()
        for partition in sorted(owned):
            before, now = self._topic_ids.get(partition), self._now_id(partition)
            if before is not None and now is not None and before != now:
                self._remade(partition, moved)
        for partition in sorted(self._strays.keys() & set(owned)):
            try:
                self._find_stray(partition, moved, deadline)
            except RetriableError:
                break
        return moved

    def _find_stray(self, partition: TopicPartition, moved: Moved, deadline: Deadline) -> None:
        stray, name = self._strays[partition], to_kafka(partition)
        if deadline.expired:
            return
        first = self._consumer.beginning_offsets([name], timeout_ms=deadline.remaining_s * 1000)[name]
        end = self._consumer.end_offsets([name], timeout_ms=max(1.0, deadline.remaining_s * 1000))[name]
        if stray.offset < first:
            LOGGER.warning(
                f"{partition.topic} partition {partition.partition}: the log no longer holds the offsets "
                f"{stray.offset} to {first - 1}, which were next to be read"
            )
            moved.gone[partition] = range(stray.offset, first)
            self._go_on(partition, first)
        elif not stray.news.is_done:
            return  # whether it is another topic by now is being asked
        elif stray.offset <= end:
            self._go_on(partition, stray.offset)
        elif self._topic_ids.get(partition) is None or self._now_id(partition) is None:
            self._remade(partition, moved)
        elif time.monotonic() - stray.since < HEARSAY_S:
            self._strays[partition] = _Stray(stray.offset, stray.since, self._cluster.request_update())
        else:
            LOGGER.warning(
                f"{partition.topic} partition {partition.partition}: ends at offset {end}, before {stray.offset}, "
                "which was next to be read: the cluster lost records that it had acknowledged"
            )
            moved.truncated[partition] = Position(end)
            self._go_on(partition, end)

    def _remade(self, partition: TopicPartition, moved: Moved) -> None:
        _say_remade(partition)
        moved.remade.add(partition)
        self._strays.pop(partition, None)
        self._begin(partition)

    def _begin(self, partition: TopicPartition) -> None:
        self._consumer.seek_to_beginning(to_kafka(partition))
        self._topic_ids[partition] = self._now_id(partition)

    def _go_on(self, partition: TopicPartition, offset: int) -> None:
        self._strays.pop(partition, None)
        self._consumer.seek(to_kafka(partition), offset)

    def _now_id(self, partition: TopicPartition) -> str | None:
        """The id of the topic that has the name now, as far as the consumer has heard."""
        found = self._cluster.topic_id(partition.topic)
        return str(found) if isinstance(found, UUID) and found.int else None


def _say_remade(partition: TopicPartition) -> None:
    LOGGER.warning(
        f"{partition.topic} partition {partition.partition}: the topic was deleted and made again since the group's "
        "position; reading begins at its first record"
    )
