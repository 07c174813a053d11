"""Records by their coordinates: many of them with few readings of the log, one in memory at a time."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from adapters.log import Log, Record
from worker.history.interval import Coordinates

# A reading of a remote log begins with a connection: 0.35 s measured, in which hundreds of records of 100 KB are read.
_NEAR: Final = 100


def fetch_records(log: Log, wanted: Collection[Coordinates]) -> Iterator[tuple[Coordinates, Record | None]]:
    """Each of the wanted coordinates once, with its record, or None if the log holds none there. Their order is free.

    Raises LogError if there is no such partition.
    """
    partitions = {partition for partition, _ in wanted}
    runs = {
        partition: _runs(sorted(offset for holder, offset in wanted if holder == partition)) for partition in partitions
    }
    for one_of_each in itertools.zip_longest(*runs.values()):
        now = {partition: run for partition, run in zip(runs, one_of_each, strict=True) if run}
        missing = {Coordinates(partition, offset) for partition, run in now.items() for offset in run}
        for record in log.read({partition: range(run[0], run[-1] + 1) for partition, run in now.items()}):
            at = Coordinates(record.topic_partition, record.offset)
            if at in missing:
                missing.remove(at)
                yield at, record
        yield from ((at, None) for at in sorted(missing))


def _runs(offsets: Sequence[int]) -> list[list[int]]:
    """Ascending offsets, cut where the next one is not near."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][-1] <= _NEAR:
            runs[-1].append(offset)
        else:
            runs.append([offset])
    return runs
