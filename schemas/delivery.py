"""The delivery rejection, version 1: why a flagged finding did not reach its receiver.

It points at the finding's record and never repeats its content: no patient data and no reasoning. `Unanswered`,
`Refused` and `Unsendable` are how an outbound adapter says what came of one try.
"""

from typing import Annotated, Final, Literal

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
        "The message was sent and never acknowledged, while the receiver answered another one; it may have this one "
        "nevertheless.",
    )
    RECEIVER_UNREACHABLE = (
        "receiver.unreachable",
        "No connection could be made within the time limit; nothing was sent. Written by earlier versions only: a "
        "receiver that is away is waited for now. `deliveries redrive` sends these.",
    )
    FINDING_UNREADABLE = (
        "finding.unreadable",
        "The record is no finding: the log cannot give it, it is something else, or it breaks its version's schema.",
    )
    FINDING_UNSENDABLE = "finding.unsendable", "No message can be made of the finding. Please report it."
    FINDINGS_GONE = (
        "findings.gone",
        "The log no longer holds these offsets of the findings topic; `deliver` had not read them.",
    )
    ALERT_EXPIRED = "alert.expired", "The recording is older than `review_lifetime_h`: nothing was sent."


FINAL_ACK_CODES: Final = ("AR", "CR")
"""After these the same message is not sent again."""


class Unanswered(Exception):
    """A receiver that could not be reached, or that did not acknowledge: it says nothing of the finding.

    `sent` is whether the receiver may have the message nevertheless. `cause` is the name of a type of error or, if
    something came that is no answer to the message, stable words for it; then `check` says where to look. Both are an
    adapter's own words, never the receiver's: an answer may repeat a patient's name.
    """

    def __init__(self, *, sent: bool, cause: str, check: str | None = None) -> None:
        super().__init__(sent, cause, check)
        self.sent = sent
        self.cause = cause
        self.check = check

    @property
    def told(self) -> str:
        """The cause, and what to check if that is known: for people."""
        return self.cause if self.check is None else f"{self.cause}: {self.check}"


class Refused(Exception):
    """The receiver answered, and did not take the finding over. Holds codes only, no text of anybody's."""

    def __init__(self, ack_code: AckCode, error_code: str | None = None) -> None:
        super().__init__(ack_code, error_code)
        self.ack_code: AckCode = ack_code
        self.error_code = error_code

    @property
    def final(self) -> bool:
        """Whether to send it again would be of no use."""
        return self.ack_code in FINAL_ACK_CODES


class Unsendable(Exception):
    """No message can be made of the finding."""


class DeliveryRejection(Contract):
    """What is published for a finding that could not be delivered, in the transaction that moves past it.

    `attempts` counts how often the message was sent (with 0 it cannot have reached the receiver). `group` is the
    consumer group that delivers, so that two receivers' failures are told apart. `last_offset` is there with
    `findings.gone` only: of what the log no longer holds, `finding` names the first offset and this the last.
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
    last_offset: int | None = Field(None, exclude_if=lambda offset: offset is None)

    def to_json(self) -> bytes:
        """The delivery rejection as it travels: UTF-8 JSON with fields in the order of the contract."""
        return self.model_dump_json(by_alias=True).encode()
