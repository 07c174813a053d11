"""Who is next: STAT before routine, and nobody waits for ever.

Everything that waits has a *rank*, a moment: when it was read or, once it is begun, when that was, less its head start.
The earliest goes first. So what is urgent overtakes all that came up to its head start before it, and what has waited
for longer is overtaken no more. What was not begun yet waits in two lanes besides, that a backlog of hours holds up
nothing that somebody waits for, and a stream of urgent records leaves the others their share.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from schemas.ecg import Priority

T = TypeVar("T")

# STAT: an infarct is treated by the minute (door to ECG within 10), and no worker that is any use is behind by a
# quarter of an hour, so in practice STAT comes first. ASAP: before what came in during the last minute.
HEAD_START_S: Final[Mapping[Priority, float]] = MappingProxyType({"stat": 900.0, "asap": 60.0, "routine": 0.0})


@dataclass(frozen=True, slots=True)
class Urgency:
    """How urgent a record is: its priority, its head start over others, and whether somebody waits for it now."""

    priority: Priority = "routine"
    head_start_s: float = 0.0
    waited_for: bool = False

    def at_least(self, priority: Priority) -> "Urgency":
        """The same, once the whole record is known and may be more urgent than its first glance was."""
        if HEAD_START_S[priority] <= HEAD_START_S[self.priority] or self.head_start_s < 0:
            return self
        head_start_s = self.head_start_s + HEAD_START_S[priority] - HEAD_START_S[self.priority]
        return Urgency(priority, head_start_s, self.waited_for or priority == "stat")

    def promoted(self) -> "Urgency":
        """Its turn has come by its share: from here on it waits as if it were STAT."""
        return Urgency(self.priority, max(self.head_start_s, HEAD_START_S["stat"]), self.waited_for)


def rank(came_at_s: float, urgency: Urgency) -> float:
    """The moment that orders what came then."""
    return came_at_s - urgency.head_start_s


class UrgencyQueue(Generic[T]):
    """Things that wait, by rank; in the order of coming where ranks are equal."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, rank: float, thing: T) -> None:
        """Let a thing wait."""
        self._arrivals += 1
        heapq.heappush(self._heap, (rank, self._arrivals, thing))

    def peek(self) -> T:
        """The thing that is next, which stays."""
        return self._heap[0][2]

    def pop(self) -> T:
        """The thing that is next, which leaves."""
        return heapq.heappop(self._heap)[2]

    def remove_if(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out whatever is unwanted, and return it."""
        dropped = [thing for _, _, thing in self._heap if unwanted(thing)]
        self._heap = [entry for entry in self._heap if not unwanted(entry[2])]
        heapq.heapify(self._heap)
        return dropped


class TwoLanes(Generic[T]):
    """Things that wait, each in one of two lanes by rank: those that somebody waits for, and the others.

    The first lane goes first, but for the share of the others. How long they have waited does not count against it: of
    a backlog that takes hours, all would have waited longer than what is urgent now.
    """

    def __init__(self, share_of_others: float) -> None:
        """Of what is taken while both lanes hold something, the others have this share at least."""
        self._share_of_others = share_of_others
        self._owed = 0.0
        self._waited_for, self._others = UrgencyQueue[T](), UrgencyQueue[T]()

    def __len__(self) -> int:
        return len(self._waited_for) + len(self._others)

    def add(self, rank: float, thing: T, *, waited_for: bool) -> None:
        """Let a thing wait."""
        (self._waited_for if waited_for else self._others).add(rank, thing)

    def pop(self, *, others_too: bool = True) -> tuple[T, bool] | None:
        """The next thing, which leaves, and whether it owes that to its share. None if there is none to be had."""
        if not self._others or not others_too:
            return (self._waited_for.pop(), False) if self._waited_for else None
        if not self._waited_for:
            self._owed = 0.0
            return self._others.pop(), False
        self._owed += self._share_of_others
        if self._owed >= 1.0:
            self._owed -= 1.0
            return self._others.pop(), True
        return self._waited_for.pop(), False

    def remove_if(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out whatever is unwanted, and return it."""
        return self._waited_for.remove_if(unwanted) + self._others.remove_if(unwanted)
