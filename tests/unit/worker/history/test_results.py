"""Published results, read back."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Log, Message, Record, TopicPartition
from adapters.open_log import open_log
from tests.support import results
from worker.history.interval import Coordinates
from worker.history.results import (
    Result,
    delivery_rejection_in,
    finding_in,
    newer_finding_in,
    parse,
    read_results,
    rejection_in,
    source_of,
)

RECORD = Record("ecg.inbound", 2, 7, 0, None, b"x")
TOPICS = ("ecg.findings", "ecg.rejections")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite://{tmp_path}/log.db")) as opened:
        opened.create_topics(dict.fromkeys(TOPICS, 1))
        yield opened


@pytest.mark.parametrize("result", [results.finding(RECORD), results.rejection(RECORD)])
def test_a_result_comes_back_as_what_it_was(result: Result) -> None:
    assert parse(result.to_json()) == result
    assert source_of(result) == Coordinates(TopicPartition("ecg.inbound", 2), 7)


def test_a_finding_and_a_rejection_are_told_from_each_other_and_from_the_rest() -> None:
    finding, rejection = results.finding(RECORD), results.rejection(RECORD)
    values = [finding.to_json(), rejection.to_json(), b"DOE^JANE"]
    assert [finding_in(value) for value in values] == [finding, None, None]
    assert [rejection_in(value) for value in values] == [None, rejection, None]


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"[]", b"null", b"\xff", b"DOE^JANE", b'{"schema": "ecg-finding/9"}', b'{"schema": ["ecg-finding/1"]}',
     b'{"schema": "ecg-finding/1", "patient": {"id": "DOE^JANE"}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_result_is_none(value: bytes) -> None:
    assert parse(value) is None


def test_all_topics_are_read_from_first_to_last(log: Log) -> None:
    log.append([Message(TOPICS[1], None, results.rejection(RECORD).to_json())])
    log.append([Message(TOPICS[0], None, results.finding(RECORD).to_json())] * 2)
    read = [(record.topic, record.offset, type(result).__name__) for record, result in read_results(log, TOPICS)]
    assert read == [(TOPICS[0], 0, "Finding"), (TOPICS[0], 1, "Finding"), (TOPICS[1], 0, "Rejection")]


def test_what_is_no_result_comes_with_its_record_and_ends_nothing(log: Log) -> None:
    log.append([Message(TOPICS[0], None, b"DOE^JANE")])
    log.append([Message(TOPICS[0], None, results.finding(RECORD).to_json())])
    assert [(record.offset, result is None) for record, result in read_results(log, TOPICS)] == [(0, True), (1, False)]


@pytest.mark.parametrize(
    ("value", "newer"),
    [
        (b'{"schema":"ecg-finding/999"}', "ecg-finding/999"),
        (b'{"schema":"ecg-finding/999","finding_id":1}', "ecg-finding/999"),
        (b'{"schema":"ecg-finding/1"}', None),
        (b'{"schema":"ecg-finding/0"}', None),
        (b'{"schema":"ecg-finding/-7"}', None),
        (b'{"schema":"ecg-finding/9999999999999"}', None),
        (b'{"schema":"ecg-rejection/999"}', None),
        (b'{"schema":["ecg-finding/999"]}', None),
        (b'["ecg-finding/999"]', None),
        (b"[" * 100_000, None),
        (b"", None),
        (b"\xff", None),
        (results.finding(RECORD).to_json(), None),
    ],
)
def test_a_finding_of_a_newer_version_is_told_from_what_is_none(value: bytes, newer: str | None) -> None:
    assert newer_finding_in(value) == newer


def test_what_is_no_delivery_rejection_is_none() -> None:
    assert [delivery_rejection_in(value) for value in (b"", b"{}", results.rejection(RECORD).to_json())] == [None] * 3
