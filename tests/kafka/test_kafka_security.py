"""A broker that asks for a password gets it from the options, and over TLS only if its certificate is the right one."""

import logging
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.kafka_options import KafkaOptions, Timeouts
from adapters.log import Log, LogUnavailable, Message
from adapters.logs import open_log
from tests.contract.worker import joined, poll_until, read_all
from tests.kafka.broker import PASSWORD, USER, Broker, BrokerUnavailable, running_broker, skip_or_fail
from tests.kafka.helpers import kafka_threads, unique, wait_for

pytestmark = pytest.mark.kafka


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


def certificate(folder: Path, name: str) -> Path:
    """A key and a certificate for this machine, signed by itself, in one PEM file."""
    key, signed, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", key, "-out", signed], check=True, capture_output=True, timeout=60)
    both.write_text(key.read_text() + signed.read_text())
    return both


def test_a_password_opens_the_log_and_a_wrong_one_does_not(
    own_broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, password_file = f"kafka://{own_broker.sasl_address}", tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    with closing(open_log(url, sasl_options(password_file))) as log:
        assert_everything_works(log)
    password_file.write_text("wrong-password")
    with pytest.raises(LogUnavailable, match="credentials") as refused:
        open_log(url, sasl_options(password_file))
    assert PASSWORD not in caplog.text + str(refused.value)
    assert "wrong-password" not in caplog.text + str(refused.value)
    wait_for(lambda: not kafka_threads())


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Broker]:
    try:
        with running_broker(certificate(tmp_path, "broker")) as broker:
            yield broker
    except BrokerUnavailable as error:
        skip_or_fail(str(error))


def test_tls_is_spoken_and_a_certificate_of_another_authority_is_refused(tls_broker: Broker, tmp_path: Path) -> None:
    url, password_file = f"kafka://{tls_broker.sasl_address}", tmp_path / "password"
    password_file.write_text(PASSWORD)

    def options(authority: Path) -> KafkaOptions:
        timeouts = Timeouts(connect_s=5)
        return KafkaOptions("SASL_SSL", "SCRAM-SHA-512", USER, password_file, ca_file=authority, timeouts=timeouts)

    with closing(open_log(url, options(tmp_path / "broker.crt"))) as log:
        assert_everything_works(log)
    with pytest.raises(LogUnavailable):
        open_log(url, options(certificate(tmp_path, "stranger").with_suffix(".crt")))
