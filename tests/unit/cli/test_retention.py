"""What becomes of the word that an embedded log let go of records."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from adapters.log import TopicPartition
from adapters.sqlite.retention import Cut
from cli.settings import Settings
from cli.wiring.log import report_pruned, retention

AT = TopicPartition("ecg.inbound", 2)


def pruned(topic: str) -> float:
    return REGISTRY.get_sample_value("ecg_log_pruned_records_total", {"topic": topic}) or 0.0


def test_pruned_records_are_counted_and_unread_ones_are_said() -> None:
    before = pruned("ecg.inbound")
    with capture_logs() as said:
        report_pruned([Cut(AT, range(3, 10), 7, 7000)])
    assert (pruned("ecg.inbound") - before, said) == (7, [])
    with capture_logs() as said:
        report_pruned([Cut(AT, range(10, 15), 5, 5000, range(12, 15), "ecg-deliver")])
    assert pruned("ecg.inbound") - before == 12
    (entry,) = said
    assert entry["log_level"] == "warning"
    assert {name: entry[name] for name in ("topic", "partition", "group", "count")} == {
        "topic": "ecg.inbound", "partition": 2, "group": "ecg-deliver", "count": 3,
    }  # fmt: skip


def test_everything_is_kept_unless_somebody_says_otherwise() -> None:
    assert not retention(Settings()).is_bounded
    assert retention(Settings(log_keep_days=30)).keep_days == 30
    assert retention(Settings(log_keep_bytes=10**9)).keep_bytes == 10**9
