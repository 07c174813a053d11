"""Notices a partition that has stopped, behind a worker that looks alive.

Seen in the field with several client libraries: after a rebalance or an outage one partition brings nothing any more,
while the others go on and every probe is green.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from adapters.log import TopicPartition
from worker.ledger import PartitionLedger

# Whether there is more to read is a question to the log, so it is not asked at every turn of the loop.
LOOK_EVERY_S: Final = 15.0


class PartitionStuck(Exception):
    """There is work in a partition, and none of it was read or finished for too long."""


class PartitionWatch:
    """Compares what each partition's ledger has come to with what it had come to before."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._looked_at = clock()
        self._seen: dict[TopicPartition, tuple[PartitionLedger, tuple[int, int], float]] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock() - self._looked_at >= LOOK_EVERY_S

    def look(self, ledgers: Mapping[TopicPartition, PartitionLedger], behind: Mapping[TopicPartition, int]) -> None:
        """Raises PartitionStuck. `behind` says how much is left to read, where that is known."""
        now = self._looked_at = self._clock()
        seen, self._seen = self._seen, {}
        for partition, ledger in ledgers.items():
            before = seen.get(partition)
            idle = ledger.open == 0 and behind.get(partition, 0) == 0
            if before is None or idle or before[0] is not ledger or before[1] != ledger.progress:
                self._seen[partition] = ledger, ledger.progress, now
            elif now - before[2] >= self._limit_s:
                raise PartitionStuck(f"{partition.topic}/{partition.partition} has not moved for {self._limit_s:.0f} s")
            else:
                self._seen[partition] = before
