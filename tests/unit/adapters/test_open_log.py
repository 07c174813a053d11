"""A URL opens the log it names, or is refused."""

from pathlib import Path

import pytest

from adapters.kafka.options import KafkaOptions
from adapters.log import LogError
from adapters.open_log import open_log
from adapters.sqlite.log import SqliteLog


def test_a_path_opens_an_embedded_log(tmp_path: Path) -> None:
    log = open_log(f"sqlite://{tmp_path}/a%20b.db")
    assert isinstance(log, SqliteLog)
    assert (tmp_path / "a b.db").exists()
    log.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.db",
        "http://host:9092",
        "sqlite:log.db",
        "sqlite://log.db",
        "kafka://",
        "kafka://host:9092/topic",
        "kafka://host:9092,,other:9092",
        "kafka://host:9092?ssl=true",
        "kafka://user:hunter2@host:9092",
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(LogError) as refused:
        open_log(url)
    assert "hunter2" not in str(refused.value)


def test_kafka_options_with_an_embedded_log_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(LogError):
        open_log(f"sqlite://{tmp_path}/log.db", KafkaOptions())
