"""One fence around a record, from what was read to the message that is handed to the log.

Whatever goes wrong inside is that record's rejection; if even that cannot be built, a bare one, into which nothing of
the record gets but its coordinates and its digest. So only the log itself, the engine as a whole or the process can end
a worker, and no record stops the partition that it lies in.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.log import LogError, Message, Record, check_messages
from schemas.finding import Finding, Source
from schemas.rejection import Reason, Rejected, Rejection, Stage
from worker.pipeline import reject
from worker.provenance import VERSION
from worker.stream.envelope import result_message


@dataclass(frozen=True, slots=True)
class Sealed:
    """A result with the message that carries it, which a log takes."""

    result: Finding | Rejection
    message: Message


class Fence:
    """Makes a result of a record, whatever the record is."""

    def __init__(self, findings_topic: str, rejections_topic: str) -> None:
        self._findings_topic: Final = findings_topic
        self._rejections_topic: Final = rejections_topic

    def seal(self, record: Record, make: Callable[[], Finding | Rejection]) -> Sealed:
        """What `make` returns, or the rejection that says why there is none."""
        try:
            return self._sealed(record, make())
        except Rejected as refused:
            why = refused
        except Exception as error:  # noqa: BLE001 - one record must not stop the worker
            why = Rejected(Reason.INTERNAL, type(error).__name__, "conclude")
        return self.reject(record, why)

    def reject(self, record: Record, why: Rejected) -> Sealed:
        """The rejection of this record. Never raises."""
        try:
            return self._sealed(record, reject(record, why))
        except Exception:  # noqa: BLE001 - whatever it is about this record, it goes no further than its coordinates
            return self._bare(record, why.reason, why.stage)

    def _sealed(self, record: Record, result: Finding | Rejection) -> Sealed:
        topic = self._findings_topic if isinstance(result, Finding) else self._rejections_topic
        message = result_message(result, record, topic)
        try:
            check_messages([message])
        except LogError:
            raise Rejected(Reason.RESULT_TOO_LARGE, "", "publish") from None
        return Sealed(result, message)

    def _bare(self, record: Record, reason: Reason, stage: Stage) -> Sealed:
        nameless = Record(record.topic, record.partition, record.offset, None, None, b"")
        source = Source(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=None,
            format=None,
            message_id=None,
            sha256=hashlib.sha256(record.value).hexdigest(),
        )
        rejection = Rejection(reason=reason, stage=stage, detail="", source=source, worker_version=VERSION)
        return Sealed(rejection, result_message(rejection, nameless, self._rejections_topic))
