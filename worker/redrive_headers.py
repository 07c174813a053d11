"""How a record says that it was put back after a rejection: two headers, written here and read here.

Anyone who can write on the inbound topic can write these headers, with anything in them. They count only if they are
what `redriven_message` writes and could be true; otherwise the record is one that was never put back. Nothing but
numbers gets out of them: the topic has to be the record's own.
"""

import re
from typing import Final

from adapters.log import Message, Record
from schemas.finding import RecordRef, Redrive

OF_HEADER: Final = "ecg-redrive-of"  # topic/partition/offset of the first record
COUNT_HEADER: Final = "ecg-redrive-count"

# Numbers have one spelling. Two digits are more than a record is ever put back.
_PLACE: Final = re.compile(rb"(0|[1-9][0-9]{0,9})/(0|[1-9][0-9]{0,18})")
_COUNT: Final = re.compile(rb"[1-9][0-9]?")
_MAX_PARTITION: Final = 2**31 - 1
_MAX_OFFSET: Final = 2**63 - 1


def read_redrive(record: Record) -> Redrive | None:
    """What the record's headers say of an earlier rejection; None if they say nothing, or nothing to be believed."""
    own_topic = f"{record.topic}/".encode()
    stated, count = _only(record, OF_HEADER), _only(record, COUNT_HEADER)
    if not stated.startswith(own_topic) or not _COUNT.fullmatch(count):
        return None
    found = _PLACE.fullmatch(stated.removeprefix(own_topic))
    if found is None:
        return None
    partition, offset = map(int, found.groups())
    if partition > _MAX_PARTITION or offset > _MAX_OFFSET:
        return None
    if partition == record.partition and offset >= record.offset:  # the first record came first
        return None
    return Redrive(of=RecordRef(topic=record.topic, partition=partition, offset=offset), count=int(count))


def next_redrive(record: Record) -> Redrive:
    """What the record will say if it is put back now."""
    last = read_redrive(record)
    if last is None:
        of = RecordRef(topic=record.topic, partition=record.partition, offset=record.offset)
        return Redrive(of=of, count=1)
    return Redrive(of=last.of, count=last.count + 1)


def redriven_message(record: Record, redrive: Redrive) -> Message:
    """The record as it goes on its topic again: its own key, value and headers, and where it came from."""
    first = f"{redrive.of.topic}/{redrive.of.partition}/{redrive.of.offset}"
    kept = tuple(header for header in record.headers if header[0] not in (OF_HEADER, COUNT_HEADER))
    marks = (OF_HEADER, first.encode()), (COUNT_HEADER, str(redrive.count).encode())
    return Message(record.topic, record.key, record.value, (*kept, *marks))


def _only(record: Record, name: str) -> bytes:
    """The content of the one header with this name; empty if there is none, or more than one."""
    found = [content for header, content in record.headers if header == name]
    return found[0] if len(found) == 1 else b""
