"""How a record says that its ECG is an old one, put on the log to be filed: one header, written here and read here.

Anyone who can write on the inbound topic can write it. It counts only in the one form that is written here; otherwise
the record is like any other, and may alert: a mark that is misread would lose an alert without a word.
"""

from typing import Final

from adapters.log import Record

HEADER: Final = "ecg-backfill"
MARK: Final = (HEADER, b"1")


def is_backfill(record: Record) -> bool:
    """Whether nobody is to be alerted by what this record brings, and everything else may go before it."""
    return [content for name, content in record.headers if name == HEADER] == [MARK[1]]
