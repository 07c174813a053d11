"""How much may be read and not committed, and of which topics.

Reading ahead is what finds urgent records early, and it is bounded in number and bytes. A topic that comes after others
in the order of precedence may fill a part of that room only: what is left stays free for those before it, so that a
backlog of routine records never keeps a STAT one from being read. A little is kept for it in turn, which those before
it may not fill: its share of the work is nothing without records to work on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.stream.limits import Limits

# A full worker reads on when it has room for this much of what it may hold, not for every single record.
RESUME_AT: Final = 0.8
# How much of the room of the topic before it a topic may fill.
PART_OF_THE_ONE_BEFORE: Final = 0.75
# How much is kept for all topics but the first, an equal part for each.
KEPT_FOR_LATER: Final = 0.1


@dataclass(slots=True)
class Held:
    """What is read and not committed."""

    records: int = 0
    bytes: int = 0

    def add(self, records: int, count_bytes: int) -> None:
        """So much more, or less."""
        self.records += records
        self.bytes += count_bytes


class ReadAhead:
    """The room that there is, by topic. `look` once a turn of the loop, before the others."""

    def __init__(self, limits: Limits, topics: Sequence[str]) -> None:
        """`topics` in their order of precedence."""
        self._limits = limits
        self._topics = tuple(topics)
        self._kept = KEPT_FOR_LATER / max(1, len(topics) - 1)
        self._full: frozenset[str] = frozenset()
        self._room = 0

    def look(self, held: Mapping[str, Held]) -> None:
        """So much of each topic is held now. One that was full is so until a fifth of its room is free again."""
        records = [held[topic].records if topic in held else 0 for topic in self._topics]
        held_bytes = [held[topic].bytes if topic in held else 0 for topic in self._topics]
        full, rooms = set[str](), list[float]()
        for place, topic in enumerate(self._topics):
            part = RESUME_AT if topic in self._full else 1.0
            if (
                self._room_of(place, self._limits.read_ahead, records, part) <= 0
                or self._room_of(place, self._limits.read_ahead_bytes, held_bytes, part) <= 0
            ):
                full.add(topic)
            else:
                rooms.append(self._room_of(place, self._limits.read_ahead, records))
        self._full = frozenset(full)
        self._room = max(1, int(min(rooms))) if rooms else 0

    def _room_of(self, place: int, limit: int, held: Sequence[int], part: float = 1.0) -> float:
        """How much more of the topic at this place may be held, of `part` of what it ever may."""
        kept = self._kept * limit
        kept_for_later = sum(max(0.0, kept - own) for own in held[place + 1 :])
        with_the_others = min(part * limit * PART_OF_THE_ONE_BEFORE**place, part * limit - kept_for_later)
        room = with_the_others - sum(held)
        return room if place == 0 else max(room, min(part * kept - held[place], limit - sum(held)))

    @property
    def full_topics(self) -> frozenset[str]:
        """Topics that are not to be read now."""
        return self._full

    @property
    def room(self) -> int:
        """How many records the next poll may bring, whichever of the other topics they come from; 0: none."""
        return self._room
