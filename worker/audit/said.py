"""What was said of a record, in as little as a comparison needs: an interval may hold a million records."""

import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from schemas.finding import Finding
from schemas.rejection import Reason
from worker.history.results import Result

_DIGEST_BYTES: Final = 8

Flag = Literal["stat", "urgent", "routine"]


@dataclass(frozen=True, slots=True)
class Said:
    """A finding or a rejection without its content; about 500 bytes.

    says          a finding's verdict, or a rejection's reason
    flag          the priority of its flag; None if none was raised
    probability   None without a model call, and of a rejection
    fingerprint   what made a finding; None of a rejection
    lost          a rejection of records that the log had lost, under the offset of the first
    """

    says: str
    is_finding: bool
    flag: Flag | None
    probability: float | None
    fingerprint: str | None
    timestamp: datetime | None
    lost: bool
    detail: str
    fields: tuple[str, ...]
    digests: bytes

    @property
    def timestamp_ms(self) -> int | None:
        """The record's own time."""
        return None if self.timestamp is None else round(self.timestamp.timestamp() * 1000)


def said(result: Result) -> Said:
    """What a result says."""
    published = result.model_dump(mode="json", by_alias=True)
    names = tuple(map(sys.intern, published))
    digests = b"".join(_digest(published[name]) for name in names)
    timestamp = result.source.timestamp
    if isinstance(result, Finding):
        flag: Flag | None = result.flag.priority if result.flag.raised else None
        made_by = sys.intern(result.provenance.fingerprint)
        verdict, probability = sys.intern(result.assessment.verdict), result.assessment.probability
        return Said(verdict, True, flag, probability, made_by, timestamp, False, "", names, digests)
    lost = result.reason is Reason.LOG_RECORDS_GONE
    # The detail of any other rejection is on its topic; there is no need to hold it.
    detail = result.detail if lost else ""
    return Said(result.reason.value, False, None, None, None, timestamp, lost, detail, names, digests)


def differing(then: Said, now: Said) -> tuple[str, ...]:
    """The top-level fields that are not equal, as they are published."""
    before, after = _by_name(then), _by_name(now)
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def _by_name(of: Said) -> dict[str, bytes]:
    return {name: of.digests[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES] for at, name in enumerate(of.fields)}


def _digest(value: object) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=_DIGEST_BYTES).digest()
