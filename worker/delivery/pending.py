"""What was read of the findings topic, and the delivery rejection that may come of it."""

import re
from dataclasses import dataclass, replace
from typing import Final

from adapters.log import Message, Record, TopicPartition
from schemas.delivery import DeliveryReason, DeliveryRejection, Refused
from schemas.finding import Finding, RecordRef
from worker.history.interval import Coordinates
from worker.provenance import VERSION
from worker.stream.envelope import cloud_event, coordinates_digest
from worker.stream.session import Lease

# What a finding id of ours looks like. What somebody else wrote in its place could be anything, of any length.
_FINDING_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Pending:
    """A record of the findings topic as it was read, and under which lease. `finding` is None if it holds none.

    `next_offset` is where reading goes on: one further, or after all that the log no longer holds. `count` is how many
    records it stands for: those that need no delivery are one if nothing of their partition lies between them.
    """

    record: Record
    lease: Lease
    finding: Finding | None
    next_offset: int
    count: int = 1

    @property
    def partition(self) -> TopicPartition:
        """Where the record lies, without its offset."""
        return self.record.topic_partition

    @property
    def coordinates(self) -> Coordinates:
        """Where the record lies."""
        return Coordinates(self.partition, self.record.offset)

    @property
    def alert(self) -> Finding | None:
        """The finding, if it is to be delivered."""
        return self.finding if self.finding is not None and self.finding.flag.raised else None

    @property
    def passed_by(self) -> bool:
        """Whether it is a finding that needs no delivery."""
        return self.finding is not None and not self.finding.flag.raised

    def with_next(self, after: "Pending") -> "Pending":
        """One that stands for this and for the next of its partition."""
        return replace(self, next_offset=after.next_offset, count=self.count + after.count)


@dataclass(frozen=True, slots=True)
class RejectionWriter:
    """Writes what becomes of a finding that is not delivered, for one group, onto one topic."""

    group: str
    topic: str

    def rejection(
        self, pending: Pending, reason: DeliveryReason, sends: int = 0, answer: Refused | None = None
    ) -> DeliveryRejection:
        """Why it was not delivered, and after how many sends."""
        record = pending.record
        gone = reason is DeliveryReason.FINDINGS_GONE
        return DeliveryRejection(
            reason=reason,
            finding_id=_id(pending),
            finding=RecordRef(topic=record.topic, partition=record.partition, offset=record.offset),
            attempts=sends,
            ack_code=answer.ack_code if answer else None,
            error_code=answer.error_code if answer else None,
            group=self.group,
            worker_version=VERSION,
            last_offset=pending.next_offset - 1 if gone else None,
        )

    def message(self, pending: Pending, rejection: DeliveryRejection) -> Message:
        """The rejection under the finding's id, or under a digest of where the record lies: never the record's own key.

        That one may be anything: an identifier of a patient's, or longer than a log takes beside our headers.
        """
        record = pending.record
        key = rejection.finding_id or coordinates_digest(record)
        event_id = coordinates_digest(record, of=f"{self.group}/")
        headers = cloud_event(record, event_id, "ecg-delivery-rejection.v1")
        return Message(self.topic, key.encode(), rejection.to_json(), headers)


def _id(pending: Pending) -> str | None:
    stated = pending.finding.finding_id if pending.finding else ""
    return stated if _FINDING_ID.fullmatch(stated) else None
