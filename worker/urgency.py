"""Who is next: STAT before routine, and nobody waits for ever.

Everything that waits has a *rank*, a moment: when it was read, less the head start of its priority. The earliest goes
first. So a STAT ECG overtakes all routine ones that were read up to its head start before it, and a routine one that
has waited for longer is overtaken no more.
"""

import heapq
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from schemas.ecg import Priority

T = TypeVar("T")

# STAT: an infarct is treated by the minute (door to ECG within 10), and no worker that is any use is behind by a
# quarter of an hour, so in practice STAT comes first. ASAP: before what came in during the last minute.
HEAD_START_S: Final[Mapping[Priority, float]] = MappingProxyType({"stat": 900.0, "asap": 60.0, "routine": 0.0})


def rank(read_at_s: float, priority: Priority) -> float:
    """The moment that orders what was read then, with this priority."""
    return read_at_s - HEAD_START_S[priority]


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

    def peek_rank(self) -> float:
        """The rank of the thing that is next."""
        return self._heap[0][0]

    def pop(self) -> T:
        """The thing that is next, which leaves."""
        return heapq.heappop(self._heap)[2]

    def remove_if(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out whatever is unwanted, and return it."""
        dropped = [thing for _, _, thing in self._heap if unwanted(thing)]
        self._heap = [entry for entry in self._heap if not unwanted(entry[2])]
        heapq.heapify(self._heap)
        return dropped
