"""Records as large as the worker takes, and larger ones that a topic lets in."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import MessageSizeTooLargeError

from adapters.inbound import decode
from adapters.log import MAX_VALUE_BYTES, LogError, Message
from adapters.open_log import open_log
from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejection
from tests.contract.worker import joined, poll_until
from tests.kafka.helpers import unique
from worker.picture.layout import make_layout
from worker.pipeline import prepare

pytestmark = pytest.mark.kafka

FAR_TOO_LARGE = MAX_VALUE_BYTES + 4 * 1024 * 1024


def _decode(payload: bytes) -> Ecg:
    return decode(payload, SiteDefaults())


def test_the_largest_record_goes_through_and_a_larger_one_is_refused_to_its_writer(kafka_url: str) -> None:
    topic = unique("inbound")
    with closing(open_log(kafka_url)) as log:
        log.create_topics({topic: 1})
        log.append([Message(topic, b"k", bytes(MAX_VALUE_BYTES))])
        with pytest.raises(LogError):
            log.append([Message(topic, b"k", bytes(MAX_VALUE_BYTES + 1))])
        with closing(KafkaProducer(**_raw(kafka_url))) as gateway:
            refused = gateway.send(topic, bytes(FAR_TOO_LARGE))
            with pytest.raises(MessageSizeTooLargeError):
                refused.get(30)
        with joined(log, unique("group"), topic) as worker:
            poll_until(lambda: len(worker.records) == 1, worker)
            assert len(worker.records[0].value) == MAX_VALUE_BYTES


def test_a_record_above_the_limit_that_the_topic_let_in_is_rejected_with_a_pointer(kafka_url: str) -> None:
    topic, server = unique("inbound"), kafka_url.removeprefix("kafka://")
    with closing(KafkaAdminClient(bootstrap_servers=server)) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "configs": {"max.message.bytes": str(2 * FAR_TOO_LARGE)}}})
    with closing(KafkaProducer(**_raw(kafka_url))) as gateway:
        gateway.send(topic, bytes(FAR_TOO_LARGE)).get(30)
    with closing(open_log(kafka_url)) as log, joined(log, unique("group"), topic) as worker:
        poll_until(lambda: len(worker.records) == 1, worker)
        rejection = prepare(worker.records[0], _decode, make_layout())
    assert isinstance(rejection, Rejection)
    assert rejection.reason == Reason.PAYLOAD_TOO_LARGE
    assert (rejection.source.topic, rejection.source.partition, rejection.source.offset) == (topic, 0, 0)


def _raw(kafka_url: str) -> dict[str, object]:
    return {"bootstrap_servers": kafka_url.removeprefix("kafka://"), "max_request_size": 2 * FAR_TOO_LARGE}
