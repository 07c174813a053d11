"""A URL opens the log it names, or is refused."""

from pathlib import Path

import pytest

from adapters.kafka.options import KafkaOptions
from adapters.log import LogError
from adapters.open_log import FORMS, check_url, open_inspection, open_log
from adapters.sqlite.log import SqliteLog


def test_a_path_opens_an_embedded_log(tmp_path: Path) -> None:
    log = open_log(f"sqlite://{tmp_path}/a%20b.db")
    assert isinstance(log, SqliteLog)
    assert (tmp_path / "a b.db").exists()
    log.close()


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("", "neither kafka:// nor sqlite://"),
        ("log.db", "neither kafka:// nor sqlite://"),
        ("http://host:9092", "neither kafka:// nor sqlite://"),
        ("user:hunter2@host:9092", "neither kafka:// nor sqlite://"),
        ("sqlite:log.db", "does not begin with /"),
        ("sqlite://log.db", "does not begin with /"),
        ("sqlite:///", "does not begin with /"),
        ("kafka://", "an address is no host"),
        ("kafka://a..b:9092", "an address is no host"),
        (f"kafka://{'a' * 64}:9092", "an address is no host"),
        ("kafka://host:0", "its port is no number"),
        ("kafka://host:65536", "its port is no number"),
        ("kafka://host:port", "its port is no number"),
        ("kafka://::1:9092", "an address is no host"),
        ("kafka://host:9092/topic", "something after the last address"),
        ("kafka://host:9092,,other:9092", "an address is no host"),
        ("kafka://host:9092?ssl=true", "it holds a ?"),
        ("kafka://user:hunter2@host:9092", "which belong in ECG_KAFKA_USERNAME"),
        ("kafka://[::1", "an address is no host"),
        ("kafka://hunter2%40host:9092", "an address is no host"),
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str, flaw: str) -> None:
    for refuse in (check_url, open_log, open_inspection):
        with pytest.raises(LogError) as refused:
            refuse(url)
        assert flaw in str(refused.value)
        assert str(refused.value).endswith(FORMS)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["kafka://host", "kafka://host:9092/", "kafka://a:1,b.example.org:65535", "kafka://[::1]:9092", "sqlite:///a/b.db"],
)
def test_a_url_of_a_log_passes(url: str) -> None:
    check_url(url)


def test_kafka_options_with_an_embedded_log_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="unset every ECG_KAFKA_ setting"):
        open_log(f"sqlite://{tmp_path}/log.db", KafkaOptions())
