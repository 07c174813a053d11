"""What one fetch brought, handed out by records and by bytes."""

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords

from adapters.kafka import reading
from adapters.kafka.batches import MAX_TOLD_OFFSETS, Missing
from adapters.kafka.places import to_kafka
from adapters.kafka.reading import DOUBTED_FETCHES, _Budget, _Doubts, _SafeRecords
from adapters.log import TopicPartition
from tests.unit.adapters.kafka.wire import BatchBytes, record, varint

NAME = to_kafka(TopicPartition("inbound", 0))
TRANSACTIONAL, CONTROL = 0x10, 0x20


def _fetched(
    content: bytes, at: int = 0, highwater: int = 1 << 40, aborted: Any = (), doubts: _Doubts | None = None
) -> tuple[Any, _Budget]:
    budget = _Budget()
    subscriptions = SimpleNamespace(assignment={NAME: SimpleNamespace(highwater=highwater)})
    records = _SafeRecords(
        at, NAME, MemoryRecords(content), isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=aborted, budget=budget, doubts=doubts or _Doubts(), subscriptions=subscriptions,
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


@pytest.mark.parametrize("labels", [{"key": b"12345"}, {"headers": [(b"n", b"1")]}])
def test_bytes_of_keys_and_headers_count_too(labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_POLL_BYTES", 10)
    fetched, budget = _fetched(BatchBytes([record(b"", n, **labels) for n in range(4)]).bytes())
    assert len(fetched.take(10)) <= 2
    assert budget.is_spent


def test_offsets_that_are_missing_come_alone() -> None:
    liar = BatchBytes(_values(b"a"), crc=1, last_offset_delta=2 * MAX_TOLD_OFFSETS).bytes()
    fetched, budget = _fetched(liar, highwater=MAX_TOLD_OFFSETS + 100)
    told = fetched.take(2 * MAX_TOLD_OFFSETS)
    assert [item.offset for item in told] == list(range(MAX_TOLD_OFFSETS))
    assert budget.is_spent
    assert fetched.take(10) == [Missing(range(MAX_TOLD_OFFSETS, MAX_TOLD_OFFSETS + 100))]
    assert fetched.next_fetch_offset == MAX_TOLD_OFFSETS + 100


def _read(*batches: bytes, at: int = 0, highwater: int = 500, aborted: Any = ()) -> list[tuple[int, bool]]:
    """Each offset that is told, and whether it could be read, over as many fetches of these batches as it takes."""
    told: list[tuple[int, bool]] = []
    for _ in range(20):
        fetched, _ = _fetched(b"".join(batches), at, highwater, [txn for txn in aborted if txn.end >= at])
        found = fetched.take(1000)
        told += [(item.offset, item.unreadable is None) for item in found]
        if fetched.next_fetch_offset == at:
            break
        at = fetched.next_fetch_offset
    return told


@pytest.mark.parametrize("claimed", [-1, 0, 1, 2, 50, 1 << 30])
def test_a_batch_whose_header_is_damaged_reaches_as_far_as_the_next_one_whatever_it_claims(claimed: int) -> None:
    before, after = BatchBytes(_values(b"a")).bytes(), BatchBytes(_values(b"e"), 4).bytes()
    liar = BatchBytes(_values(b"b", b"c", b"d"), 1, crc=1, last_offset_delta=claimed).bytes()
    assert _read(before, liar, after) == [(0, True), (1, False), (2, False), (3, False), (4, True)]


@pytest.mark.parametrize("magic", [0, 1, 3, 66])
def test_no_offset_of_a_batch_in_another_format_is_passed_by(magic: int) -> None:
    other = BatchBytes(_values(b"a", b"b", b"c"), magic=magic).bytes()
    assert _read(other, BatchBytes(_values(b"d"), 3).bytes()) == [(0, False), (1, False), (2, False), (3, True)]


def test_what_a_damaged_batch_claims_is_not_believed_before_what_follows_it_has_come() -> None:
    """It is the last of its fetch here; in the next fetch it is the first, and what follows it comes too."""
    liar = BatchBytes(_values(b"b"), 1, crc=1, last_offset_delta=1 << 30).bytes()
    fetched, _ = _fetched(BatchBytes(_values(b"a")).bytes() + liar, highwater=500)
    assert [item.offset for item in fetched.take(1000)] == [0]
    assert fetched.next_fetch_offset == 1


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


def test_a_damaged_end_of_a_transaction_hides_nothing_that_was_committed_later() -> None:
    end = _end(1, 1, 0)
    damaged = end[:-1] + bytes([end[-1] ^ 1])
    batches = [_sent(1, 0, b"aborted"), damaged, _sent(1, 2, b"committed"), _end(1, 3, 1)]
    aborted = [SimpleNamespace(producer_id=1, first_offset=0, end=1)]
    assert _read(*batches, aborted=aborted) == [(1, False), (2, True)]


def test_a_position_never_goes_back_or_beyond_the_end() -> None:
    fetched, _ = _fetched(BatchBytes(_values(b"a"), 5, last_offset_delta=1 << 30).bytes(), at=5, highwater=6)
    assert len(fetched.take(10)) == 1
    assert fetched.next_fetch_offset == 6


def test_a_batch_that_was_written_after_the_broker_looked_for_the_end_is_read_with_the_next_fetch() -> None:
    """It names the end first and reads then: what comes may lie beyond it, and be as good as any other."""
    doubts, before = _Doubts(), BatchBytes(_values(b"a")).bytes()
    late = BatchBytes(_values(b"b", b"c"), 1).bytes()
    fetched, _ = _fetched(before + late, highwater=1, doubts=doubts)
    assert [item.value for item in fetched.take(10)] == [b"a"]
    assert fetched.next_fetch_offset == 1
    for highwater in (1, 3):
        fetched, _ = _fetched(late, at=1, highwater=highwater, doubts=doubts)
        found = fetched.take(10)
    assert [item.value for item in found] == [b"b", b"c"]


@pytest.mark.parametrize("settings", [{"codec": "zstd"}, {"attributes": TRANSACTIONAL, "producer_id": 3}], ids=str)
def test_so_it_is_however_often_reading_comes_back_there(settings: Any) -> None:
    doubts, late = _Doubts(), BatchBytes(_values(b"b"), 1, **settings).bytes()
    for _ in range(3 * DOUBTED_FETCHES):
        fetched, _ = _fetched(late, at=1, highwater=1, doubts=doubts)
        assert fetched.take(10) == []
        fetched, _ = _fetched(late, at=1, highwater=2, doubts=doubts)
        assert [(item.value, item.unreadable) for item in fetched.take(10)] == [(b"b", None)]


def test_a_transactions_end_beyond_the_end_is_passed_with_the_next_fetch() -> None:
    doubts, marker = _Doubts(), _end(3, 1, 1)
    for highwater, reached in ((1, 1), (2, 2)):
        fetched, _ = _fetched(marker, at=1, highwater=highwater, doubts=doubts)
        assert (fetched.take(10), fetched.next_fetch_offset) == ([], reached)


def test_a_batch_that_stays_beyond_the_end_is_told_as_damaged_and_passed() -> None:
    doubts, damaged = _Doubts(), BatchBytes(_values(b"b"), 1 << 40).bytes()
    for _ in range(DOUBTED_FETCHES):
        fetched, _ = _fetched(damaged, at=7, highwater=9, doubts=doubts)
        assert fetched.take(10) == []
        assert fetched.next_fetch_offset == 7
    fetched, _ = _fetched(damaged, at=7, highwater=9, doubts=doubts)
    assert [(item.offset, item.unreadable) for item in fetched.take(10)] == [(7, "offset 7: damaged batch")]
    assert fetched.next_fetch_offset == 8
