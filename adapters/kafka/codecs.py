"""What a producer compressed, inflated: gzip, snappy, lz4 and zstd, never to more bytes than the caller allows.

The client library inflates a batch whole, whatever it grows to: 400 KB on the wire became 1.3 GB. Here a batch is
inflated piece by piece, and given up at the ceiling.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

_PIECE_BYTES: Final = 1024 * 1024  # what one step may inflate to
_STEP_BYTES: Final = 64 * 1024  # what one step is fed

# The most that any level asks for. Memory is touched only as far as the batch inflates.
_ZSTD_WINDOW_BYTES: Final = 1 << 27

# Java's producer wraps snappy in blocks of its own, the C library's does not. Two numbers follow the magic.
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_XERIAL_LENGTH: Final = struct.Struct(">i")


class Unreadable(Exception):
    """Why bytes cannot be read, in a few words that say nothing of what is in them."""


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    package: str
    damage: str | type[Exception]  # what it raises for damaged data: one of its own by name, or a built-in one
    pieces: Callable[[Any, memoryview, int], Iterator[bytes | bytearray]]


def inflate(codec: int, data: memoryview, ceiling: int) -> bytearray:
    """What `data` inflates to. `codec` is Kafka's number of it, 1 to 4; `ceiling` in bytes.

    Raises Unreadable if the codec or its package is not there, the data is damaged, or there is more than the ceiling.
    """
    if codec not in _CODECS:
        raise Unreadable(f"codec {codec} is unknown")
    known = _CODECS[codec]
    try:
        package = import_module(known.package)
    except ImportError:
        raise Unreadable(f"codec {known.name} is not installed") from None
    damage = getattr(package, known.damage) if isinstance(known.damage, str) else known.damage
    inflated = bytearray()
    try:
        for piece in known.pieces(package, data, ceiling):
            if len(inflated) + len(piece) > ceiling:
                raise _too_much(ceiling)
            inflated += piece
    except (damage, EOFError, struct.error):
        raise Unreadable(f"damaged {known.name} data") from None
    return inflated


def installed_codecs() -> dict[str, bool]:
    """Each codec that producers may choose, and whether its package is here."""
    return {codec.name: _is_installed(codec.package) for codec in _CODECS.values()}


def _is_installed(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def _too_much(ceiling: int) -> Unreadable:
    return Unreadable(f"inflates to more than {ceiling // 2**20} MiB")


def _gzip(zlib: Any, data: memoryview, _ceiling: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=31)
    for at in range(0, len(data), _STEP_BYTES):
        rest: bytes | memoryview = data[at : at + _STEP_BYTES]
        while rest:
            if inflater.eof:  # another member follows
                inflater = zlib.decompressobj(wbits=31)
            yield inflater.decompress(rest, _PIECE_BYTES)
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    while piece := inflater.decompress(b"", _PIECE_BYTES):  # what it had in hand when the last input was used up
        yield piece
    if not inflater.eof:
        raise EOFError


def _lz4(lz4: Any, data: memoryview, _ceiling: int) -> Iterator[bytes]:
    inflater = lz4.LZ4FrameDecompressor()
    for at in range(0, len(data), _STEP_BYTES):
        rest: bytes | memoryview = data[at : at + _STEP_BYTES]
        while rest:
            if inflater.eof:
                inflater = lz4.LZ4FrameDecompressor()
            yield inflater.decompress(rest, _PIECE_BYTES)
            while not inflater.eof and not inflater.needs_input:
                yield inflater.decompress(b"", _PIECE_BYTES)
            rest = (inflater.unused_data or b"") if inflater.eof else b""
    if not inflater.eof:
        raise EOFError


def _zstd(zstandard: Any, data: memoryview, _ceiling: int) -> Iterator[bytes]:
    inflater = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    with inflater.stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(_PIECE_BYTES):
            yield piece


def _snappy(cramjam: Any, data: memoryview, ceiling: int) -> Iterator[bytearray]:
    """Snappy says beforehand how much a block inflates to, and has no steps within one."""
    for block in _xerial_blocks(data) if bytes(data[:8]) == _XERIAL_MAGIC else (data,):
        said = cramjam.snappy.decompress_raw_len(block)
        if said > ceiling:
            raise _too_much(ceiling)
        inflated = bytearray(said)
        if cramjam.snappy.decompress_raw_into(block, inflated) != said:
            raise EOFError
        yield inflated


def _xerial_blocks(data: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(data):
        if bytes(data[at : at + 8]) == _XERIAL_MAGIC:  # streams may be joined
            at += _XERIAL_HEADER_BYTES
            continue
        (length,) = _XERIAL_LENGTH.unpack_from(data, at)
        at += _XERIAL_LENGTH.size
        if length <= 0 or at + length > len(data):
            raise EOFError
        yield data[at : at + length]
        at += length


_CODECS: Final = {
    1: _Codec("gzip", "zlib", "error", _gzip),
    2: _Codec("snappy", "cramjam", "DecompressionError", _snappy),
    3: _Codec("lz4", "lz4.frame", RuntimeError, _lz4),
    4: _Codec("zstd", "zstandard", "ZstdError", _zstd),
}
