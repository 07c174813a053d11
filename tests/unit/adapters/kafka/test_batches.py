"""What comes out of a batch, whatever bytes it is."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

from adapters.kafka import batches
from adapters.kafka.batches import MAX_BATCH_BYTES, MAX_HEADERS, MAX_TOLD_OFFSETS, Missing, read, split
from adapters.log import Record, TopicPartition
from tests.unit.adapters.kafka.wire import DEFLATE, BatchBytes, record, varint

PARTITION = TopicPartition("inbound", 3)
FAR = 1 << 40
GOOD = [record(b"v%d" % n, n, key=b"k", headers=[(b"ecg-priority", b"stat")]) for n in range(4)]


def _read(content: bytes, at: int = 0, end: int = FAR) -> list[Record | Missing]:
    found: list[Record | Missing] = []
    for batch in split(memoryview(content)):
        for item in read(batch, PARTITION, at, end):
            at = item.offsets.stop if isinstance(item, Missing) else item.offset + 1
            found.append(item)
    return found


def _records(content: bytes, at: int = 0, end: int = FAR) -> list[Record]:
    found = _read(content, at, end)
    assert all(isinstance(item, Record) for item in found)
    return [item for item in found if isinstance(item, Record)]


def _told(found: Sequence[Record]) -> list[tuple[int, str | None]]:
    assert all((item.key, item.value, item.headers) == (None, b"", ()) for item in found if item.unreadable)
    return [(item.offset, item.unreadable) for item in found]


@pytest.mark.parametrize("codec", DEFLATE)
def test_good_records_come_out_as_they_went_in(codec: str) -> None:
    found = _records(BatchBytes(GOOD, 100, codec).bytes() + BatchBytes(GOOD, 200, codec).bytes())
    assert found == [
        Record("inbound", 3, base + n, 1_700_000_000_000, b"k", b"v%d" % n, (("ecg-priority", b"stat"),))
        for base in (100, 200)
        for n in range(4)
    ]


def test_the_librarys_own_batches_are_read() -> None:
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=10_000, offset=7)
    builder.append(timestamp=5, key=None, value=None, headers=[("h", None)])
    builder.close()
    (found,) = _records(bytes(builder.buffer()))
    assert (found.timestamp_ms, found.key, found.value, found.headers) == (5, None, b"", (("h", b""),))


def test_reading_begins_in_the_middle_of_a_batch() -> None:
    assert [item.offset for item in _records(BatchBytes(GOOD, 100).bytes(), at=102)] == [102, 103]


def test_a_batch_that_is_not_there_in_full_is_left_to_the_next_fetch() -> None:
    whole = BatchBytes(GOOD, 100).bytes()
    assert [item.offset for item in _records(whole + whole[:-1])] == [100, 101, 102, 103]


@pytest.mark.parametrize(
    ("harmed", "why"),
    [
        (BatchBytes(GOOD, 100, crc=1), "checksum does not match"),
        (BatchBytes(GOOD, 100, attributes=5), "codec 5 is unknown"),
        (BatchBytes(GOOD, 100, codec="zstd", body=b"junk"), "damaged zstd data"),
        (BatchBytes(GOOD, 100, magic=3), "record format 3 is unknown"),
    ],
)
def test_a_batch_that_cannot_be_read_is_one_record_without_content_for_each_offset(
    harmed: BatchBytes, why: str
) -> None:  # fmt: skip
    found = _records(harmed.bytes() + BatchBytes(GOOD, 104).bytes(), at=101)
    if harmed.magic == 3:  # whose header says nothing that could be relied on
        assert _told(found[:1]) == [(101, f"offset 101: {why}")]
    else:
        assert _told(found[:3]) == [(offset, f"offsets 100 to 103: {why}") for offset in (101, 102, 103)]
    assert [item.value for item in found if item.offset >= 104] == [b"v0", b"v1", b"v2", b"v3"]


def test_a_batch_that_inflates_beyond_the_bound_costs_its_records_and_no_more() -> None:
    large = BatchBytes([record(bytes(MAX_BATCH_BYTES), 0)], 100, "zstd").bytes()
    found = _records(large + BatchBytes(GOOD, 101).bytes())
    assert _told(found[:1]) == [(100, "offset 100: inflates to more than 64 MiB")]
    assert len(found) == 5


def test_several_of_the_largest_records_may_lie_in_one_batch() -> None:
    value = bytes(16 * 1024 * 1024)
    found = _records(BatchBytes([record(value, n) for n in range(3)], 0, "gzip").bytes())
    assert [len(item.value) for item in found] == [len(value)] * 3


BAD_HEADERS = b"\x00" + varint(0) + varint(1) + varint(-1) + varint(1) + b"v" + varint(7) + b"\x01"
NEGATIVE_NAME = b"\x00" + varint(0) + varint(1) + varint(-1) + varint(1) + b"v" + varint(1) + varint(-1)
LONG_VALUE = b"\x00" + varint(0) + varint(1) + varint(-1) + varint(1000) + b"v"
NO_OFFSET = b"\x00" + b"\xff" * 12


@pytest.mark.parametrize("body", [BAD_HEADERS, NEGATIVE_NAME, LONG_VALUE, NO_OFFSET, b"", b"\x00"])
@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_damaged_record_among_good_ones_costs_itself_alone(body: bytes, codec: str) -> None:
    records = [GOOD[0], varint(len(body)) + body, *GOOD[2:]]
    found = _records(BatchBytes(records, 100, codec).bytes())
    assert _told(found) == [(100, None), (101, "offset 101: damaged record"), (102, None), (103, None)]


def test_a_record_with_headers_beyond_number_costs_itself_alone_and_no_time() -> None:
    few, many = ([(b"", b"")] * count for count in (MAX_HEADERS, MAX_HEADERS + 1))
    records = [record(b"few", 0, headers=few), record(b"many", 1, headers=many), GOOD[2]]
    found = _records(BatchBytes(records, 100, "gzip").bytes())
    assert _told(found) == [(100, None), (101, "offset 101: more than 10000 headers"), (102, None)]
    assert len(found[0].headers) == MAX_HEADERS


@pytest.mark.parametrize("length", [varint(-5), varint(1 << 30), b"\xff" * 12])
def test_a_record_whose_end_cannot_be_told_costs_the_rest_of_its_batch(length: bytes) -> None:
    records = [GOOD[0], length + GOOD[1][1:], *GOOD[2:]]
    found = _records(BatchBytes(records, 100).bytes() + BatchBytes(GOOD, 104).bytes())
    why = "offsets 101 to 103: damaged record"
    assert _told(found[:4]) == [(100, None), (101, why), (102, why), (103, why)]
    assert len(found) == 8


def test_an_offset_that_goes_back_costs_the_rest_of_its_batch() -> None:
    found = _records(BatchBytes([GOOD[0], GOOD[1], GOOD[1], GOOD[3]], 100).bytes())
    assert [item.offset for item in found] == [100, 101, 102, 103]
    assert [item.unreadable is None for item in found] == [True, True, False, False]


def test_offsets_that_compaction_removed_are_nothing_to_speak_of() -> None:
    found = _records(BatchBytes([GOOD[0], GOOD[2]], 100, last_offset_delta=9).bytes())
    assert _told(found) == [(100, None), (102, None)]


def test_the_name_of_a_header_is_any_bytes() -> None:
    odd = record(b"v", 0, headers=[(b"\xff\xfeid", b"1"), (b"", b""), (b"ecg-priority", b"stat")])
    (found,) = _records(BatchBytes([odd]).bytes())
    assert found.unreadable is None
    assert found.headers == (("\ufffd\ufffdid", b"1"), ("", b""), ("ecg-priority", b"stat"))


@pytest.mark.parametrize(
    ("first", "delta", "timestamp_ms"),
    [
        (1_764_268_000_000_000, 0, 1_764_268_000_000_000),
        ((1 << 63) - 1, 0, (1 << 63) - 1),
        ((1 << 63) - 1, 1, None),
        (-(1 << 63), 0, None),
        (-(1 << 63), -1, None),
        (0, (1 << 62), 1 << 62),
        (-1, 0, None),
    ],
)
def test_a_timestamp_is_any_number(first: int, delta: int, timestamp_ms: int | None) -> None:
    content = BatchBytes([record(b"v", 0, timestamp_delta=delta)], first_timestamp_ms=first).bytes()
    (found,) = _records(content)
    assert (found.unreadable, found.timestamp_ms) == (None, timestamp_ms)


def test_the_brokers_clock_counts_where_the_topic_says_so() -> None:
    content = BatchBytes([record(b"v", 0, timestamp_delta=5)], attributes=8, max_timestamp_ms=77).bytes()
    assert _records(content)[0].timestamp_ms == 77


def test_what_a_damaged_header_claims_ends_where_the_partition_ends() -> None:
    liar = BatchBytes(GOOD, 100, crc=1, last_offset_delta=(1 << 31) - 1).bytes()
    assert [item.offset for item in _records(liar, end=103)] == [100, 101, 102]


def test_more_offsets_than_producers_put_into_a_batch_are_told_as_a_range() -> None:
    liar = BatchBytes(GOOD, 100, crc=1, last_offset_delta=(1 << 31) - 1).bytes()
    found = _read(liar)
    assert len(found) == MAX_TOLD_OFFSETS + 1
    assert found[-1] == Missing(range(100 + MAX_TOLD_OFFSETS, 100 + (1 << 31)))
    assert _read(liar, at=50_000) == [Missing(range(50_000, 100 + (1 << 31)))]


@pytest.mark.parametrize("base", [-5, FAR + 1])
def test_an_offset_that_cannot_be_does_not_move_the_reader_there(base: int) -> None:
    found = _records(BatchBytes([], base, crc=1).bytes(), at=50)
    assert [item.offset for item in found] == [50]


def test_bytes_that_are_no_batch_cost_one_offset_at_a_time() -> None:
    junk = struct.pack(">qiib", 100, 8, 0, 2) + bytes(60)
    assert _told(_records(junk, at=100)) == [(100, "offset 100: damaged batch")]


def _old(magic: int, codec: int, values: Sequence[bytes]) -> bytes:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=10_000_000)
    for n, value in enumerate(values):
        builder.append(n, timestamp=9, key=b"k", value=value)
    content = bytearray(builder.build())
    if codec:
        struct.pack_into(">q", content, 0, len(values) - 1)  # a broker names the last offset
    return bytes(content)


# Without lz4 of brokers before 0.10, whose checksum was a mistake of theirs.
@pytest.mark.parametrize(("magic", "codec"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
def test_the_old_formats_are_read(magic: int, codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka.codec.snappy", object())
    monkeypatch.setattr("kafka.record.legacy_records.snappy_encode", DEFLATE["snappy"][1])
    content = _old(magic, codec, [b"v0", b"v1", b"v2"])
    found = _records(content)
    assert [(item.offset, item.value) for item in found] == [(n, b"v%d" % n) for n in range(3)]
    assert {item.timestamp_ms for item in found} == {9 if magic else None}
    found = _records(content[:-1] + bytes([content[-1] ^ 1]))
    assert [item.offset for item in found] == [0, 1, 2]
    assert [item.unreadable is None for item in found] == ([False] * 3 if codec else [True, True, False])


def test_old_formats_are_inflated_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 1024 * 1024)
    found = _records(_old(1, 1, [bytes(1024 * 1024)] * 3))
    assert [item.unreadable for item in found] == ["offsets 0 to 2: inflates to more than 1 MiB"] * 3


@given(at=st.integers(0, 400), byte=st.integers(0, 255), codec=st.sampled_from(sorted(DEFLATE)), fix=st.booleans())
def test_no_byte_in_a_batch_ends_the_reading(at: int, byte: int, codec: str, fix: bool) -> None:
    content = bytearray(BatchBytes(GOOD, 100, codec).bytes())
    content[at % len(content)] = byte
    if fix:
        from kafka.record.util import calc_crc32c

        struct.pack_into(">I", content, 17, calc_crc32c(memoryview(content)[21:]))
    found = _read(bytes(content), at=100, end=104)
    offsets = [item.offset for item in found]
    assert offsets == sorted(set(offsets))
    assert all(offset >= 100 for offset in offsets)
    assert len(found) <= 5
