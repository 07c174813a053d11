"""Delivers what a receiver did not take over before, or gives it up, and remembers which.

A consumer group of its own stands on the topic of delivery rejections. A rejection is *open* until its finding is taken
over, or given up; the group's position, with the ledger's note, remembers it. The findings topic is read only: nobody
who reads it sees a finding twice. A crash after an acknowledgement and before the position moved sends that one finding
again, with the same control id.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from adapters.deadline import run_in_thread
from adapters.log import Log, PublishFailed, Record, TopicPartition
from schemas.codes import Code
from schemas.delivery import DeliveryReason, DeliveryRejection, Refused, Unanswered, Unsendable
from schemas.errors import WorkerError
from schemas.finding import Finding, RecordRef
from worker.delivery.lifetime import Lifetimes, handling
from worker.delivery.receiver import Outcome, Receiver, offer
from worker.delivery.retry import RetryPolicy
from worker.history.interval import Coordinates, Interval
from worker.history.lookup import fetch_records
from worker.history.results import delivery_rejection_in, finding_in
from worker.stream.group_position import GroupPosition, Positions
from worker.stream.settling import Settlement, Settling

# Findings held in memory at once: a few megabytes.
_STEP: Final = 100
# Between two looks at the group while a receiver is waited for; its members must be heard of every few seconds.
_LOOK_S: Final = 0.5
# One finding without an answer may be that finding's fault. Two in a row are the receiver's.
_UNANSWERED_IN_A_ROW: Final = 2


class ReceiverAway(WorkerError):
    """The receiver does not answer; what it took over until now is remembered."""


class RedeliveryRefusal(Code):
    """Why a selected delivery rejection stays open. Codes are added, never renamed."""

    GONE = "redeliver.gone", "The log no longer holds the finding."
    TOPIC = "redeliver.topic", "The finding lies on another topic than the one that `deliver` reads."
    OTHER = "redeliver.other", "Where the finding lay, there is another one: the topic was made anew."
    NO_FINDING = "redeliver.no_finding", "The record is no finding of a version that this program reads."
    UNSENDABLE = "redeliver.unsendable", "No message can be made of the finding."
    EXPIRED = "redeliver.expired", "The recording is too old even for a review (`review_lifetime_h`)."
    REFUSED = "redeliver.refused", "The receiver refused it again."
    NO_ACK = "redeliver.no_ack", "The receiver did not acknowledge it again, as often as is tried."
    UNREADABLE = "redeliver.unreadable", "The record is no delivery rejection of a version that is known."


Settled = Literal["delivered", "no_alert", "given_up"]


@dataclass(frozen=True, slots=True)
class RedeliveryOutcome:
    """What became of one selected rejection: how it was settled, or why it stays open.

    `answer` is the receiver's, `failure` what came of the last try instead of an acknowledgement.
    """

    at: RecordRef
    rejection: DeliveryRejection | None
    settled: Settled | None = None
    refusal: RedeliveryRefusal | None = None
    answer: Refused | None = None
    failure: Unanswered | None = None


@dataclass(frozen=True, slots=True)
class RedeliveryPlan:
    """What to do with which rejections. `interval` is of the rejections' topic, all of its partitions, and fixed."""

    group: str
    findings_topic: str
    interval: Interval
    reasons: frozenset[DeliveryReason] = frozenset()  # none: whatever the reason
    give_up: bool = False
    lifetimes: Lifetimes = field(default_factory=Lifetimes)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A selected rejection, and where it lies. `rejection` is None if it cannot be read."""

    at: Coordinates
    rejection: DeliveryRejection | None

    def outcome(
        self,
        settled: Settled | None = None,
        refusal: RedeliveryRefusal | None = None,
        answer: Refused | Unanswered | None = None,
    ) -> RedeliveryOutcome:
        at = RecordRef(topic=self.at.partition.topic, partition=self.at.partition.partition, offset=self.at.offset)
        if isinstance(answer, Unanswered):
            return RedeliveryOutcome(at, self.rejection, settled, refusal, failure=answer)
        return RedeliveryOutcome(at, self.rejection, settled, refusal, answer)

    @property
    def finding_at(self) -> Coordinates:
        assert self.rejection is not None
        finding = self.rejection.finding
        return Coordinates(TopicPartition(finding.topic, finding.partition), finding.offset)


class Redelivery:
    """Settles what the plan selects. `run` once."""

    def __init__(
        self,
        log: Log,
        group_position: GroupPosition,
        plan: RedeliveryPlan,
        receiver: Receiver | None,
        on_progress: Callable[[RedeliveryOutcome], None],
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        *,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        in_background: Callable[[str, Callable[[], Outcome]], Future[Outcome]] = run_in_thread,
    ) -> None:
        """Without a receiver nothing is sent, and what would be is told as delivered.

        `on_progress` hears of each selected rejection once: settled ones when that is certain.
        """
        self._log = log
        self._settling = Settling(group_position, on_progress)
        self._plan = plan
        self._receiver = receiver
        self._on_progress = on_progress
        self._retry = retry
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._in_background = in_background
        self._findings = frozenset(log.partitions(plan.findings_topic))
        self._taken_over: set[Coordinates] = set()  # by the receiver, and perhaps not remembered yet
        self._refused: set[Coordinates] = set()  # by an earlier pass
        self._unanswered = 0  # findings, in a row

    def run(self) -> None:
        """Settle what can be settled. Raises LogError if the log cannot remember it, ReceiverAway if nobody answers."""
        self._settling.run(self._pass)

    def _pass(self, positions: Positions) -> None:
        chosen = self._choose(positions)
        while batch := list(itertools.islice(chosen, _STEP)):
            if self._plan.give_up:
                self._remember([(candidate, "given_up") for candidate in batch])
            else:
                self._deliver(batch)

    def _choose(self, positions: Positions) -> Iterator[_Candidate]:
        """The open rejections that are selected."""
        for record in self._settling.open_records(self._log, positions, self._plan.interval.ranges):
            rejection = delivery_rejection_in(record.value)
            if rejection is not None and rejection.group != self._plan.group:
                self._settling.pass_by(record)  # another receiver's; never open for this group
            elif self._plan.interval.holds(record) and (
                not self._plan.reasons or (rejection is not None and rejection.reason in self._plan.reasons)
            ):
                yield _Candidate(Coordinates(record.topic_partition, record.offset), rejection)

    def _deliver(self, batch: Sequence[_Candidate]) -> None:
        """In the order of the rejections, each remembered before the next."""
        fetchable = {
            candidate.finding_at
            for candidate in batch
            if candidate.rejection is not None and candidate.finding_at.partition in self._findings
        }
        found = dict(fetch_records(self._log, fetchable))
        for candidate in batch:
            if candidate.at in self._refused:
                continue
            self._settling.heartbeat()
            finding = self._finding_of(candidate, found)
            if isinstance(finding, RedeliveryRefusal):
                self._refuse(candidate, finding)
            elif not finding.flag.raised:
                self._remember([(candidate, "no_alert")])
            elif candidate.at in self._taken_over:
                self._remember([(candidate, "delivered")])
            else:
                self._hand_over(candidate, finding)

    def _finding_of(
        self, candidate: _Candidate, found: Mapping[Coordinates, Record | None]
    ) -> Finding | RedeliveryRefusal:
        rejection = candidate.rejection
        if rejection is None:
            return RedeliveryRefusal.UNREADABLE
        if rejection.finding.topic != self._plan.findings_topic:
            return RedeliveryRefusal.TOPIC
        record = found.get(candidate.finding_at)
        if record is None:
            return RedeliveryRefusal.GONE
        finding = finding_in(record.value)
        if finding is None:
            return RedeliveryRefusal.NO_FINDING
        if rejection.finding_id not in (None, finding.finding_id):
            return RedeliveryRefusal.OTHER
        return finding

    def _hand_over(self, candidate: _Candidate, finding: Finding) -> None:
        """Send it as `deliver` would: as an alert, or as a review that says how late it is. Raises ReceiverAway."""
        handled = handling(finding, datetime.fromtimestamp(self._wall_clock(), UTC), self._plan.lifetimes)
        if handled.kind == "expired":
            self._refuse(candidate, RedeliveryRefusal.EXPIRED)
        elif self._receiver is None:
            self._remember([(candidate, "delivered")])
        else:
            self._send(candidate, finding, functools.partial(offer, self._receiver, finding, handled.late_h))

    def _send(self, candidate: _Candidate, finding: Finding, call: Callable[[], Outcome]) -> None:
        sent = False  # even once: if the receiver broke down under it, it is away for the tries after that
        for tries in itertools.count(1):
            outcome = self._try(candidate, call)
            sent = sent or not isinstance(outcome, Unanswered) or outcome.sent
            final = isinstance(outcome, Refused) and outcome.final
            if outcome is None or isinstance(outcome, Unsendable) or final or tries >= self._retry.max_sends:
                break
            self._pause(self._retry.pause_s(finding.finding_id, tries))
        if isinstance(outcome, Unanswered):
            self._unanswered += 1
            if not sent or self._unanswered >= _UNANSWERED_IN_A_ROW:
                raise _away(outcome)
            self._refuse(candidate, RedeliveryRefusal.NO_ACK, outcome)
            return
        self._unanswered = 0
        if outcome is None:
            self._remember([(candidate, "delivered")])
        elif isinstance(outcome, Refused):
            self._refuse(candidate, RedeliveryRefusal.REFUSED, outcome)
        else:
            self._refuse(candidate, RedeliveryRefusal.UNSENDABLE)

    def _try(self, candidate: _Candidate, call: Callable[[], Outcome]) -> Outcome:
        """One try, while the group hears of us. What came of it counts even if the group is lost meanwhile."""
        future = self._in_background("deliver", call)
        lost: PublishFailed | None = None
        while not future.done():
            try:
                if lost is None:
                    self._settling.heartbeat()
            except PublishFailed as failure:
                lost = failure
            wait([future], _LOOK_S)
        outcome = future.result()
        if outcome is None:
            self._taken_over.add(candidate.at)
        if lost is not None:
            raise lost
        return outcome

    def _pause(self, pause_s: float) -> None:
        while pause_s > 0:
            self._settling.heartbeat()
            self._sleep(min(_LOOK_S, pause_s))
            pause_s -= _LOOK_S

    def _refuse(
        self, candidate: _Candidate, refusal: RedeliveryRefusal, answer: Refused | Unanswered | None = None
    ) -> None:
        if candidate.at not in self._refused:
            self._refused.add(candidate.at)
            self._on_progress(candidate.outcome(refusal=refusal, answer=answer))

    def _remember(self, settled: Sequence[tuple[_Candidate, Settled]]) -> None:
        self._settling.settle([Settlement(*candidate.at, candidate.outcome(how)) for candidate, how in settled])


def _away(last: Unanswered) -> ReceiverAway:
    if last.check is None:
        said, when = f"does not answer ({last.cause})", "when it is there"
    else:
        said, when = f"acknowledges nothing that it is sent ({last.told})", "when that is mended"
    return ReceiverAway(f"the receiver {said}; what it took over is remembered: run this again {when}")
