"""Every codec is inflated, whoever framed it, and none beyond its ceiling."""

import sys

import pytest

from adapters.kafka import codecs
from adapters.kafka.codecs import Unreadable, inflate, installed_codecs
from tests.unit.adapters.kafka.wire import DEFLATE

COMPRESSED = {name: deflate for name, deflate in DEFLATE.items() if name != "none"}
CONTENT = bytes(range(256)) * 20_000  # 5 MB: several pieces
CEILING = 8 * 1024 * 1024


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("content", [b"", b"one record", CONTENT])
def test_what_a_producer_compressed_is_inflated(name: str, content: bytes) -> None:
    codec, deflate = COMPRESSED[name]
    assert inflate(codec, memoryview(deflate(content)), len(content)) == content


@pytest.mark.parametrize("name", COMPRESSED)
def test_one_byte_beyond_the_ceiling_is_too_much(name: str) -> None:
    codec, deflate = COMPRESSED[name]
    with pytest.raises(Unreadable, match="inflates to more than 4 MiB"):
        inflate(codec, memoryview(deflate(CONTENT)), 4 * 1024 * 1024)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize(
    "harm", [lambda data: b"\x03" + data[1:], lambda data: data[: len(data) // 2], lambda _: b"junk"]
)
def test_damaged_data_is_unreadable(name: str, harm: object) -> None:
    codec, deflate = COMPRESSED[name]
    data = memoryview(harm(deflate(CONTENT)))  # type: ignore[operator]
    try:
        inflated = inflate(codec, data, CEILING)
    except Unreadable as error:
        assert str(error).startswith("damaged")
    else:
        assert name.startswith("zstd"), "the others say so themselves"
        assert len(inflated) < len(CONTENT)  # which the records in it show


@pytest.mark.parametrize("name", ["gzip", "lz4", "zstd", "snappy of Java"])
def test_streams_that_were_joined_are_one(name: str) -> None:
    codec, deflate = COMPRESSED[name]
    assert inflate(codec, memoryview(deflate(b"one ") + deflate(b"two")), CEILING) == b"one two"


def test_a_block_of_snappy_that_lies_about_its_size_is_not_inflated() -> None:
    with pytest.raises(Unreadable, match="inflates to more than 8 MiB"):
        inflate(2, memoryview(b"\xff\xff\xff\x7f" + b"\x00"), CEILING)


def test_a_codec_that_nobody_knows_is_named() -> None:
    with pytest.raises(Unreadable, match="codec 5 is unknown"):
        inflate(5, memoryview(b""), CEILING)


def test_a_codec_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_codecs() == {"gzip": True, "snappy": True, "lz4": True, "zstd": True}
    monkeypatch.setitem(sys.modules, "zstandard", None)  # what an import then finds
    assert installed_codecs() == {"gzip": True, "snappy": True, "lz4": True, "zstd": False}
    with pytest.raises(Unreadable, match="codec zstd is not installed"):
        inflate(4, memoryview(COMPRESSED["zstd"][1](b"v")), CEILING)


@pytest.mark.parametrize("name", COMPRESSED)
def test_no_step_inflates_to_more_than_the_ceiling(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    codec, deflate = COMPRESSED[name]
    bomb = memoryview(deflate(bytes(64 * 1024 * 1024)))
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable):
            inflate(codec, bomb, CEILING)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * CEILING
    finally:
        tracemalloc.stop()
    assert codecs._PIECE_BYTES * 4 < CEILING
