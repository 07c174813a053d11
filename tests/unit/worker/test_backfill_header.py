"""A record says that it is a backfill with one header, in one spelling."""

import pytest

from adapters.log import Headers, Record
from worker.backfill_header import BACKFILL, BACKFILL_HEADER, is_backfill


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (((BACKFILL_HEADER, BACKFILL),), True),
        ((("other", b"1"), (BACKFILL_HEADER, BACKFILL)), True),
        ((), False),
        (((BACKFILL_HEADER, b"0"),), False),
        (((BACKFILL_HEADER, b"true"),), False),
        (((BACKFILL_HEADER, b""),), False),
        ((("ECG-BACKFILL", BACKFILL),), False),
    ],
)
def test_only_the_one_spelling_is_believed(headers: Headers, expected: bool) -> None:
    assert is_backfill(Record("ecg.inbound", 0, 0, None, None, b"", headers)) is expected
