"""What the worker counts. No label ever holds an id, a key, an offset or free text.

`worker/operations/health.py` serves these under `/metrics`.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

FINDINGS: Final = Counter("ecg_findings_total", "Findings committed, by verdict.", ["verdict"])
FLAGS: Final = Counter("ecg_flags_raised_total", "Findings committed with their flag raised.")
REJECTIONS: Final = Counter("ecg_rejections_total", "Rejections committed, by reason code.", ["reason"])
SLOWED: Final = Gauge("ecg_slowed_by_rejections", "1 while so much is rejected that the worker reads on slowly.")
RECORDS_GONE: Final = Counter("ecg_records_gone_total", "Offsets that the log lost before they were read.")
TOPICS_REMADE: Final = Counter(
    "ecg_partitions_remade_total", "Partitions whose topic was deleted and made again, read from their first record."
)
PREPARATION_DEATHS: Final = Counter(
    "ecg_preparation_deaths_total", "Times that a process which prepares records died, and others took its place."
)
TRANSACTIONS: Final = Counter("ecg_transactions_total", "Transactions, by outcome.", ["outcome"])
VOID_RECORDS: Final = Counter(
    "ecg_void_records_total", "Records dropped, to be read again: their partition was taken away, or a commit failed."
)
ENGINE_FAILURES: Final = Counter(
    "ecg_engine_failures_total",
    "Questions that the engine could not answer, by reason code.",
    ["reason"],
)
ENGINE_RETRIES: Final = Counter(
    "ecg_engine_retries_total",
    "Failures after which the engine began its work again, by reason code.",
    ["reason"],
)
IN_FLIGHT: Final = Gauge("ecg_in_flight_records", "Records being prepared or asked about.")
READ_AHEAD: Final = Gauge("ecg_read_ahead_records", "Records read and not begun.")
ASSIGNED: Final = Gauge("ecg_assigned_partitions", "Partitions that are this worker's.")
COMMIT_SECONDS: Final = Histogram("ecg_commit_seconds", "Time from opening to committing a transaction.")
AGE_SECONDS: Final = Histogram(
    "ecg_end_to_end_seconds",
    "Time from a record's timestamp to its result's commit, by priority.",
    ["priority"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)

DELIVERIES: Final = Counter("ecg_deliveries_total", "Flagged findings settled, by outcome.", ["outcome"])
RECEIVER_AWAY: Final = Gauge("ecg_receiver_away_seconds", "How long the receiver has been away; 0 if it is there.")
OLDEST_ALERT: Final = Gauge("ecg_oldest_alert_seconds", "Age of the oldest finding that waits to be delivered.")
PRUNED: Final = Counter(
    "ecg_log_pruned_records_total", "Records that the embedded log no longer had to keep, by topic.", ["topic"]
)
