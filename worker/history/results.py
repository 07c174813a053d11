"""What was published, read back: a result topic's bytes to a Finding or a Rejection. The only place that does so."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from adapters.log import Log, Record, TopicPartition
from schemas.delivery import DeliveryRejection
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.history.interval import Coordinates

Result = Finding | Rejection

_RESULT: Final = TypeAdapter[Result](Annotated[Result, Field(discriminator="schema_")])

_FINDING_SCHEMA: Final = re.compile(r"ecg-finding/([1-9][0-9]{0,8})")
_NEWEST_KNOWN: Final = max(
    int(known[1])
    for schema in get_args(Finding.model_fields["schema_"].annotation)
    if (known := _FINDING_SCHEMA.fullmatch(schema))
)


class _Named(BaseModel):
    """Whatever says what it is."""

    schema_: str = Field(alias="schema")


def parse(value: bytes) -> Result | None:
    """A result, told apart by its `schema`; None if it is none, or of a version that is not known."""
    try:
        return _RESULT.validate_json(value)
    except ValidationError:  # its text would repeat the record
        return None


def finding_in(value: bytes) -> Finding | None:
    """The finding that the bytes are, or None if they are none."""
    result = parse(value)
    return result if isinstance(result, Finding) else None


def newer_finding_in(value: bytes) -> str | None:
    """The schema that the bytes name, if it is that of a finding of a newer version than this program reads."""
    try:
        stated = _Named.model_validate_json(value).schema_
    except ValidationError:
        return None
    number = _FINDING_SCHEMA.fullmatch(stated)
    return stated if number and int(number[1]) > _NEWEST_KNOWN else None


def rejection_in(value: bytes) -> Rejection | None:
    """The rejection that the bytes are, or None if they are none."""
    result = parse(value)
    return result if isinstance(result, Rejection) else None


def delivery_rejection_in(value: bytes) -> DeliveryRejection | None:
    """The delivery rejection that the bytes are, or None if they are none."""
    try:
        return DeliveryRejection.model_validate_json(value)
    except ValidationError:
        return None


_FROM_THE_FIRST: Final[Mapping[TopicPartition, int]] = MappingProxyType({})


def read_results(
    log: Log, topics: Sequence[str], since: Mapping[TopicPartition, int] = _FROM_THE_FIRST
) -> Iterator[tuple[Record, Result | None]]:
    """All records that result topics hold, each with the result in it: None is something else, or of a newer worker.

    `since` says from which offset of a partition on; what it does not name is read from its first record.
    """
    for topic in topics:
        ranges = {}
        for partition in log.partitions(topic):
            first, end = log.bounds(partition)
            ranges[partition] = range(max(first, since.get(partition, 0)), end)
        for record in log.read(ranges):
            yield record, parse(record.value)


def source_of(result: Result) -> Coordinates:
    """Where the record lies that a result is of."""
    source = result.source
    return Coordinates(TopicPartition(source.topic, source.partition), source.offset)
