"""A member of a group that remembers what its polls brought, for tests."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adapters.log import Log, Message, Position, Record, TopicPartition


class Worker:
    """Joins a group and keeps the books as the worker's own loop would."""

    def __init__(self, log: Log, group: str, topic: str, name: str = "worker-0") -> None:
        self.member = log.join(group, [topic], name)
        self.owned: dict[TopicPartition, Position | None] = {}
        self.records: list[Record] = []
        self.revoked: list[TopicPartition] = []

    def poll(self, timeout_s: float = 0.1, max_records: int = 500) -> tuple[Record, ...]:
        polled = self.member.poll(timeout_s, max_records)
        assert polled.revoked <= self.owned.keys()
        for partition in polled.revoked:
            del self.owned[partition]
        assert not polled.assigned.keys() & self.owned.keys()
        self.owned.update(polled.assigned)
        self.revoked += polled.revoked
        self.records += polled.records
        assert all(record.topic_partition in self.owned for record in polled.records)
        return polled.records

    def values(self) -> list[bytes]:
        return sorted(record.value for record in self.records)

    def echo(self, topic: str, metadata: str = "") -> None:
        """Publish every record seen so far to the topic, and move the positions past them."""
        after = {r.topic_partition: Position(r.offset + 1, metadata) for r in self.records}
        self.member.publish([Message(topic, r.key, r.value) for r in self.records], after)
        self.records = []


@contextmanager
def joined(log: Log, group: str, topic: str, name: str = "worker-0") -> Iterator[Worker]:
    worker = Worker(log, group, topic, name)
    try:
        yield worker
    finally:
        worker.member.close()


def poll_until(done: Callable[[], bool], *workers: Worker, limit_s: float = 30) -> None:
    """Poll the workers in turn until it is so."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it did not come about in time"
        for worker in workers:
            worker.poll()


def read_all(log: Log, topic: str) -> list[Record]:
    """Every committed record of the topic."""
    return list(log.read({partition: range(*log.bounds(partition)) for partition in log.partitions(topic)}))
