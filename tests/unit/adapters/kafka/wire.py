"""Record batches as producers write them, and as none should."""

import gzip
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cramjam
import lz4.frame
import zstandard
from kafka.record.util import calc_crc32c, encode_varint


def xerial(content: bytes, block_bytes: int = 32 * 1024) -> bytes:
    """Snappy as Java's producer frames it."""
    blocks = [content[at : at + block_bytes] for at in range(0, len(content), block_bytes)]
    packed = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(b)) + b for b in packed)


def _in_steps(content: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()  # says no size beforehand
    return stream.compress(content) + stream.flush()


DEFLATE: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (1, gzip.compress),
    "snappy": (2, lambda content: bytes(cramjam.snappy.compress_raw(content))),
    "snappy of Java": (2, xerial),
    "lz4": (3, lz4.frame.compress),
    "lz4 of Java": (3, lambda content: bytes(lz4.frame.compress(content, block_linked=False, store_size=False))),
    "zstd": (4, zstandard.ZstdCompressor().compress),
    "zstd in steps": (4, _in_steps),
}


def varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def _bytes(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record(
    value: bytes | None,
    offset_delta: int,
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
    timestamp_delta: int = 0,
) -> bytes:
    """One record of format 2, with its length."""
    labels = b"".join(_bytes(name) + _bytes(content) for name, content in headers)
    body = b"\x00" + varint(timestamp_delta) + varint(offset_delta) + _bytes(key) + _bytes(value)
    body += varint(len(headers)) + labels
    return varint(len(body)) + body


@dataclass
class BatchBytes:
    """A batch of format 2. What is left at None is as it should be."""

    records: Sequence[bytes]
    base_offset: int = 0
    codec: str = "none"
    attributes: int = 0
    first_timestamp_ms: int = 1_700_000_000_000
    max_timestamp_ms: int = 1_700_000_000_000
    producer_id: int = -1
    last_offset_delta: int | None = None
    count: int | None = None
    crc: int | None = None
    body: bytes | None = None
    magic: int = 2

    def bytes(self) -> bytes:
        number, deflate = DEFLATE[self.codec]
        body = deflate(b"".join(self.records)) if self.body is None else self.body
        count = len(self.records) if self.count is None else self.count
        last = count - 1 if self.last_offset_delta is None else self.last_offset_delta
        checked = struct.pack(
            ">hiqqqhii", self.attributes | number, last,
            self.first_timestamp_ms, self.max_timestamp_ms, self.producer_id, 0, 0, count,
        ) + body  # fmt: skip
        crc = calc_crc32c(memoryview(checked)) if self.crc is None else self.crc
        return struct.pack(">qiibI", self.base_offset, 9 + len(checked), 3, self.magic, crc) + checked
