"""How a finding or a rejection travels: topic, key, and CloudEvents headers in binary mode."""

import hashlib
import re
from typing import Final

from adapters.log import Headers, Message, Record
from schemas.finding import Finding
from schemas.rejection import Rejection

# W3C Trace Context, version 00. Anything else in that header is not passed on: it could be anything.
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def result_message(result: Finding | Rejection, record: Record, topic: str) -> Message:
    """The message that carries a result of this record."""
    if isinstance(result, Finding):
        event_id, event_type = result.finding_id, "ecg-finding.v1"
    else:
        event_id, event_type = coordinates_digest(record), "ecg-rejection.v1"
    # Never the record's own key, which may be of any length, and a patient's number.
    return Message(topic, event_id.encode(), result.to_json(), cloud_event(record, event_id, event_type))


def coordinates_digest(record: Record, of: str = "") -> str:
    """What stands for a record where it has no identity of its own: 32 hexadecimal digits, from where it lies.

    `of` tells several apart that speak of the same record.
    """
    coordinates = f"{of}{record.topic}/{record.partition}/{record.offset}"
    return hashlib.sha256(coordinates.encode()).hexdigest()[:32]


def cloud_event(record: Record, event_id: str, event_type: str) -> Headers:
    """Headers of what came of a record: CloudEvents' own, and the record's trace context if it is one."""
    headers: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", f"/{record.topic}/{record.partition}".encode()),
        ("content-type", b"application/json"),
    )
    trace = dict(record.headers).get("traceparent", b"")
    return (*headers, ("traceparent", trace)) if _TRACEPARENT.fullmatch(trace) else headers
