"""The delivery rejection, version 1: why a flagged finding did not reach its receiver.

It points at the finding's record and never repeats its content: no patient data and no reasoning. `Undelivered` is how
an outbound adapter says so.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.codes import Code
from schemas.finding import Contract, RecordRef

# HL7 tables 0008 and 0357: what a receiver said, and the kind of error it named. Nothing else that it says is kept,
# because texts in an acknowledgement may repeat a field.
AckCode = Literal["AE", "AR", "CE", "CR"]
ErrorCode = Annotated[str, Field(pattern=r"^[0-9]{3}$")]


class DeliveryReason(Code):
    """Stable codes. The part before the dot is where the fault lies; codes are added, never renamed."""

    RECEIVER_REJECTED = "receiver.rejected", "The receiver rejected the message (AR or CR). It was not sent again."
    RECEIVER_ERROR = (
        "receiver.error",
        "The receiver answered with an error (AE or CE) each time, as often as is tried.",
    )
    RECEIVER_NO_ACK = (
        "receiver.no_ack",
        "The message was sent and never acknowledged; the receiver may have it nevertheless.",
    )
    RECEIVER_UNREACHABLE = (
        "receiver.unreachable",
        "No connection could be made within the time limit; nothing was sent.",
    )
    ALERT_EXPIRED = (
        "alert.expired",
        "The ECG was older than `review_lifetime_h` when it could be sent: nobody was told by this way.",
    )
    FINDING_UNREADABLE = "finding.unreadable", "The record is no finding of a version that this program reads."


class Undelivered(Exception):
    """A finding could not be delivered, and trying again now would not help. Holds codes only, no text of anybody's."""

    def __init__(
        self, reason: DeliveryReason, attempts: int, ack_code: AckCode | None = None, error_code: str | None = None
    ) -> None:
        super().__init__(reason, attempts, ack_code, error_code)
        self.reason = reason
        self.attempts = attempts
        self.ack_code: AckCode | None = ack_code
        self.error_code = error_code


class DeliveryRejection(Contract):
    """What is published for a finding that could not be delivered, in the transaction that moves past it.

    `attempts` counts how often the message was sent (with 0 it cannot have reached the receiver). `group` is the
    consumer group that delivers, so that two receivers' failures are told apart.
    """

    schema_: Literal["ecg-delivery-rejection/1"] = Field("ecg-delivery-rejection/1", alias="schema")
    reason: DeliveryReason
    finding_id: str | None
    finding: RecordRef
    attempts: Annotated[int, Field(ge=0)]
    ack_code: AckCode | None
    error_code: ErrorCode | None
    group: str
    worker_version: str

    def to_json(self) -> bytes:
        """The delivery rejection as it travels: UTF-8 JSON with fields in the order of the contract."""
        return self.model_dump_json(by_alias=True).encode()
