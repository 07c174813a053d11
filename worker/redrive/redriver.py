"""Puts rejected records back on the topic they came from, each once, or gives them up; remembers both.

A consumer group of its own stands on the rejections topic. A rejection is *open* until it is settled: put back, in the
same transaction that moves the group's position, or given up. The ledger keeps the open ones open and notes the others,
so a second run finds nothing to repeat. Rejections that arrive during a run are left to the next one: a record that is
rejected again cannot go round in circles while nobody looks.
"""

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.log import (
    MAX_VALUE_BYTES,
    Log,
    LogError,
    Record,
    TopicPartition,
    check_messages,
)
from schemas.codes import Code
from schemas.finding import RecordRef, Redrive
from schemas.rejection import Reason, Rejection
from worker.history.interval import Coordinates, Interval
from worker.history.lookup import fetch_records
from worker.history.results import rejection_in
from worker.redrive_headers import next_redrive, redriven_message
from worker.stream.group_position import GroupPosition, Positions
from worker.stream.settling import Settlement, Settling

# What was rejected after three more tries, each after somebody changed something, is not cured by a fourth.
MAX_REDRIVES: Final = 3

# One transaction: few enough records and bytes to be written well within its time limit, and held in memory at once.
STEP_RECORDS: Final = 100
STEP_BYTES: Final = MAX_VALUE_BYTES


class Refusal(Code):
    """Why a selected rejection stays open. Codes are added, never renamed."""

    GONE = "redrive.gone", "The log no longer holds the record."
    DIGEST = "redrive.digest", "The record is not the one that was rejected: its SHA-256 is another."
    LIMIT = "redrive.limit", "The record was put back three times already."
    TOO_LARGE = "redrive.too_large", "The record is larger than the log takes."
    TOPIC = "redrive.topic", "The record came from another topic than the one that the worker reads."
    UNREADABLE_BATCH = "redrive.unreadable_batch", "The log's batch with this record still cannot be read."
    UNREADABLE = "redrive.unreadable", "What lies on the rejections topic is no rejection of a version that is known."


@dataclass(frozen=True, slots=True)
class RedriveOutcome:
    """What became of one selected rejection. `redrive` is what the record says now; None if it was not put back."""

    rejection: RecordRef
    reason: Reason | None
    record: RecordRef | None
    redrive: Redrive | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """What to do with which rejections. `interval` is of the rejections topic, all of its partitions, and fixed."""

    inbound_topics: Collection[str]
    interval: Interval
    reasons: frozenset[Reason] = frozenset()  # none: whatever the reason
    give_up: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A selected rejection, and where it lies."""

    partition: TopicPartition
    offset: int
    rejection: Rejection | None  # None if it cannot be read

    def outcome(self, redrive: Redrive | None = None, refusal: Refusal | None = None) -> RedriveOutcome:
        at = RecordRef(topic=self.partition.topic, partition=self.partition.partition, offset=self.offset)
        if self.rejection is None:
            return RedriveOutcome(at, None, None, redrive, refusal)
        return RedriveOutcome(at, self.rejection.reason, self.source, redrive, refusal)

    @property
    def source(self) -> RecordRef:
        assert self.rejection is not None
        source = self.rejection.source
        return RecordRef(topic=source.topic, partition=source.partition, offset=source.offset)


_Settlement = Settlement[RedriveOutcome]


class Redriver:
    """Settles what the plan selects. `run` once."""

    def __init__(
        self,
        log: Log,
        group_position: GroupPosition,
        plan: RedrivePlan,
        on_progress: Callable[[RedriveOutcome], None],
    ) -> None:
        """`on_progress` hears of each selected rejection once: settled ones when that is certain."""
        self._log = log
        self._settling = Settling(group_position, on_progress)
        self._plan = plan
        self._on_progress = on_progress
        self._inbound = frozenset(partition for topic in plan.inbound_topics for partition in log.partitions(topic))
        self._refused: set[tuple[TopicPartition, int]] = set()

    def run(self) -> None:
        """Settle what can be settled. Raises LogError if the log cannot do it, or the position cannot remember it."""
        self._settling.run(self._pass)

    def _pass(self, positions: Positions) -> None:
        chosen = self._choose(positions)
        while batch := list(itertools.islice(chosen, STEP_RECORDS)):
            step: list[_Settlement] = []
            size = 0
            for ready in self._given_up(batch) if self._plan.give_up else self._examined(batch):
                step.append(ready)
                size += len(ready.message.value) if ready.message else 0
                if size >= STEP_BYTES:
                    self._settling.settle(step)
                    step, size = [], 0
            self._settling.settle(step)

    def _choose(self, positions: Positions) -> Iterator[_Candidate]:
        """The open rejections that are selected."""
        for record in self._settling.open_records(self._log, positions, self._plan.interval.ranges):
            if self._plan.interval.holds(record):
                rejection = rejection_in(record.value)
                if not self._plan.reasons or (rejection is not None and rejection.reason in self._plan.reasons):
                    yield _Candidate(record.topic_partition, record.offset, rejection)

    def _given_up(self, batch: Sequence[_Candidate]) -> Iterator[_Settlement]:
        return (_Settlement(chosen.partition, chosen.offset, chosen.outcome()) for chosen in batch)

    def _examined(self, batch: Sequence[_Candidate]) -> Iterator[_Settlement]:
        """Those whose record is there, unchanged, and may be put back. The others are refused."""
        wanted: dict[Coordinates, list[_Candidate]] = {}
        for chosen in batch:
            refusal = self._refusal_unread(chosen)
            if refusal is not None:
                self._refuse(chosen, refusal)
            else:
                source = chosen.source
                at = Coordinates(TopicPartition(source.topic, source.partition), source.offset)
                wanted.setdefault(at, []).append(chosen)
        for at, record in fetch_records(self._log, wanted):
            self._settling.heartbeat()
            for chosen in wanted[at]:
                ready = self._examine(chosen, record)
                if isinstance(ready, Refusal):
                    self._refuse(chosen, ready)
                else:
                    yield ready

    def _refusal_unread(self, chosen: _Candidate) -> Refusal | None:
        """What forbids even to look for the record."""
        if chosen.rejection is None:
            return Refusal.UNREADABLE
        if chosen.source.topic not in self._plan.inbound_topics:
            return Refusal.TOPIC
        known = TopicPartition(chosen.source.topic, chosen.source.partition) in self._inbound
        return None if known else Refusal.GONE

    def _examine(self, chosen: _Candidate, record: Record | None) -> _Settlement | Refusal:
        assert chosen.rejection is not None
        if record is None:
            return Refusal.GONE
        if record.unreadable is not None:
            return Refusal.UNREADABLE_BATCH
        # What could not be read then has no digest.
        could_be_read = chosen.rejection.reason != Reason.LOG_UNREADABLE_BATCH
        if could_be_read and hashlib.sha256(record.value).hexdigest() != chosen.rejection.source.sha256:
            return Refusal.DIGEST
        redrive = next_redrive(record)
        if redrive.count > MAX_REDRIVES:
            return Refusal.LIMIT
        message = redriven_message(record, redrive)
        try:
            check_messages([message])
        except LogError:
            return Refusal.TOO_LARGE
        return _Settlement(chosen.partition, chosen.offset, chosen.outcome(redrive), message)

    def _refuse(self, chosen: _Candidate, refusal: Refusal) -> None:
        at = chosen.partition, chosen.offset
        if at not in self._refused:  # by an earlier pass
            self._refused.add(at)
            self._on_progress(chosen.outcome(refusal=refusal))
