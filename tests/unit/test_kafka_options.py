"""Security options are complete or refused, and their secrets stay where they are."""

from pathlib import Path

import pytest

from adapters.kafka_options import KafkaOptions, Timeouts
from adapters.log import LogError


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    return file


def test_the_default_is_a_connection_in_the_clear() -> None:
    settings = KafkaOptions().client_settings(["a:9092", "b:9092"])
    assert settings["security_protocol"] == "PLAINTEXT"
    assert settings["bootstrap_servers"] == ["a:9092", "b:9092"]
    assert settings["sasl_plain_password"] is None


def test_the_password_is_read_from_its_file_each_time_and_never_shown(password_file: Path) -> None:
    options = KafkaOptions("SASL_SSL", "SCRAM-SHA-512", "ecg", password_file, Path("ca.pem"))
    assert options.client_settings(["a:9092"])["sasl_plain_password"] == "hunter2"
    password_file.write_text("rotated")
    assert options.client_settings(["a:9092"])["sasl_plain_password"] == "rotated"
    assert "hunter2" not in repr(options)
    assert "rotated" not in repr(options)


def test_a_password_file_that_cannot_be_read_is_an_error_without_its_content(tmp_path: Path) -> None:
    options = KafkaOptions("SASL_SSL", "PLAIN", "ecg", tmp_path / "missing")
    with pytest.raises(LogError, match="FileNotFoundError"):
        options.client_settings(["a:9092"])


@pytest.mark.parametrize(
    "options",
    [
        {"security_protocol": "SASL_SSL"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "ecg"},
        {"security_protocol": "SSL", "username": "ecg"},
        {"security_protocol": "PLAINTEXT", "ca_file": Path("ca.pem")},
        {"security_protocol": "SSL", "certificate_file": Path("client.pem")},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(LogError):
        KafkaOptions(**options)  # type: ignore[arg-type] # wrong on purpose


def test_a_publish_must_be_over_before_the_broker_ends_its_transaction() -> None:
    with pytest.raises(LogError):
        Timeouts(publish_s=30, transaction_s=30)
