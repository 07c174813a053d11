"""How much may be read and not committed, and of which topics.

Reading ahead is what finds urgent records early, and it is bounded in number and bytes. A topic that comes after others
in the order of precedence may fill a part of that room only: what is left stays free for those before it, so that a
backlog of routine records never keeps a STAT one from being read.
"""

from collections.abc import Sequence
from typing import Final

from worker.stream.limits import Limits

# A full worker reads on when it has room for this much of what it may hold, not for every single record.
RESUME_AT: Final = 0.8
# How much of the room of the topic before it a topic may fill.
PART_OF_THE_ONE_BEFORE: Final = 0.75


class ReadAhead:
    """The room that there is, by topic. `look` once a turn of the loop, before the others."""

    def __init__(self, limits: Limits, topics: Sequence[str]) -> None:
        """`topics` in their order of precedence."""
        self._limits = limits
        self._part = {topic: PART_OF_THE_ONE_BEFORE**place for place, topic in enumerate(topics)}
        self._full: frozenset[str] = frozenset()
        self._records = 0

    def look(self, records: int, held_bytes: int) -> None:
        """So much is held now. A topic that was full is so until a fifth of its room is free again."""
        self._records = records
        self._full = frozenset(
            topic
            for topic, part in self._part.items()
            for allowed in [part * (RESUME_AT if topic in self._full else 1.0)]
            if records >= allowed * self._limits.read_ahead or held_bytes >= allowed * self._limits.read_ahead_bytes
        )

    @property
    def full_topics(self) -> frozenset[str]:
        """Topics that are not to be read now."""
        return self._full

    @property
    def room(self) -> int:
        """How many records the next poll may bring, whichever of the other topics they come from; 0: none."""
        parts = [part for topic, part in self._part.items() if topic not in self._full]
        return max(1, int(min(parts) * self._limits.read_ahead) - self._records) if parts else 0
