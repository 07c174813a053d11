"""How a record says that it is put in for the record: a header, written by `submit --backfill`, read here.

What comes of it is a finding like any other, but never an alert, and it waits behind everything else.
"""

from typing import Final

from adapters.log import Record

BACKFILL_HEADER: Final = "ecg-backfill"
BACKFILL: Final = b"1"


def is_backfill(record: Record) -> bool:
    """Whether the record says so. Anything else in that header says nothing."""
    return (BACKFILL_HEADER, BACKFILL) in record.headers
