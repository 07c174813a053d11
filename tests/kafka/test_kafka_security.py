"""A broker that asks for a user name and a password gets them from the options, and nobody else does."""

import logging
from contextlib import closing
from pathlib import Path

import pytest

from adapters.kafka_options import KafkaOptions, Timeouts
from adapters.log import LogUnavailable, Message
from adapters.logs import open_log
from tests.contract.worker import joined, poll_until, read_all
from tests.kafka.broker import PASSWORD, USER, Broker
from tests.kafka.helpers import kafka_threads, unique, wait_for

pytestmark = pytest.mark.kafka


def sasl_options(password_file: Path) -> KafkaOptions:
    timeouts = Timeouts(connect_s=3)
    return KafkaOptions("SASL_PLAINTEXT", "SCRAM-SHA-512", USER, password_file, timeouts=timeouts)


def test_a_password_opens_the_log_and_a_wrong_one_does_not(
    own_broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url, password_file = f"kafka://{own_broker.sasl_address}", tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    topic, findings, group = unique("inbound"), unique("findings"), unique("group")
    with closing(open_log(url, sasl_options(password_file))) as log:
        log.create_topics({topic: 1, findings: 1})
        log.append([Message(topic, b"k", b"v")])
        with joined(log, group, topic) as worker:
            poll_until(lambda: len(worker.records) == 1, worker)
            worker.echo(findings)
        assert [record.value for record in read_all(log, findings)] == [b"v"]
    password_file.write_text("wrong-password")
    with pytest.raises(LogUnavailable, match="credentials") as refused:
        open_log(url, sasl_options(password_file))
    assert PASSWORD not in caplog.text + str(refused.value)
    assert "wrong-password" not in caplog.text + str(refused.value)
    wait_for(lambda: not kafka_threads())
