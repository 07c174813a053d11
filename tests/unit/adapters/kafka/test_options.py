"""Security options are complete or refused; secrets stay where they are; nothing leaves this machine in the clear."""

from dataclasses import replace
from pathlib import Path
from socket import socket

import pytest
from kafka.errors import KafkaConnectionError
from kafka.net.inet import KafkaNetSocket

import adapters.kafka.client  # noqa: F401 - registers the ways to connect
from adapters.kafka.options import ANYWHERE, THIS_MACHINE, KafkaOptions, Timeouts
from adapters.log import LogError


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    return file


HERE = ["127.0.0.1:9092", "localhost:9093", "[::1]:9094"]


def test_the_default_is_a_connection_in_the_clear_that_stays_on_this_machine() -> None:
    settings = KafkaOptions().client_settings(HERE)
    assert settings["security_protocol"] == "PLAINTEXT"
    assert settings["bootstrap_servers"] == HERE
    assert settings["sasl_plain_password"] is None
    assert settings["proxy_url"] == THIS_MACHINE


@pytest.mark.parametrize(
    "server", ["kafka:9092", "10.0.0.1:9092", "localhost.example.org:9092", "127.example.org:9092"]
)
def test_a_connection_in_the_clear_to_another_machine_is_refused(server: str, password_file: Path) -> None:
    sasl = KafkaOptions("SASL_PLAINTEXT", "PLAIN", "ecg", password_file)
    unchecked = KafkaOptions("SSL", check_hostname=False)
    for options in (KafkaOptions(), sasl, unchecked):
        with pytest.raises(LogError, match="ECG_ALLOW_PLAINTEXT=1"):
            options.client_settings([*HERE, server])
        settings = replace(options, allow_plaintext=True).client_settings([*HERE, server])
        assert settings["proxy_url"] == ANYWHERE


def test_tls_with_the_check_of_names_goes_anywhere(password_file: Path) -> None:
    for options in (KafkaOptions("SSL"), KafkaOptions("SASL_SSL", "SCRAM-SHA-512", "ecg", password_file)):
        settings = options.client_settings(["kafka:9093"])
        assert (settings["proxy_url"], settings["ssl_check_hostname"]) == (ANYWHERE, True)


def test_a_broker_on_this_machine_that_names_another_one_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    with socket() as unconnected:
        connecting = KafkaNetSocket(THIS_MACHINE).sock_connect(None, unconnected, ("192.0.2.1", 9092))
        with pytest.raises(KafkaConnectionError, match="loopback"):
            connecting.send(None)
        assert unconnected.fileno() == -1
    assert "encrypted" in caplog.text


def test_the_token_is_read_from_its_file_for_each_connection_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    options = KafkaOptions("SASL_SSL", "OAUTHBEARER", token_file=file)
    with pytest.raises(LogError, match="token cannot be read: No such file or directory; check ECG_KAFKA_TOKEN_FILE"):
        options.client_settings(["a:9092"])
    file.write_text("first\n")
    provider = options.client_settings(["a:9092"])["sasl_oauth_token_provider"]
    assert provider.token() == "first"
    file.write_text("second")
    assert provider.token() == "second"
    file.unlink()
    with pytest.raises(KafkaConnectionError, match="No such file"):
        provider.token()
    assert "second" not in repr(options)


def test_the_password_is_read_from_its_file_for_each_client_and_never_shown(password_file: Path) -> None:
    options = KafkaOptions("SASL_SSL", "SCRAM-SHA-512", "ecg", password_file, Path("ca.pem"))
    assert options.client_settings(["a:9092"])["sasl_plain_password"] == "hunter2"
    password_file.write_text("rotated")
    assert options.client_settings(["a:9092"])["sasl_plain_password"] == "rotated"
    assert "hunter2" not in repr(options)
    assert "rotated" not in repr(options)


def test_a_password_file_that_cannot_be_read_is_an_error_without_its_content(tmp_path: Path) -> None:
    options = KafkaOptions("SASL_SSL", "PLAIN", "ecg", tmp_path / "missing")
    with pytest.raises(LogError, match=r"missing cannot be read: No such file .*; check ECG_KAFKA_PASSWORD_FILE"):
        options.client_settings(["a:9092"])


@pytest.mark.parametrize(
    "options",
    [
        {"security_protocol": "SASL_SSL"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "ecg"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "token_file": Path("token")},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_file": Path("t"), "username": "ecg"},
        {"security_protocol": "SSL", "username": "ecg"},
        {"security_protocol": "SSL", "token_file": Path("token")},
        {"security_protocol": "PLAINTEXT", "ca_file": Path("ca.pem")},
        {"security_protocol": "SSL", "certificate_file": Path("client.pem")},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(LogError, match="set "):
        KafkaOptions(**options)  # type: ignore[arg-type] # wrong on purpose


def test_a_publish_must_be_over_before_the_broker_ends_its_transaction() -> None:
    with pytest.raises(LogError):
        Timeouts(publish_s=30, transaction_s=30)
