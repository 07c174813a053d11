"""What was published, read back: a result topic's bytes to a Finding or a Rejection. The only place that does so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from adapters.log import Log, LogError, Record, TopicPartition
from schemas.finding import Finding
from schemas.rejection import Rejection
from worker.history.interval import Coordinates

Result = Finding | Rejection

_KINDS: Final[Mapping[str, type[Finding] | type[Rejection]]] = {
    "ecg-finding/1": Finding,
    "ecg-rejection/1": Rejection,
}


class UnknownResult(ValueError):
    """The bytes are no finding and no rejection of a version that is known. Its text says nothing of them."""


def parse(value: bytes) -> Result:
    """A result, told apart by its `schema`. Raises UnknownResult."""
    try:
        return _KINDS[json.loads(value)["schema"]].model_validate_json(value)
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError):  # their texts would repeat the record
        raise UnknownResult("no finding and no rejection of a version that is known") from None


def read_results(log: Log, topics: Sequence[str]) -> Iterator[tuple[Record, Result]]:
    """All results that topics hold, with the records they are in.

    Raises LogError, which names the coordinates and nothing of the content, at one that cannot be read.
    """
    for topic in topics:
        for record in log.read({partition: range(*log.bounds(partition)) for partition in log.partitions(topic)}):
            try:
                yield record, parse(record.value)
            except UnknownResult as error:
                where = f"{record.topic}/{record.partition}/{record.offset}"
                raise LogError(f"{where} is {error}; was it written by a newer worker, or by something else?") from None


def source_of(result: Result) -> Coordinates:
    """Where the record lies that a result is of."""
    source = result.source
    return Coordinates(TopicPartition(source.topic, source.partition), source.offset)
