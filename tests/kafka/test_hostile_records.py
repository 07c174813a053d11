"""A worker on a real broker meets every kind of hostile record, between good ones, and stops for none of them."""

import json
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient

from adapters.open_log import open_log
from tests.cli.command import run
from tests.kafka.helpers import unique
from tests.support.hostile_records import TOPIC_CONFIGS, HostileRecord, hostile_records, send, sender

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

JUNK = HostileRecord(b"junk")


def sent(kafka_url: str, topic: str, records: dict[str, HostileRecord]) -> dict[tuple[int, int], str]:
    """Put the records on a topic of one partition; which lies where."""
    servers = [kafka_url.removeprefix("kafka://")]
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "configs": dict(TOPIC_CONFIGS)}})
    producers: dict[str | None, Any] = {}
    places = {}
    try:
        for name, record in records.items():
            if record.codec not in producers:
                producers[record.codec] = sender(servers, record.codec)
            at = send(producers[record.codec], topic, record).get(60)
            places[at.partition, at.offset] = name
    finally:
        for producer in producers.values():
            producer.close()
    return places


def worker(kafka_url: str, inbound: str, **settings: object) -> dict[str, object]:
    name = unique("hostile")
    topics = {f"ECG_{kind}_TOPIC": f"{name}.{kind.lower()}" for kind in ("FINDINGS", "REJECTIONS", "AUDIT")}
    here = {"ECG_LOG": kafka_url, "ECG_ENGINE": "echo", "ECG_GROUP": name, "ECG_INBOUND_TOPIC": inbound}
    with closing(open_log(kafka_url)) as log:
        log.create_topics(dict.fromkeys(topics.values(), 1))
    return {**here, **topics, **settings}


def results(settings: dict[str, object]) -> list[tuple[int, str | None]]:
    """The offsets of the records that have a result, each with the code if that is a rejection."""
    with closing(open_log(str(settings["ECG_LOG"]))) as log:
        topics = [str(settings["ECG_FINDINGS_TOPIC"]), str(settings["ECG_REJECTIONS_TOPIC"])]
        ranges = {part: range(*log.bounds(part)) for topic in topics for part in log.partitions(topic)}
        read = [json.loads(record.value) for record in log.read(ranges)]
    return sorted((item["source"]["offset"], item.get("reason")) for item in read)


def test_every_kind_of_record_has_its_result_and_ends_no_worker(kafka_url: str) -> None:
    topic, kinds = unique("inbound"), hostile_records()
    good = kinds["no key"]
    records = {"good before": good, **kinds, "good behind": good}
    places = sent(kafka_url, topic, records)
    settings = worker(kafka_url, topic, ECG_REJECTED_SHARE=1)
    for _ in range(2):  # the second time from the committed positions, with nothing left to do
        done = run("run", "--idle-exit", 4, **settings)
        assert done.returncode == 0, done.stderr
    expected = [(offset, records[name].rejected) for (_, offset), name in places.items()]
    named = {offset: name for (_, offset), name in places.items()}
    found = results(settings)
    assert {named[offset]: reason for offset, reason in found} == {named[offset]: reason for offset, reason in expected}
    assert len(found) == len(records)


def test_a_good_record_behind_junk_comes_out_without_help(kafka_url: str) -> None:
    topic, good = unique("inbound"), hostile_records()["no key"]
    sent(kafka_url, topic, {**{f"junk {number}": JUNK for number in range(60)}, "good": good})
    settings = worker(kafka_url, topic)
    done = run("run", "--idle-exit", 4, **settings)
    assert done.returncode == 0, done.stderr
    found = results(settings)
    assert [offset for offset, _ in found] == list(range(61))
    assert [offset for offset, reason in found if reason is None] == [60]
