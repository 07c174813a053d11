"""The verifier: a process of its own that sees only what any reader of the log sees, and says whether it is right.

It reads committed results while the run goes on, as an EHR would, and once more from the beginning when it is over. It
knows nothing of the worker's adapters: it uses the client library itself, belongs to no group, and keeps its own books.
Standard output gets a JSON line with the progress whenever there is some, and in the end one with the report. The run
is over when standard input closes.
"""

import argparse
import json
import logging
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tests.faults.books import Books, Inbound, Result

TELL_EVERY_S: Final = 0.05
POLL_MS: Final = 50
MOST_RECORDS: Final = 2000
SETTLE_LIMIT_S: Final = 90.0  # a transaction that nobody ends is aborted after 30 s
ASK_LIMIT_MS: Final = 10_000


class Reading:
    """One reading of some topics, every partition from the first record on."""

    def __init__(self, servers: Sequence[str], topics: Sequence[str], isolation: str = "read_committed") -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=list(servers), isolation_level=isolation, auto_offset_reset="earliest",
            enable_auto_commit=False, allow_auto_create_topics=False, reconnect_backoff_max_ms=500,
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )  # fmt: skip
        self._partitions = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning(*self._partitions)

    def take(self) -> list[Any]:
        """Records that came, at most so many; none if a broker is away."""
        try:
            polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
        except KafkaError:
            time.sleep(POLL_MS / 1000)
            return []
        return [record for records in polled.values() for record in records]

    def ends(self) -> dict[Any, int]:
        """The offset after the last record of each partition that this reading may see."""
        ends: dict[Any, int] = self._consumer.end_offsets(self._partitions, timeout_ms=ASK_LIMIT_MS)
        return ends

    def reached(self, ends: dict[Any, int]) -> bool:
        """Whether everything before these offsets has been taken."""
        return all(self._consumer.position(item, timeout_ms=ASK_LIMIT_MS) >= end for item, end in ends.items())

    def close(self) -> None:
        """End it."""
        self._consumer.close()


def inbound_of(record: Any) -> Inbound:
    """A record of the inbound topic; what it says of itself stands in its key and headers."""
    said = {name: value.decode() for name, value in record.headers}
    return Inbound(
        record.topic, record.partition, record.offset, record.timestamp, int(record.key), said["kind"], said["label"]
    )  # fmt: skip


def result_of(value: bytes, timestamp_ms: int, *, is_finding: bool) -> Result:
    """A finding or a rejection as published. Raises KeyError or ValueError if it is neither."""
    said = json.loads(value)
    source = said["source"]
    place = source["topic"], source["partition"], source["offset"], timestamp_ms
    return (
        Result(*place, said["finding_id"], source["message_id"])
        if is_finding
        else Result(*place, reason=said["reason"])
    )


class Verifier:
    """Reads, keeps the books, and reports."""

    def __init__(
        self, servers: Sequence[str], inbound: Sequence[str], findings: str, rejections: str, manifest: str = ""
    ) -> None:
        """With a `manifest`, that is read instead of the inbound topics."""
        self._servers, self._findings, self._manifest = servers, findings, manifest
        self._inbound = [manifest] if manifest else inbound
        self._results = [findings, rejections]
        self._books = Books(*inbound)
        self._told, self._told_at = (0, 0), 0.0

    def follow(self, over: threading.Event) -> None:
        """Read until told that it is over, and from there to the end."""
        reading = Reading(self._servers, [*self._inbound, *self._results])
        while not over.is_set():
            self._note(reading.take())
            if time.monotonic() - self._told_at > TELL_EVERY_S:
                self._tell()
        self._finish(reading)

    def report(self) -> dict[str, Any]:
        """Read the results once more; the report of that reading, and whether the first saw the same."""
        first = self._books.report()
        self._books = self._books.without_results()
        self._finish(Reading(self._servers, self._results))
        again = self._books.report()
        return {**again.to_json(), "ok": again.ok and first.ok, "same_twice": first.digest == again.digest}

    def _note(self, records: Sequence[Any]) -> None:
        for record in records:
            if record.topic == self._manifest:
                self._books.came(Inbound(**json.loads(record.value)))
            elif record.topic in self._inbound:
                self._books.came(inbound_of(record))
            else:
                self._books.became(
                    result_of(record.value, record.timestamp, is_finding=record.topic == self._findings)
                )  # fmt: skip

    def _tell(self) -> None:
        books = self._books
        if (books.came_in, books.decided) != self._told:
            self._told, self._told_at = (books.came_in, books.decided), time.monotonic()
            figures = {"came_in": books.came_in, "decided": books.decided, "repeated": books.repeated}
            tell({**figures, "waits_since_ms": books.waits_since_ms(), "moments": books.take_moments()})

    def _finish(self, reading: Reading) -> None:
        """Read to the end. Where a transaction is still open that is not the end yet: its outcome is waited for."""
        everything = Reading(self._servers, self._results, "read_uncommitted")
        give_up_at = time.monotonic() + SETTLE_LIMIT_S
        while not all(reading.ends()[item] >= end for item, end in everything.ends().items()):
            if time.monotonic() > give_up_at:
                raise TimeoutError("a transaction stays open")
            self._note(reading.take())
        ends = everything.ends()
        everything.close()
        while not reading.reached(ends):
            self._note(reading.take())
        reading.close()


def tell(what: dict[str, Any]) -> None:
    """One line for whoever started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run as `python -m tests.faults.verifier`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True, help="host:port,...")
    for topic in ("inbound", "findings", "rejections"):
        parser.add_argument(f"--{topic}", required=True, help="topic")
    parser.add_argument("--manifest", default="", help="topic that says where records lie and what they are")
    given = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # brokers go away here; that is the point
    over = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    verifier = Verifier(
        given.servers.split(","), given.inbound.split(","), given.findings, given.rejections, given.manifest
    )
    verifier.follow(over)
    tell({"report": verifier.report()})


if __name__ == "__main__":
    main()
