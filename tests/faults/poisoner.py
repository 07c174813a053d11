"""Sends records as no well-behaved sender writes them: any key, header, time, codec and size, and fatal content.

Each goes in a batch of its own, so that what cannot be read takes nothing with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from schemas.rejection import Reason
from tests.faults.kinds import Kind
from tests.faults.payloads import payload
from tests.support.hostile_records import MICROSECONDS, HostileRecord, hostile_records, send, sender

LONG_KEY: Final = 70_000
# What the worker with a fragile decoder and engine breaks on, and the codes of that.
FRAGILE: Final[Sequence[tuple[Kind, Reason]]] = (
    ("fatal", Reason.PAYLOAD_FATAL),
    ("sickening", Reason.ENGINE_NOT_FINITE),
)
SENDING_LIMIT_S: Final = 120.0


class Poisoner:
    """One producer for each codec, made when it is needed. Every kind has its turn before any has another."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = list(servers)
        self._producers: dict[str | None, Any] = {}
        self._sent: Counter[Kind] = Counter()
        self._bad = [record for record in hostile_records().values() if record.rejected]

    def send(self, topic: str, kind: Kind, number: int, headers: Mapping[str, bytes]) -> Any:
        """Send the hostile record with this number; the future tells where it lies."""
        turn = self._sent[kind]
        self._sent[kind] += 1
        record = self._good(number, turn) if kind == "hostile_good" else self._ill(number, turn)
        if record.codec not in self._producers:
            self._producers[record.codec] = sender(self._servers, record.codec)
        return send(self._producers[record.codec], topic, record, **headers)

    def close(self) -> None:
        """Wait until the cluster has everything."""
        for producer in self._producers.values():
            producer.flush(timeout=SENDING_LIMIT_S)
            producer.close(timeout=10)

    def _good(self, number: int, turn: int) -> HostileRecord:
        """An ECG that has to become a finding, whatever is odd about the record around it."""
        plain = HostileRecord(payload("asked", number), key=b"%d" % number)
        odd = (
            replace(plain, key=b"k" * LONG_KEY),
            replace(plain, key=None),
            replace(plain, header=b"\xff\xfeid"),
            replace(plain, timestamp_ms=MICROSECONDS),
            *(replace(plain, codec=codec) for codec in ("gzip", "snappy", "lz4", "zstd")),
        )
        return odd[turn % len(odd)]

    def _ill(self, number: int, turn: int) -> HostileRecord:
        """A record that has to be rejected."""
        nth = turn % (len(FRAGILE) + len(self._bad))
        if nth < len(FRAGILE):
            kind, rejected = FRAGILE[nth]
            return HostileRecord(payload(kind, number), rejected)
        return self._bad[nth - len(FRAGILE)]
