"""A member that does what the test says, on a clock that moves only when it is polled. Nothing here waits."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from adapters.deadline import Deadline
from adapters.log import Message, Polled, Position, PublishFailed, TopicPartition

T = TypeVar("T")


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class ScriptedMember:
    """Brings what the script says, one item a poll, then nothing more. Every poll takes as long as it may.

    An item is a poll's outcome, or a call made in its place: to look at what there is by then, or to end the session.
    Records of paused partitions are held back, as a log does.
    """

    def __init__(self, clock: Clock, *script: Polled | Callable[[], object], failures: int = 0) -> None:
        self.clock = clock
        self.script = deque(script)
        self.failures = failures
        self.published: list[tuple[list[Message], dict[TopicPartition, Position]]] = []
        self.paused: set[TopicPartition] = set()
        self.pauses: list[frozenset[TopicPartition]] = []
        self.rewinds = 0
        self.on_rewind: Sequence[Polled] = ()
        self.left_to_read: Mapping[TopicPartition, int] = {}

    def poll(self, timeout_s: float, max_records: int) -> Polled:
        self.clock.now += timeout_s
        if not self.script:
            return Polled()
        item = self.script[0]
        if isinstance(item, Polled):
            if any(record.topic_partition in self.paused for record in item.records):
                return Polled()
            return self._taken(self.script.popleft())
        self.script.popleft()
        item()
        return Polled()

    def _taken(self, item: Polled | Callable[[], object]) -> Polled:
        assert isinstance(item, Polled)
        self.paused -= item.revoked | item.assigned.keys()
        return item

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self.pauses.append(partitions)
        self.paused |= partitions

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self.paused -= partitions

    def publish(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        if self.failures:
            self.failures -= 1
            raise PublishFailed("lost")
        self.published.append((list(messages), dict(positions)))

    def rewind(self) -> None:
        self.rewinds += 1
        self.paused.clear()
        self.script.extendleft(reversed(self.on_rewind))

    def behind(self) -> Mapping[TopicPartition, int]:
        return self.left_to_read

    def close(self, deadline: Deadline | None = None) -> None: ...

    @property
    def messages(self) -> list[Message]:
        return [message for messages, _ in self.published for message in messages]


def idle(polls: int) -> list[Polled]:
    """Nothing comes for so many polls."""
    return [Polled()] * polls


def at_once(_name: str, call: Callable[[], T]) -> Future[T]:
    """In place of a thread: the call is over before this returns."""
    outcome: Future[T] = Future()
    try:
        outcome.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the outcome is taken, as from a thread
        outcome.set_exception(error)
    return outcome
