"""The verifier's books: which records came in, what came of each, and whether that is what should have.

Counting only: nothing here reads a log. A record costs a few dozen bytes, so that hours of records can be kept.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tests.faults.kinds import KINDS, REJECTED, Kind, message_id

NONE: Final = -1
EXAMPLES: Final = 5  # of each kind of failure; enough to go and look
MOST_COUNTED: Final = 255

Partition = tuple[str, int]

_ROW: Final = np.dtype(
    [
        ("number", "i8"),  # of the record that came in; NONE: no such record
        ("kind", "u1"),
        ("label", "u1"),
        ("inbound_ms", "i8"),
        ("findings", "u1"),
        ("rejections", "u1"),
        ("result_ms", "i8"),  # of the first result
        ("finding_id", "u8"),  # its first eight bytes
        ("named", "i8"),  # the number in the message id that the finding names; NONE: another id
    ]
)
_EMPTY: Final = np.array((NONE, 0, 0, 0, 0, 0, 0, 0, NONE), _ROW)


@dataclass(frozen=True, slots=True)
class Inbound:
    """A record that came in."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    number: int
    kind: Kind
    label: str


@dataclass(frozen=True, slots=True)
class Result:
    """A committed finding, with its id and the message id that it names, or a rejection, with its code."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    finding_id: str | None = None
    message_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """From a record's timestamp to that of its result."""

    count: int
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the books say. `gap` is the longest time without a result while there was work, in all or in a partition."""

    records: int
    findings: int
    rejections: int
    lost: int
    duplicated: int
    unknown: int
    same_finding_id: int
    wrong_message: int
    wrong_kind: int
    gap_s: float
    partition_gap_s: float
    results_per_s: float
    latencies: Mapping[str, Latency]
    reasons: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    digest: str

    @property
    def ok(self) -> bool:
        """Every record became one result, the right one, and nothing else did."""
        return not any(
            (self.lost, self.duplicated, self.unknown, self.same_finding_id, self.wrong_message, self.wrong_kind)
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"ok": self.ok}


class Books:
    """Takes records and results in any order."""

    def __init__(self, *inbound_topics: str) -> None:
        self.came_in = 0
        self.decided = 0  # coordinates that have a result
        self.repeated = 0  # results beyond those
        self._moments: set[float] = set()
        self._topics = inbound_topics
        self._pages: dict[Partition, NDArray[np.void]] = {}
        self._prefixes: dict[Partition, int] = {}  # of each page, how far everything is decided
        self._labels: list[str] = []
        self._elsewhere: list[Result] = []
        self._reasons = Counter[str]()

    def came(self, record: Inbound) -> None:
        """Note a record."""
        if record.label not in self._labels:
            self._labels.append(record.label)
        self.came_in += 1
        row = self._row((record.topic, record.partition), record.offset)
        row["number"], row["inbound_ms"] = record.number, record.timestamp_ms
        row["kind"], row["label"] = KINDS.index(record.kind), self._labels.index(record.label)

    def became(self, result: Result) -> None:
        """Note a result."""
        if result.topic not in self._topics or result.partition < 0 or result.offset < 0:
            self._elsewhere.append(result)
            return
        row = self._row((result.topic, result.partition), result.offset)
        if not row["findings"] and not row["rejections"]:
            self.decided += 1
            row["result_ms"] = result.timestamp_ms
            self._moments.add(round(result.timestamp_ms / 1000, 1))
        else:
            self.repeated += 1
        count = "rejections" if result.finding_id is None else "findings"
        row[count] = min(int(row[count]) + 1, MOST_COUNTED)
        if result.finding_id is not None:
            row["finding_id"] = int(result.finding_id[:16], 16)
            row["named"] = number_named(result.message_id)
        if result.reason is not None:
            self._reasons[result.reason] += 1

    def take_moments(self) -> list[float]:
        """When the results that were noted since the last call were written, to a tenth of a second."""
        taken, self._moments = sorted(self._moments), set()
        return taken

    def waits_since_ms(self) -> int | None:
        """The timestamp of the oldest record without a result; None if all that came in have one."""
        oldest: list[int] = []
        for partition, page in self._pages.items():
            at = self._prefixes.get(partition, 0)
            while at < len(page) and page[at]["number"] != NONE and (page[at]["findings"] or page[at]["rejections"]):
                at += 1
            self._prefixes[partition] = at
            if at < len(page) and page[at]["number"] != NONE:
                oldest.append(int(page[at]["inbound_ms"]))
        return min(oldest, default=None)

    def without_results(self) -> Self:
        """The same records, for counting the results once more."""
        again = type(self)(*self._topics)
        again._labels = self._labels
        for partition, page in self._pages.items():
            kept = again._pages[partition] = np.repeat(_EMPTY, len(page))
            for column in ("number", "kind", "label", "inbound_ms"):
                kept[column] = page[column]
        return again

    def report(self) -> Report:
        """What the books say now."""
        pages = [self._pages[partition] for partition in sorted(self._pages)]
        rows = np.concatenate([np.repeat(_EMPTY, 0), *pages])
        known = rows["number"] != NONE
        findings, rejections = rows["findings"].astype(int), rows["rejections"].astype(int)
        results = findings + rejections
        bad = np.isin(rows["kind"], [KINDS.index(kind) for kind in REJECTED])
        ids, times = np.unique(rows["finding_id"][findings > 0], return_counts=True)
        failures = {
            "lost": known & (results == 0),
            "duplicated": results > 1,
            "unknown": ~known & (results > 0),
            "same_finding_id": (findings > 0) & np.isin(rows["finding_id"], ids[times > 1]),
            "wrong_message": known & (findings > 0) & (rows["named"] != rows["number"]),
            "wrong_kind": known & np.where(bad, findings > 0, rejections > 0),
        }
        counts = {name: int(np.count_nonzero(failed)) for name, failed in failures.items()}
        counts["unknown"] += len(self._elsewhere)
        decided = rows[results > 0]
        span_s = np.ptp(decided["result_ms"]) / 1000 if len(decided) > 1 else 0.0
        return Report(
            records=int(np.count_nonzero(known)),
            findings=int(findings.sum()),
            rejections=int(rejections.sum()),
            **counts,
            gap_s=longest_gap_s(rows[known]),
            partition_gap_s=max((longest_gap_s(page[page["number"] != NONE]) for page in pages), default=0.0),
            results_per_s=round(len(decided) / span_s, 1) if span_s else 0.0,
            latencies={label: _latency(rows[known & (results > 0)], at) for at, label in enumerate(self._labels)},
            reasons=dict(sorted(self._reasons.items())),
            examples={name: self._places(failed) for name, failed in failures.items() if failed.any()},
            digest=self._digest(),
        )

    def _row(self, partition: Partition, offset: int) -> np.void:
        page = self._pages.get(partition)
        if page is None or offset >= len(page):
            held = np.repeat(_EMPTY, 0) if page is None else page
            more = np.repeat(_EMPTY, max(1024, len(held), offset + 1 - len(held)))
            page = self._pages[partition] = np.concatenate([held, more])
        row: np.void = page[offset]  # a view
        return row

    def _places(self, failed: NDArray[np.bool_]) -> list[str]:
        """Where the first few of them lie, as topic/partition/offset."""
        partitions = sorted(self._pages)
        starts = np.cumsum([0, *(len(self._pages[partition]) for partition in partitions)])
        found = np.flatnonzero(failed)[:EXAMPLES]
        pages = np.searchsorted(starts, found, side="right") - 1
        return [
            "/".join(map(str, (*partitions[page], at - starts[page]))) for page, at in zip(pages, found, strict=True)
        ]

    def _digest(self) -> str:
        """Of all counts: equal if two readings saw the same."""
        digest = hashlib.sha256(str(len(self._elsewhere)).encode())
        for partition, page in sorted(self._pages.items()):
            counts = page["findings"].tobytes().rstrip(b"\0"), page["rejections"].tobytes().rstrip(b"\0")
            digest.update(repr((partition, counts)).encode())
        return digest.hexdigest()


def number_named(named: str | None) -> int:
    """The number of the record with this message id; NONE if no record of ours has it."""
    number = int(named[-30:]) if named and named[-30:].isdecimal() else NONE
    return number if number != NONE and message_id(number) == named else NONE


def longest_gap_s(rows: NDArray[np.void]) -> float:
    """The longest time without a result while a record waited. Before the first result nobody is at work yet."""
    inbound = np.sort(rows["inbound_ms"])
    results = np.sort(rows["result_ms"][(rows["findings"] > 0) | (rows["rejections"] > 0)])
    if len(results) < 2:
        return 0.0
    # With n results out, something waits from when record n + 1 came.
    waited_from = np.maximum(results[:-1], inbound[1 : len(results)])
    return round(float(np.max(results[1:] - waited_from)) / 1000, 3)


def _latency(rows: NDArray[np.void], label: int) -> Latency:
    chosen = rows[rows["label"] == label]
    if not len(chosen):
        return Latency(0, 0.0, 0.0, 0.0)
    seconds = (chosen["result_ms"] - chosen["inbound_ms"]) / 1000
    p50, p99 = np.percentile(seconds, [50, 99])
    return Latency(len(seconds), round(float(p50), 3), round(float(p99), 3), round(float(seconds.max()), 3))
