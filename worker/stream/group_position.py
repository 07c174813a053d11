"""A group that is to have one member only: it has all partitions of a topic, or none of them counts.

`ExclusiveMember` moves the group's positions; `ReadOnlyPosition` sees where they are and moves nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from adapters.log import Log, LogError, Member, Message, Position, PublishFailed, TopicPartition
from worker.stream.session import JOIN_S, POLL_BUSY_S, POLL_IDLE_S

Positions = Mapping[TopicPartition, Position | None]

# A member must poll every few seconds, whatever else it does.
_POLL_EVERY_S: Final = 1.0


class GroupPosition(Protocol):
    """A position in the group: there is one that moves it, and one that does not."""

    def positions(self) -> Positions:
        """Where the group stands, now or again after PublishFailed."""
        ...

    def heartbeat(self) -> None:
        """Called all the while. Raises PublishFailed if the positions count no more."""
        ...

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write and move, both or neither. Raises PublishFailed or Fenced."""
        ...


class ExclusiveMember:
    """A member that reads by itself: of the group it needs the positions, and to be alone with them."""

    def __init__(
        self, member: Member, partitions: Sequence[TopicPartition], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._member = member
        self._partitions = frozenset(partitions)
        self._clock = clock
        self._polled_at = clock()

    def positions(self) -> Positions:
        """Where the group stands, once every partition is ours. Raises LogError if that takes too long."""
        self._member.rewind()
        held: dict[TopicPartition, Position | None] = {}
        give_up_at = self._clock() + JOIN_S
        while True:
            complete = held.keys() == self._partitions
            polled = self._member.poll(POLL_BUSY_S if complete else POLL_IDLE_S, 1)
            self._polled_at = self._clock()
            for partition in polled.revoked:
                held.pop(partition, None)
            held |= polled.assigned
            self._member.pause(frozenset(polled.assigned))
            # What one poll assigns may be published from the next poll on.
            if complete and not polled.assigned and not polled.revoked:
                return held
            if self._clock() >= give_up_at:
                raise LogError("another process has part of this group's partitions; try again when it has ended")

    def heartbeat(self) -> None:
        """Stay a member; costs nothing if called often. Raises PublishFailed if a partition changed hands."""
        if self._clock() - self._polled_at < _POLL_EVERY_S:
            return
        polled = self._member.poll(0.0, 1)
        self._polled_at = self._clock()
        if polled.revoked or polled.assigned:
            raise PublishFailed("the group's partitions changed hands")

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Write the messages and move the positions, both or neither. Raises PublishFailed or Fenced."""
        self._member.publish(messages, positions)


class ReadOnlyPosition:
    """Stands where the group stands, and only pretends to move it."""

    def __init__(self, log: Log, group: str, partitions: Sequence[TopicPartition]) -> None:
        self._log = log
        self._group = group
        self._partitions = partitions

    def positions(self) -> Positions:
        """Where the group stands."""
        return {partition: self._log.committed(self._group, partition) for partition in self._partitions}

    def heartbeat(self) -> None:
        """Nothing is held that could be lost."""

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Nothing is written."""
