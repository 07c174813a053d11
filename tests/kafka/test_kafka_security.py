"""A broker that asks for a password, a certificate or a token gets it, and only over TLS with the right certificate."""

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from adapters.kafka.options import KafkaOptions, Timeouts
from adapters.log import Log, LogError, LogUnavailable, Message
from adapters.open_log import open_log
from tests.contract.worker import joined, poll_until, read_all
from tests.kafka.broker import (
    PASSWORD,
    TLS_WITH_CLIENT_CERTIFICATE,
    TLS_WITH_PASSWORD,
    TLS_WITH_TOKEN,
    USER,
    Broker,
    BrokerUnavailable,
    running_broker,
    skip_or_fail,
)
from tests.kafka.helpers import certificate, kafka_threads, unique, wait_for

pytestmark = pytest.mark.kafka

QUICK = Timeouts(connect_s=5)
RunBroker = Callable[[str], Broker]


def sasl_options(password_file: Path) -> KafkaOptions:
    timeouts = Timeouts(connect_s=3)
    return KafkaOptions("SASL_PLAINTEXT", "SCRAM-SHA-512", USER, password_file, timeouts=timeouts)


def assert_everything_works(log: Log) -> None:
    """Topics, appending, a group, a transaction and reading."""
    topic, findings, group = unique("inbound"), unique("findings"), unique("group")
    log.create_topics({topic: 1, findings: 1})
    log.append([Message(topic, b"k", b"v")])
    with joined(log, group, topic) as worker:
        poll_until(lambda: len(worker.records) == 1, worker)
        worker.echo(findings)
    assert [record.value for record in read_all(log, findings)] == [b"v"]


def token(lifetime_s: float) -> str:
    """A bearer token that nobody signed."""

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    now = time.time()
    return f"{part({'alg': 'none'})}.{part({'sub': USER, 'iat': now - 60, 'exp': now + lifetime_s})}."


@pytest.fixture
def run_broker(tmp_path: Path) -> Iterator[RunBroker]:
    """Starts a broker with further properties on the test's folder."""
    with ExitStack() as running:

        def run(extra: str) -> Broker:
            try:
                return running.enter_context(running_broker(extra, tmp_path))
            except BrokerUnavailable as error:
                skip_or_fail(str(error))

        yield run


@pytest.fixture
def late_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine so busy that what a broker says last, and the end of the connection, are there when it is read."""

    def late(receive: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def receive_late(transport: Any) -> Any:
            time.sleep(0.05)
            return receive(transport)

        return receive_late

    for kind in (KafkaTCPTransport, KafkaSSLTransport):
        monkeypatch.setattr(kind, "_sock_recv", late(kind._sock_recv))


@pytest.mark.usefixtures("late_reader")
def test_a_password_opens_the_log_and_a_wrong_one_does_not(
    own_broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, password_file = f"kafka://{own_broker.sasl_address}", tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    with closing(open_log(url, sasl_options(password_file))) as log:
        assert_everything_works(log)
    password_file.write_text("wrong-password")
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match=r"password was refused .SCRAM-SHA-512.; check ECG_KAFKA_USER") as refused:
        open_log(url, sasl_options(password_file))
    assert time.monotonic() - began < 5
    assert PASSWORD not in caplog.text + str(refused.value)
    assert "wrong-password" not in caplog.text + str(refused.value)
    wait_for(lambda: not kafka_threads())


@pytest.mark.usefixtures("late_reader")
def test_tls_is_spoken_and_a_certificate_of_another_authority_is_refused(run_broker: RunBroker, tmp_path: Path) -> None:
    certificate(tmp_path, "broker")
    url, password_file = f"kafka://{run_broker(TLS_WITH_PASSWORD).sasl_address}", tmp_path / "password"
    password_file.write_text(PASSWORD)

    def options(authority: Path) -> KafkaOptions:
        return KafkaOptions("SASL_SSL", "SCRAM-SHA-512", USER, password_file, ca_file=authority, timeouts=QUICK)

    with closing(open_log(url, options(tmp_path / "broker.crt"))) as log:
        assert_everything_works(log)
    with pytest.raises(LogUnavailable, match=r"not trusted .*; set ECG_KAFKA_CA_FILE"):
        open_log(url, options(certificate(tmp_path, "stranger").with_suffix(".crt")))
    password_file.write_text("wrong-password")
    with pytest.raises(LogUnavailable, match=r"password was refused .SCRAM-SHA-512."):
        open_log(url, options(tmp_path / "broker.crt"))


@pytest.mark.usefixtures("late_reader")
def test_a_way_in_of_another_kind_is_told_from_a_broker_that_is_away(own_broker: Broker, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD)
    plain, asking = f"kafka://{own_broker.address}", f"kafka://{own_broker.sasl_address}"
    for url, options, said in (
        (plain, KafkaOptions("SSL", timeouts=QUICK), "no TLS there"),
        (plain, sasl_options(password_file), "asks for no password"),
        (asking, KafkaOptions(timeouts=QUICK), "ask for TLS or a password"),
        (
            asking,
            replace(sasl_options(password_file), sasl_mechanism="PLAIN", timeouts=Timeouts()),
            "does not offer PLAIN",
        ),
    ):
        with pytest.raises(LogUnavailable, match=said) as refused:
            open_log(url, options)
        assert "ECG_KAFKA_" in str(refused.value)
        assert url in str(refused.value)


def test_a_certificate_for_another_host_is_refused_unless_the_check_is_off(
    run_broker: RunBroker, tmp_path: Path
) -> None:
    certificate(tmp_path, "broker", address="127.0.0.2")
    certificate(tmp_path, "clients")
    url = f"kafka://{run_broker(TLS_WITH_CLIENT_CERTIFICATE).sasl_address}"

    def options(*, check: bool) -> KafkaOptions:
        return KafkaOptions(
            "SSL", ca_file=tmp_path / "broker.crt", certificate_file=tmp_path / "clients.crt",
            key_file=tmp_path / "clients.key", check_hostname=check, timeouts=QUICK,
        )  # fmt: skip

    with pytest.raises(LogUnavailable, match=r"for another name .*; write in ECG_LOG a name"):
        open_log(url, options(check=True))
    with closing(open_log(url, options(check=False))) as log:
        assert_everything_works(log)


def test_a_client_certificate_is_enough_and_none_is_not(run_broker: RunBroker, tmp_path: Path) -> None:
    certificate(tmp_path, "broker")
    certificate(tmp_path, "clients")
    url = f"kafka://{run_broker(TLS_WITH_CLIENT_CERTIFICATE).sasl_address}"

    def options(client: str | None) -> KafkaOptions:
        chain, key = (tmp_path / f"{client}.crt", tmp_path / f"{client}.key") if client else (None, None)
        return KafkaOptions(
            "SSL", ca_file=tmp_path / "broker.crt", certificate_file=chain, key_file=key, timeouts=QUICK
        )

    with closing(open_log(url, options("clients"))) as log:
        assert_everything_works(log)
    certificate(tmp_path, "stranger")
    for client in (None, "stranger"):
        with pytest.raises(LogUnavailable, match=r"refused the TLS handshake .*certificate.*; check ECG_KAFKA_CERTI"):
            open_log(url, options(client))


def test_a_certificate_that_is_away_for_a_moment_costs_only_that_moment(run_broker: RunBroker, tmp_path: Path) -> None:
    authority, away = certificate(tmp_path, "broker").with_suffix(".crt"), tmp_path / "away"
    broker, password_file, topic = run_broker(TLS_WITH_PASSWORD), tmp_path / "password", unique("inbound")
    password_file.write_text(PASSWORD)
    options = KafkaOptions("SASL_SSL", "SCRAM-SHA-512", USER, password_file, ca_file=authority, timeouts=QUICK)
    with closing(open_log(f"kafka://{broker.sasl_address}", options)) as log:
        assert_everything_works(log)
        log.create_topics({topic: 1})
        authority.rename(away)
        broker.restart()
        time.sleep(1)  # each client tries to come back at least once
        away.rename(authority)
        assert read_all(log, topic) == []


def test_a_token_is_read_again_for_each_connection(run_broker: RunBroker, tmp_path: Path) -> None:
    certificate(tmp_path, "broker")
    broker, token_file, topic = run_broker(TLS_WITH_TOKEN), tmp_path / "token", unique("inbound")
    token_file.write_text(token(lifetime_s=3600))
    options = KafkaOptions(
        "SASL_SSL", "OAUTHBEARER", token_file=token_file, ca_file=tmp_path / "broker.crt", timeouts=QUICK
    )
    with closing(open_log(f"kafka://{broker.sasl_address}", options)) as log:
        assert_everything_works(log)
        log.create_topics({topic: 1})
        token_file.write_text(token(lifetime_s=-30))
        broker.restart()
        with pytest.raises(LogError):
            log.append([Message(topic, b"k", b"with an expired token")])
        token_file.write_text(token(lifetime_s=3600))

        def appended() -> bool:
            try:
                log.append([Message(topic, b"k", b"with a fresh one")])
            except LogError:
                return False
            return True

        wait_for(appended, limit_s=30)
        assert [record.value for record in read_all(log, topic)] == [b"with a fresh one"]
