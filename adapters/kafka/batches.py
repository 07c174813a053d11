"""Record batches as they lie on the wire, read so that no bytes in them stop a partition.

The client library raises at the first record that it cannot read, and again at the same one after each restart. Here a
batch that cannot be read comes out as records that say so, one for each of its offsets; a record that cannot be read
among good ones of a batch costs itself alone.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kafka.errors import CorruptRecordError
from kafka.record.legacy_records import LegacyRecordBatch
from kafka.record.util import calc_crc32c, decode_varint

from adapters.kafka.codecs import Unreadable, inflate
from adapters.kafka.options import MAX_FETCH_BYTES
from adapters.log import Headers, Record, TopicPartition

# A batch may inflate to as much as one fetch may bring uncompressed: three of the largest records. Producers that keep
# to their limit (16 MiB and labels, before compression) stay below a third of it.
MAX_BATCH_BYTES: Final = MAX_FETCH_BYTES

# So many offsets of a batch that cannot be read are told one by one, what a producer by default puts into one at most
# (librdkafka's batch.num.messages); the rest of them are told as a range. A header may claim two thousand million.
MAX_TOLD_OFFSETS: Final = 10_000

# Tracing agents write a few dozen. A batch holds 33 million empty ones, which deflate to 64 KB: a minute of the thread
# that polls, and gigabytes.
MAX_HEADERS: Final = 10_000

# Offset, length, and two fields that every format has at the same place: leader epoch (v2) or checksum, and the format.
_FRAME: Final = struct.Struct(">qiib")
_FRAME_LENGTH_BYTES: Final = 12  # what the length does not count
_LEGACY_BYTES: Final = 26  # of the smallest record of the old formats
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CHECKED_FROM: Final = 21  # the checksum covers what follows it
_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_MAX_INT64: Final = (1 << 63) - 1

_DAMAGED: Final = (CorruptRecordError, AssertionError, ValueError, IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class Missing:
    """Offsets of a batch that cannot be read, beyond those that are told one by one."""

    offsets: range

    @property
    def offset(self) -> int:
        """The first of them."""
        return self.offsets.start


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, and what its header says if its checksum holds. `last_offset` is claimed, nothing more."""

    content: memoryview
    format: int
    base_offset: int
    last_offset: int
    flaw: str | None = None
    leader_epoch: int = -1
    attributes: int = 0
    count: int = 0
    first_timestamp_ms: int = -1
    max_timestamp_ms: int = -1
    producer_id: int = -1

    @property
    def is_transactional(self) -> bool:
        """Whether it counts only if its producer's transaction was committed."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it holds no records, but the end of a transaction."""
        return bool(self.attributes & _CONTROL)

    @property
    def is_abort(self) -> bool:
        """Whether it says that its producer's transaction was aborted."""
        if not self.is_control:
            return False
        try:
            at = _HEADER.size
            for skipped_bytes in (0, 1, 0):  # length; attributes and timestamp; offset
                _, at = decode_varint(self.content, at + skipped_bytes)
            key, _ = _field(self.content, at, len(self.content))
            return key is not None and struct.unpack_from(">hh", key)[1] == 0
        except _DAMAGED:
            return False


def split(content: memoryview) -> Iterator[Batch]:
    """The batches that are there in full. What follows bytes that are no batch cannot be told apart, and is left."""
    at = 0
    while at + _FRAME.size <= len(content):
        offset, length, _, magic = _FRAME.unpack_from(content, at)
        end = at + _FRAME_LENGTH_BYTES + length
        if end > len(content):
            return  # the next fetch begins with it
        smallest = _HEADER.size if magic > 1 else _LEGACY_BYTES
        if end - at < smallest or magic < 0:
            yield Batch(content[at:], magic, offset, offset, "damaged batch")
            return
        yield _batch(content[at:end], magic, offset)
        at = end


def _batch(content: memoryview, magic: int, offset: int) -> Batch:
    if magic <= 1:
        return Batch(content, magic, offset, offset)
    if magic > 2:
        return Batch(content, magic, offset, offset, f"record format {magic} is unknown")
    base, _, epoch, _, crc, attributes, last, first_ms, max_ms, producer, _, _, count = _HEADER.unpack_from(content)
    flaw = None if calc_crc32c(content[_CHECKED_FROM:]) == crc else "checksum does not match"
    last_offset = base + max(last, 0)
    return Batch(content, magic, base, last_offset, flaw, epoch, attributes, count, first_ms, max_ms, producer)


def read(
    batch: Batch, partition: TopicPartition, at: int, end: int, following: int | None = None
) -> Iterator[Record | Missing]:
    """What a batch holds from the offset `at` on. No offset at or beyond `end` is there, whatever the batch claims.

    `following` is where the next batch begins, if that came too: so far one reaches whose own header is not to be
    believed, or offsets that it does not claim would be passed by without a word.
    """
    expected = batch.base_offset if batch.format > 1 else at  # the old formats name their last offset only
    why = "damaged record"
    try:
        if batch.flaw is not None:
            raise Unreadable(batch.flaw)
        if batch.base_offset >= end:
            raise Unreadable("damaged batch")
        for record in _v2_records(batch, partition) if batch.format > 1 else _legacy_records(batch, partition):
            expected = record.offset + 1
            if record.offset >= at:
                at = expected
                yield record
        return
    except Unreadable as error:
        why = str(error)
    except _DAMAGED:
        pass
    if at == expected > batch.last_offset:
        return  # what is damaged comes after its last record
    is_believed = batch.flaw is None and batch.format > 1
    stop = batch.last_offset + 1 if is_believed or following is None else following
    yield from _unreadable(partition, range(expected, stop), at, end, why)


def _unreadable(
    partition: TopicPartition, claimed: range, at: int, end: int, why: str
) -> Iterator[Record | Missing]:  # fmt: skip
    """The offsets from `at` on that a batch claims and that may be there: at least one, or reading would not go on."""
    if not (0 <= claimed.start < end and at < claimed.stop):
        claimed = range(at, at + 1)
    first, stop = claimed.start, max(min(claimed.stop, end), at + 1)
    told = min(stop, first + MAX_TOLD_OFFSETS)
    where = f"offsets {first} to {stop - 1}" if stop - first > 1 else f"offset {first}"
    for offset in range(max(first, at), told):
        yield _without_content(partition, offset, f"{where}: {why}")
    if rest := range(max(told, at), stop):
        yield Missing(rest)


def _without_content(partition: TopicPartition, offset: int, why: str) -> Record:
    return Record(partition.topic, partition.partition, offset, None, None, b"", unreadable=why)


def _v2_records(batch: Batch, partition: TopicPartition) -> Iterator[Record]:
    body: memoryview = batch.content[_HEADER.size :]
    if codec := batch.attributes & _CODEC_MASK:
        body = memoryview(inflate(codec, body, MAX_BATCH_BYTES))
    position, expected = 0, batch.base_offset
    for _ in range(batch.count):
        length, start = decode_varint(body, position)
        position = start + length
        if length < 0 or position > len(body):
            raise Unreadable("damaged record")
        record = _v2_record(batch, partition, body[start:position], expected)
        if not expected <= record.offset <= batch.last_offset:
            raise Unreadable("damaged record")
        yield record
        expected = record.offset + 1
    if position != len(body):
        raise Unreadable("damaged batch")


def _v2_record(batch: Batch, partition: TopicPartition, content: memoryview, expected: int) -> Record:
    """One record; without content if it is damaged, for the next one can still be found."""
    offset = expected
    try:
        timestamp_delta, at = decode_varint(content, 1)
        offset_delta, at = decode_varint(content, at)
        offset = batch.base_offset + offset_delta
        key, at = _field(content, at, len(content))
        value, at = _field(content, at, len(content))
        headers, at = _headers(content, at)
        if at != len(content):
            raise ValueError
    except (Unreadable, ValueError, IndexError) as error:
        why = str(error) if isinstance(error, Unreadable) else "damaged record"
        offset = offset if expected <= offset <= batch.last_offset else expected
        return _without_content(partition, offset, f"offset {offset}: {why}")
    logged_ms = batch.max_timestamp_ms if batch.attributes & _LOG_APPEND_TIME else None
    timestamp_ms = batch.first_timestamp_ms + timestamp_delta if logged_ms is None else logged_ms
    time_ms = known_time(timestamp_ms)
    return Record(partition.topic, partition.partition, offset, time_ms, key, value or b"", headers)


def _field(content: memoryview, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(content, at)
    if length < 0:
        return None, at
    if at + length > end:
        raise ValueError
    return bytes(content[at : at + length]), at + length


def _headers(content: memoryview, at: int) -> tuple[Headers, int]:
    """A header's name is somebody's bytes: what of it is no UTF-8 is replaced, which makes it no name that we know."""
    count, at = decode_varint(content, at)
    if count < 0:
        raise ValueError
    if count > MAX_HEADERS:
        raise Unreadable(f"more than {MAX_HEADERS} headers")
    headers: list[tuple[str, bytes]] = []
    for _ in range(count):
        name, at = _field(content, at, len(content))
        if name is None:
            raise ValueError
        value, at = _field(content, at, len(content))
        headers.append((name.decode(errors="replace"), value or b""))
    return tuple(headers), at


def known_time(timestamp_ms: int | None) -> int | None:
    """A timestamp that is one: any 64-bit number that is not negative, in whatever unit its producer thought it was."""
    return timestamp_ms if timestamp_ms is not None and 0 <= timestamp_ms <= _MAX_INT64 else None


class _BoundedLegacyBatch(LegacyRecordBatch):  # type: ignore[misc] # the library ships no types
    """The library's reader of the formats before Kafka 0.11, which old topics still hold, with our inflation."""

    __slots__ = ()

    def _decompress(self, key_offset: int) -> bytearray:
        content: memoryview = self._buffer
        (key_length,) = struct.unpack_from(">i", content, key_offset)
        at = key_offset + 4 + max(key_length, 0)
        (length,) = struct.unpack_from(">i", content, at)
        return inflate(self.compression_type, content[at + 4 : at + 4 + max(length, 0)], MAX_BATCH_BYTES)


def _legacy_records(batch: Batch, partition: TopicPartition) -> Iterator[Record]:
    content = _BoundedLegacyBatch(batch.content, batch.format)
    if not content.validate_crc():
        raise Unreadable("checksum does not match")
    for raw in content:
        if not raw.validate_crc():
            raise Unreadable("checksum does not match")
        time_ms = known_time(raw.timestamp)
        yield Record(partition.topic, partition.partition, raw.offset, time_ms, raw.key, raw.value or b"")
