"""How much a worker holds and how long it waits. Apart from the loop, so that settings are read without loading it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the loop.

    in_flight            records begun and not finished; a STAT one that comes in waits for about so many
    read_ahead(_bytes)   records read and not committed, among which STAT ones are found; each partition has its share
    publish_records      results that make a transaction due; `publish_wait_s`: the age of the oldest that does
    transaction_records  results in one transaction, so that it is over in time
    routine_share        of what is begun while records are waited for, how much is others at least
    rejected_share       how much of the last results may be rejections; 1 for any
    rejected_pace_s      how long lies between two records that are begun while more of them are
    stuck_s              how long a partition, a transaction or a preparation may stand still
    """

    in_flight: int = 64
    read_ahead: int = 2000
    read_ahead_bytes: int = 256 * 1024 * 1024
    publish_records: int = 100
    publish_wait_s: float = 0.2
    transaction_records: int = 500
    routine_share: float = 0.2
    rejected_share: float = 0.5
    rejected_pace_s: float = 0.25
    stuck_s: float = 300.0
