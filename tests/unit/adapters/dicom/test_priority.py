"""The priority is read off the bytes before the waveform, in either encoding, and from nowhere else."""

from collections.abc import Callable

import pytest

from adapters.dicom.decode import PRIORITIES
from adapters.dicom.priority import PEEKED_BYTES, peek_dicom
from tests.support.dicom_objects import element

TAG = b"\x40\x00\x03\x10"
WAVEFORM = b"\x00\x54\x00\x01SQ\0\0\xff\xff\xff\xff"
STAT = element(TAG, b"SH", b"STAT")


def implicit(value: bytes) -> bytes:
    return TAG + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(("written", "priority"), PRIORITIES.items())
@pytest.mark.parametrize("encoded", [lambda value: element(TAG, b"SH", value), implicit], ids=["explicit", "implicit"])
def test_every_word_of_the_standard_is_known_in_both_encodings(
    encoded: Callable[[bytes], bytes], written: str, priority: str
) -> None:
    assert peek_dicom(bytes(300) + encoded(written.encode()) + WAVEFORM) == priority


def test_without_a_priority_or_with_an_unknown_one_it_is_routine() -> None:
    assert peek_dicom(b"") == "routine"
    assert peek_dicom(bytes(300) + WAVEFORM) == "routine"
    assert peek_dicom(b"\0\0\0SH\x04\x00STAT") == "routine"
    assert peek_dicom(element(TAG, b"SH", b"SOON")) == "routine"
    assert peek_dicom(element(TAG, b"SH", b"stat")) == "routine"
    assert peek_dicom(element(TAG, b"SH", b"\xff\xfe")) == "routine"


@pytest.mark.parametrize("padding", [b" ", b"\0", b"  ", b"\r\n", b"\t "])
def test_what_fills_a_value_up_is_no_part_of_it(padding: bytes) -> None:
    assert peek_dicom(element(TAG, b"SH", b"STAT" + padding)) == "stat"
    assert peek_dicom(element(TAG, b"SH", b" STAT" + padding)) == "stat"


def test_a_value_ends_where_its_length_says_so() -> None:
    assert peek_dicom(element(TAG, b"SH", b"HIGH") + b"ER" + WAVEFORM) == "asap"
    assert peek_dicom(TAG + b"SH\x02\x00" + b"STAT") == "routine"
    assert peek_dicom(TAG + b"SH\x06\x00" + b"STAT" + b"ER") == "routine"


def test_no_more_of_a_value_is_taken_than_its_representation_allows() -> None:
    assert peek_dicom(TAG + b"SH\xff\xff" + b"STAT".ljust(16) + b"not a part of it") == "stat"
    assert peek_dicom(TAG + b"SH\xff\xff" + b"STAT".ljust(15) + b"X") == "routine"


def test_of_several_the_last_before_the_waveform_counts() -> None:
    high = element(TAG, b"SH", b"HIGH")
    assert peek_dicom(high + STAT + WAVEFORM) == "stat"
    assert peek_dicom(STAT + high + WAVEFORM) == "asap"
    assert peek_dicom(high + WAVEFORM + STAT) == "asap"
    assert peek_dicom(WAVEFORM + STAT) == "routine"


@pytest.mark.parametrize(("at", "priority"), [(PEEKED_BYTES - 4, "stat"), (PEEKED_BYTES - 3, "routine")])
def test_what_begins_behind_the_first_bytes_is_not_looked_at(at: int, priority: str) -> None:
    assert peek_dicom(bytes(at) + STAT) == priority


def test_a_waveform_that_lies_far_behind_ends_nothing() -> None:
    assert peek_dicom(STAT + bytes(PEEKED_BYTES) + WAVEFORM) == "stat"
    assert peek_dicom(bytes(PEEKED_BYTES) + WAVEFORM + STAT) == "routine"


@pytest.mark.parametrize("length", range(len(STAT)))
def test_an_object_that_ends_in_the_middle_of_it_is_routine(length: int) -> None:
    assert peek_dicom(STAT[:length]) == "routine"
