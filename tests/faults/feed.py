"""Puts ECGs on an inbound topic: all at once, or at a steady rate whether anybody keeps up or not (open loop).

A record's key is its number. Headers say what it is, for whoever verifies: its kind, and under which label its latency
is to be counted. `ecg-priority` is the worker's own.
"""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaProducer

from tests.faults.kinds import HOSTILE, Kind
from tests.faults.payloads import ORDINARY, draw, payload
from tests.faults.poisoner import Poisoner

BATCH_BYTES: Final = 256 * 1024
FLUSH_EVERY: Final = 500  # the client's buffer has no bound of its own
FLUSH_LIMIT_S: Final = 120.0
TICK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """What is fed: the shares of kinds, the share marked STAT in the header, the label that latencies go under."""

    shares: Mapping[Kind, float] = field(default_factory=lambda: ORDINARY)
    stat: float = 0.0
    label: str = ""


class Feed:
    """Feeds one topic, in numbers from 0 on. The same seed gives the same records."""

    def __init__(
        self,
        servers: Sequence[str],
        topic: str,
        seed: int,
        load: Load | None = None,
        fed: int = 0,
        first_number: int = 0,
        manifest: str = "",
    ) -> None:
        """`fed` is how many records lie there already; no two feeds of a trial may share a number.

        A `manifest` is a topic on which it says where each record lies and what it is, for whoever cannot read them.
        """
        self.fed = fed
        self._first_number = first_number
        self.refused = 0
        self._topic = topic
        self._drawn = random.Random(seed)
        self._load = load or Load()
        self._per_s = 0.0
        self._changed = threading.Condition()
        self._over = False
        self._producer: Any = KafkaProducer(
            bootstrap_servers=list(servers), enable_idempotence=True, acks="all", compression_type="gzip",
            batch_size=BATCH_BYTES, linger_ms=20, allow_auto_create_topics=False,
        )  # fmt: skip
        self._manifest = manifest
        self._written: deque[dict[str, object]] = deque()
        self._poisoner = Poisoner(servers)
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def put(self, count: int) -> None:
        """Feed so many records now, and wait until the cluster has them."""
        for nth in range(1, count + 1):
            self._send()
            if nth % FLUSH_EVERY == 0 or nth == count:
                self._producer.flush(timeout=FLUSH_LIMIT_S)

    def at_rate(self, per_s: float, load: Load | None = None) -> None:
        """Feed at this rate from now on, until told otherwise; 0 is a pause."""
        with self._changed:
            self._per_s = per_s
            self._load = load or self._load
            self._changed.notify()

    def close(self) -> None:
        """Stop feeding, and wait until the cluster has everything."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()
        self._poisoner.close()
        self._producer.flush(timeout=FLUSH_LIMIT_S)
        self._say_where()
        self._producer.flush(timeout=FLUSH_LIMIT_S)
        self._producer.close(timeout=10)

    def _run(self) -> None:
        owed, last = 0.0, time.monotonic()
        while not self._over:
            with self._changed:
                paused = not self._per_s
                self._changed.wait(None if paused else TICK_S)
                per_s = self._per_s
            now = time.monotonic()
            last = now if paused else last
            owed = owed + (now - last) * per_s if per_s else 0.0
            last = now
            while owed >= 1:
                owed -= 1
                self._send()
            self._say_where()

    def _send(self) -> None:
        load, number = self._load, self._first_number + self.fed
        kind = draw(self._drawn, load.shares)
        stat = kind == "stat" or self._drawn.random() < load.stat
        label = f"{load.label} {'stat' if stat else 'hostile' if kind in HOSTILE else 'routine'}".strip()
        headers = {"kind": kind.encode(), "label": label.encode()}
        if stat:
            headers["ecg-priority"] = b"stat"
        if kind in HOSTILE:
            sent = self._poisoner.send(self._topic, kind, number, headers)
        else:
            sent = self._producer.send(
                self._topic, key=b"%d" % number, value=payload(kind, number), headers=list(headers.items())
            )
        now_ms = int(time.time() * 1000)
        sent.add_callback(lambda at: self._written.append(_place(at, now_ms, number, kind, label)))
        sent.add_errback(self._note_refusal)
        self.fed += 1

    def _say_where(self) -> None:
        """Tell the manifest of what was written since."""
        while self._written:
            place = self._written.popleft()
            if self._manifest:
                self._producer.send(self._manifest, json.dumps(place).encode())

    def _note_refusal(self, _: BaseException) -> None:
        self.refused += 1


def _place(at: Any, now_ms: int, number: int, kind: Kind, label: str) -> dict[str, object]:
    """A line of the manifest: the fields of `books.Inbound`."""
    return {
        "topic": at.topic, "partition": at.partition, "offset": at.offset, "timestamp_ms": now_ms, "number": number,
        "kind": kind, "label": label,
    }  # fmt: skip
