"""What one fetch brought, handed out by records and by bytes."""

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords

from adapters.kafka import reading
from adapters.kafka.batches import MAX_TOLD_OFFSETS, Missing
from adapters.kafka.places import to_kafka
from adapters.kafka.reading import _Budget, _SafeRecords
from adapters.log import TopicPartition
from tests.unit.adapters.kafka.wire import BatchBytes, record, varint

NAME = to_kafka(TopicPartition("inbound", 0))
TRANSACTIONAL, CONTROL = 0x10, 0x20


def _fetched(content: bytes, at: int = 0, highwater: int = 1 << 40, aborted: Any = ()) -> tuple[Any, _Budget]:
    budget = _Budget()
    subscriptions = SimpleNamespace(assignment={NAME: SimpleNamespace(highwater=highwater)})
    records = _SafeRecords(
        at, NAME, MemoryRecords(content), isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=aborted, budget=budget, subscriptions=subscriptions,
    )  # fmt: skip
    return records, budget


def _values(*values: bytes) -> list[bytes]:
    return [record(value, n) for n, value in enumerate(values)]


def test_records_are_handed_out_as_many_as_asked_for_and_the_position_follows() -> None:
    fetched, _ = _fetched(BatchBytes(_values(b"a", b"b", b"c"), 10).bytes(), at=11)
    assert [item.value for item in fetched.take(1)] == [b"b"]
    assert fetched.next_fetch_offset == 12
    assert [item.value for item in fetched.take(10)] == [b"c"]
    assert (fetched.next_fetch_offset, bool(fetched)) == (13, False)


def test_no_more_bytes_are_handed_out_than_one_poll_may_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_POLL_BYTES", 10)
    fetched, budget = _fetched(BatchBytes(_values(b"1234", b"5678", b"90ab", b"cdef")).bytes())
    assert [item.value for item in fetched.take(10)] == [b"1234", b"5678", b"90ab"]
    assert budget.is_spent
    assert fetched.next_fetch_offset == 3
    budget.spent_bytes = 0
    assert [item.value for item in fetched.take(10)] == [b"cdef"]


def test_offsets_that_are_missing_come_alone() -> None:
    liar = BatchBytes(_values(b"b"), 1, crc=1, last_offset_delta=2 * MAX_TOLD_OFFSETS).bytes()
    fetched, budget = _fetched(BatchBytes(_values(b"a")).bytes() + liar, highwater=MAX_TOLD_OFFSETS + 100)
    told = fetched.take(2 * MAX_TOLD_OFFSETS)
    assert [item.offset for item in told] == list(range(MAX_TOLD_OFFSETS + 1))
    assert budget.is_spent
    assert fetched.take(10) == [Missing(range(MAX_TOLD_OFFSETS + 1, MAX_TOLD_OFFSETS + 100))]
    assert fetched.next_fetch_offset == MAX_TOLD_OFFSETS + 100


def test_what_a_damaged_batch_claims_ends_where_the_next_one_begins() -> None:
    liar = BatchBytes(_values(b"a"), 0, crc=1, last_offset_delta=1 << 30).bytes()
    fetched, _ = _fetched(liar + BatchBytes(_values(b"b"), 2).bytes())
    assert [(item.offset, item.unreadable is None) for item in fetched.take(10)] == [(0, False), (1, False), (2, True)]


def _end(producer_id: int, offset: int, kind: int) -> bytes:
    key = bytes([0, 0, 0, kind])
    body = b"\x00" + varint(0) + varint(0) + varint(len(key)) + key + varint(0) + varint(0)
    marker = [varint(len(body)) + body]
    return BatchBytes(marker, offset, attributes=TRANSACTIONAL | CONTROL, producer_id=producer_id).bytes()


def _sent(producer_id: int, offset: int, value: bytes, **settings: Any) -> bytes:
    return BatchBytes(
        _values(value), offset, attributes=TRANSACTIONAL, producer_id=producer_id, **settings
    ).bytes()  # fmt: skip


def test_only_committed_transactions_are_read_and_no_aborted_one_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"".join([
        _sent(1, 0, b"aborted"), _sent(2, 1, b"committed"), _sent(1, 2, b"aborted", codec="zstd", body=b"junk"),
        _end(1, 3, 0), _sent(1, 4, b"committed"), _end(1, 5, 1), _end(2, 6, 1),
    ])  # fmt: skip
    fetched, _ = _fetched(content, aborted=[SimpleNamespace(producer_id=1, first_offset=0)])
    assert [(item.offset, item.value) for item in fetched.take(10)] == [(1, b"committed"), (4, b"committed")]
    assert fetched.next_fetch_offset == 7


def test_a_position_never_goes_back_or_beyond_the_end() -> None:
    fetched, _ = _fetched(BatchBytes(_values(b"a"), 5, last_offset_delta=1 << 30).bytes(), at=5, highwater=6)
    assert len(fetched.take(10)) == 1
    assert fetched.next_fetch_offset == 6
