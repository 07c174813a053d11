"""The headers of a record that was put back: what is written is read again, and nothing else is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.log import Headers, Record
from schemas.finding import RecordRef, Redrive
from worker.redrive_headers import COUNT_HEADER, OF_HEADER, next_redrive, read_redrive, redriven_message

TOPIC = "ecg.inbound"


def record(*headers: tuple[str, bytes], partition: int = 0, offset: int = 50) -> Record:
    return Record(TOPIC, partition, offset, None, b"key", b"payload", headers)


def marks(of: bytes, count: bytes = b"1") -> Headers:
    return (OF_HEADER, of), (COUNT_HEADER, count)


def again(before: Record, redrive: Redrive, offset: int) -> Record:
    """The record after it was put back."""
    message = redriven_message(before, redrive)
    return Record(message.topic, 0, offset, None, message.key, message.value, message.headers)


def test_a_record_put_back_names_the_first_one_and_counts() -> None:
    first = record(("traceparent", b"00-x"), ("vendor", b"kept"))
    assert read_redrive(first) is None
    second = again(first, next_redrive(first), 60)
    assert (second.key, second.value) == (first.key, first.value)
    assert second.headers[:2] == first.headers
    place = RecordRef(topic=TOPIC, partition=0, offset=50)
    assert read_redrive(second) == Redrive(of=place, count=1)
    third = again(second, next_redrive(second), 70)
    assert read_redrive(third) == Redrive(of=place, count=2)
    assert [name for name, _ in third.headers] == ["traceparent", "vendor", OF_HEADER, COUNT_HEADER]


def test_the_first_record_may_lie_in_another_partition_and_later_there() -> None:
    found = read_redrive(record(*marks(b"ecg.inbound/2/99", b"3")))
    assert found == Redrive(of=RecordRef(topic=TOPIC, partition=2, offset=99), count=3)


@pytest.mark.parametrize(
    "headers",
    [
        marks(b"DOE^JANE/0/1"),
        marks(b"ecg.other/0/1"),
        marks(b"/0/1"),
        marks(b"ecg.inbound/0/50"),  # itself
        marks(b"ecg.inbound/0/51"),  # not written yet
        marks(b"ecg.inbound/0/-1"),
        marks(b"ecg.inbound/0/01"),
        marks(b"ecg.inbound/0/1 "),
        marks(b"ecg.inbound/0/1\n"),
        marks(b"ecg.inbound/0"),
        marks(b"ecg.inbound/0/1/2"),
        marks("ecg.inbound/0/١".encode()),
        marks(b"ecg.inbound/4294967296/1"),
        marks(b"ecg.inbound/1/9999999999999999999"),
        marks(b"ecg.inbound/0/1", b"0"),
        marks(b"ecg.inbound/0/1", b"-1"),
        marks(b"ecg.inbound/0/1", b"01"),
        marks(b"ecg.inbound/0/1", b"100"),
        marks(b"ecg.inbound/0/1", b"1\n"),
        marks(b"ecg.inbound/0/1", b""),
        marks(b"ecg.inbound/0/1")[:1],
        marks(b"ecg.inbound/0/1")[1:],
        (*marks(b"ecg.inbound/0/1"), (OF_HEADER, b"ecg.inbound/0/2")),
        (*marks(b"ecg.inbound/0/1"), (COUNT_HEADER, b"1")),
    ],
)
def test_forged_headers_say_nothing_and_do_not_last(headers: Headers) -> None:
    forged = record(*headers)
    assert read_redrive(forged) is None
    honest = again(forged, next_redrive(forged), 60)
    assert read_redrive(honest) == Redrive(of=RecordRef(topic=TOPIC, partition=0, offset=50), count=1)
    assert len(honest.headers) == 2


@given(st.binary(max_size=40), st.binary(max_size=5))
def test_nothing_of_any_header_is_echoed_but_its_numbers(of: bytes, count: bytes) -> None:
    found = read_redrive(record(*marks(of, count)))
    if found is not None:
        assert found.of.topic == TOPIC
        assert f"{TOPIC}/{found.of.partition}/{found.of.offset}".encode() == of
        assert str(found.count).encode() == count
