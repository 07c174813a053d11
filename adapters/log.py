"""The Log protocol: what the worker needs of a partitioned, transactional log, whichever it is.

Two implementations keep it: `adapters/kafka/log.py` and `adapters/sqlite/log.py`; `tests/contract/` holds both to it.

A *log* has topics, a topic has partitions, a partition numbers its records by offset. A *member* belongs to a consumer
group and gets some of the partitions; it publishes results and moves the group's positions in one transaction, so that
either both happened or neither. A reader sees committed records only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from adapters.deadline import Deadline
from schemas.errors import WorkerError

Headers = tuple[tuple[str, bytes], ...]

# What a log takes at most: the same for both logs, so that what one holds the other can hold too.
# The largest payload a site sends: a long recording as HL7 text with a PDF beside it. (30 s of 12 leads at 1000 Hz are
# 720 KB as DICOM and about 2 MB as HL7 text; a PDF adds a few.)
MAX_VALUE_BYTES: Final = 16 * 1024 * 1024

# Key and headers together. Identifiers and trace context need a few hundred bytes.
MAX_LABEL_BYTES: Final = 64 * 1024

# What a header takes in memory, beside its name and content.
HEADER_BYTES: Final = 128

NO_TOPICS: Final[Mapping[str, float]] = MappingProxyType({})

# A position's note. Kafka's default offset.metadata.max.bytes: a larger one would fail the whole transaction.
MAX_METADATA_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read. A record without a value (a tombstone) has `value` b"". `timestamp_ms` is None if unknown.

    `unreadable` is None, or why the log could not give the record's content: then key, value and headers are empty.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes
    headers: Headers = ()
    unreadable: str | None = None

    @property
    def topic_partition(self) -> TopicPartition:
        """Where the record lies, without its offset."""
        return TopicPartition(self.topic, self.partition)

    @property
    def size_bytes(self) -> int:
        """What the record takes, key and headers too: a log may give what no log of ours would take."""
        headers = sum(HEADER_BYTES + len(name) + len(value) for name, value in self.headers)
        return len(self.value) + len(self.key or b"") + headers


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be written. Equal keys go to the same partition; without a key the log chooses."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class CreatedTopic:
    """A topic that was made just now. `replicas` is None if the log chose how many and did not say."""

    name: str
    partitions: int
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """A group's place in a partition: the next offset to process, and a note of the group's own (at most 4 KB)."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought.

    `revoked` comes first: whatever was in work for those partitions is stale. Then `assigned`: partitions that are now
    ours, with the group's committed position, or None if it never committed one (reading starts at the first record).
    Then `gone`: offsets that were next to be read and that the log no longer holds. Then the records. A partition that
    was taken and given back in between stands in both; so do those whose topic was deleted and made again, which are
    read from their first record and stand in `remade` too.
    """

    records: tuple[Record, ...] = ()
    revoked: frozenset[TopicPartition] = frozenset()
    assigned: Mapping[TopicPartition, Position | None] = field(default_factory=dict)
    gone: Mapping[TopicPartition, range] = field(default_factory=dict)
    remade: frozenset[TopicPartition] = frozenset()


class LogError(WorkerError):
    """The log cannot do what was asked. Messages name topics, partitions and error kinds, never record content."""


class NoTopic(LogError):
    """There is no such topic. The remedy is the one for topics that the worker uses."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no topic {name}; create it, or let `ecg-worker check --create-topics` do it")


class LogUnavailable(LogError):
    """The log could not be reached within the time allowed."""


class PublishFailed(LogError):
    """A transaction's outcome is "not committed" or unknown. The member has already replaced its publisher.

    The caller must `rewind` and process again from the committed positions, which say what really happened.
    """


class Fenced(LogError):
    """Another process took over this member's transactional identity. This process must end."""


class Member(Protocol):
    """One member of a consumer group, with the transactional publisher bound to the group's positions.

    All but `publish` is not thread-safe; `publish` may be called in any other, one call at a time.
    """

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        """Wait up to `timeout_s` for records. Must be called at least every few seconds, also while all is paused.

        Raises LogUnavailable if the log was out of reach for longer than the member tolerates.
        """
        ...

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Return no records of these partitions until they are resumed; newly assigned ones start unpaused."""
        ...

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """Return records of these partitions again."""
        ...

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write the messages and move the group's positions, both or neither, in bounded time.

        Raises PublishFailed (rewind and go on) or Fenced (end the process).
        """
        ...

    def rewind(self) -> None:
        """Go back to the committed positions. The next poll reports every partition as revoked and assigned again."""
        ...

    def behind(self) -> Mapping[TopicPartition, int]:
        """How many offsets each of our partitions has left to read, for those of which the log tells in time."""
        ...

    def close(self, deadline: Deadline | None = None) -> None:
        """Leave the group at once, in bounded time and not after the deadline. Positions stay as committed."""
        ...


class Publisher(Protocol):
    """Writes messages in transactions, for one that belongs to no group. Not thread-safe."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none, in bounded time. Raises PublishFailed (try again) or Fenced."""
        ...

    def close(self) -> None:
        """Give the transactional identity up, in bounded time."""
        ...


class Log(Protocol):
    """A connection to a log.

    `every_offset_is_a_record`: an offset without a record is a loss. Else it may be a transaction's marker, or a record
    that compaction removed.
    """

    @property
    def every_offset_is_a_record(self) -> bool: ...

    def create_topics(
        self, partitions: Mapping[str, int], replicas: int | None = None, keep_days: Mapping[str, float] = NO_TOPICS
    ) -> tuple[CreatedTopic, ...]:
        """Create the topics that do not exist yet, with this many partitions each; return those.

        `replicas` is how many copies the log keeps of each; without it the log chooses. Records on topics that
        `keep_days` names stay for at least so many days. Raises LogError if it cannot.
        """
        ...

    def append(self, messages: Sequence[Message]) -> tuple[tuple[TopicPartition, int], ...]:
        """Write messages durably, each on its own, and return where each lies. Raises LogError if any was refused."""
        ...

    def join(self, group: str, topics: Sequence[str], member: str) -> Member:
        """Join a consumer group. `member` is this process's stable name: a second process with it fences the first."""
        ...

    def publisher(self, name: str) -> Publisher:
        """A transactional publisher under a name of its own: a second one with that name fences the first."""
        ...

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        """The topic's partitions in order. Raises LogError if there is no such topic."""
        ...

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """First offset still held, and the offset after the last committed record."""
        ...

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """The first offset whose record's timestamp is at or after this one; None if there is none."""
        ...

    def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """Where a group stands in a partition; None if it never committed there."""
        ...

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[Record]:
        """The committed records with these offsets, in order within a partition; gaps are left out.

        Belongs to no group and moves nobody's position. Raises LogUnavailable if nothing comes for too long.
        """
        ...

    def close(self) -> None:
        """Close every connection, in bounded time."""
        ...


def check_messages(messages: Sequence[Message]) -> None:
    """Raise LogError if a message is too large to be written."""
    for message in messages:
        labels = len(message.key or b"") + sum(len(name.encode()) + len(value) for name, value in message.headers)
        if len(message.value) > MAX_VALUE_BYTES or labels > MAX_LABEL_BYTES:
            raise LogError(
                f"a message for {message.topic} is too large: {len(message.value)} and {labels} bytes; a log takes "
                f"{MAX_VALUE_BYTES}, and {MAX_LABEL_BYTES} of key and headers"
            )


def check_positions(positions: Iterable[Position]) -> None:
    """Raise LogError if a position is none, or its note is too long."""
    for position in positions:
        if position.offset < 0 or len(position.metadata.encode()) > MAX_METADATA_BYTES:
            raise LogError(
                f"no valid position: offset {position.offset}, a note of {len(position.metadata)} characters"
            )
