"""Notices that nothing moves any more, behind a worker that looks alive.

Seen in the field with several client libraries: after a rebalance or an outage one partition brings nothing any more,
while the others go on and every probe is green; or everything is read and worked on, and no transaction ever succeeds.
That the engine is slow is no such case: it has a watch of its own, and what waits for it may wait for long.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from adapters.log import TopicPartition
from schemas.errors import WorkerError

# Whether there is more to read is a question to the log, so it is not asked at every turn of the loop.
LOOK_EVERY_S: Final = 15.0


class Stalled(WorkerError):
    """Something has not moved for too long."""


class StallDetector:
    """Compares how far everything has come with how far it had come before."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._looked_at = clock()
        self._read: dict[TopicPartition, tuple[int, float]] = {}
        self._committed = (0, clock())

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock() - self._looked_at >= LOOK_EVERY_S

    def check(
        self,
        reading: Mapping[TopicPartition, int],
        behind: Mapping[TopicPartition, int],
        *,
        committed: int,
        results: int,
        preparing_since: float | None,
    ) -> None:
        """Raises Stalled.

        `reading` says where each partition that is not paused is read next, `behind` how much of it is left, where that
        is known; `results` how many wait to be committed, `committed` how many were; `preparing_since` since when the
        oldest record that is being prepared has been.
        """
        now = self._looked_at = self._clock()
        before, self._read = self._read, {}
        for partition, offset in reading.items():
            at, since = before.get(partition, (None, now))
            self._read[partition] = offset, since if at == offset and behind.get(partition, 0) else now
            name = f"{partition.topic}/{partition.partition}"
            self._judge(self._read[partition][1], f"{name} brings no records, though there are some")
        if committed != self._committed[0] or not results:
            self._committed = committed, now
        self._judge(self._committed[1], "results are ready, and nothing is committed")
        if preparing_since is not None:
            self._judge(preparing_since, "a record is being prepared")

    def _judge(self, since: float, what: str) -> None:
        if self._looked_at - since >= self._limit_s:
            stood_s = self._looked_at - since
            raise Stalled(f"{what}, for {stood_s:.0f} s; start the worker again, it goes on from what is committed")
