"""The header of a record to be filed: one form of it counts, and no other."""

import pytest

from adapters.log import Headers, Record
from worker.backfill_header import HEADER, MARK, is_backfill
from worker.redrive_headers import next_redrive, redriven_message


def record(headers: Headers) -> Record:
    return Record("ecg.inbound", 0, 5, None, None, b"", headers)


def test_a_marked_record_is_a_backfill_among_any_other_headers_and_after_it_was_put_back() -> None:
    marked = record((("traceparent", b"00-x"), MARK))
    assert is_backfill(marked)
    again = redriven_message(marked, next_redrive(marked))
    assert is_backfill(record(again.headers))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((HEADER, b""),),
        ((HEADER, b"0"),),
        ((HEADER, b"1 "),),
        ((HEADER, b"01"),),
        ((HEADER, b"true"),),
        ((HEADER, b"1"), (HEADER, b"1")),
        ((HEADER, b"1"), (HEADER, b"0")),
        (("ECG-BACKFILL", b"1"),),
        (("ecg-backfill ", b"1"),),
    ],
    ids=str,
)
def test_no_other_form_keeps_an_alert_down(headers: Headers) -> None:
    assert not is_backfill(record(headers))
