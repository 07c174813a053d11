"""Which settings of a topic lose records, and which command mends them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from kafka.errors import TopicAuthorizationFailedError

from adapters.kafka.options import MAX_RECORD_BYTES
from adapters.kafka.topic_configs import Judgement, TopicConfig, forgotten_groups, judged, read_topics, wanted_config

DAYS = 400.0
DAYS_MS = 34_560_000_000
GOOD = {
    "retention.ms": str(DAYS_MS),
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": str(MAX_RECORD_BYTES),
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
}


def judgement(values: Mapping[str, str] = MappingProxyType({}), replicas: int = 3) -> Judgement:
    return judged(TopicConfig("ecg.inbound", replicas, {**GOOD, **values}), DAYS)


def test_a_topic_as_it_has_to_be_is_in_order() -> None:
    assert judgement() == Judgement([], [], {})


@pytest.mark.parametrize("replicas", [None, 1, 3])
def test_a_topic_that_is_made_here_has_no_fault(replicas: int | None) -> None:
    brokers_own = GOOD | {"retention.ms": "604800000", "max.message.bytes": "1048588", "min.insync.replicas": "1"}
    made = TopicConfig("ecg.inbound", replicas or 3, brokers_own | wanted_config(DAYS, replicas))
    assert judged(made, DAYS).faults == []


def test_without_days_a_new_topic_keeps_its_records_as_the_cluster_says() -> None:
    assert wanted_config(None, None) == {"max.message.bytes": str(MAX_RECORD_BYTES)}


def test_three_replicas_are_made_for_two_that_have_to_have_a_record() -> None:
    assert wanted_config(None, 3)["min.insync.replicas"] == "2"


@pytest.mark.parametrize(
    ("values", "said", "mend"),
    [
        ({"retention.ms": str(DAYS_MS - 1)}, "keeps records for 400 days, and 400 days are asked for",
         {"retention.ms": str(DAYS_MS)}),
        ({"retention.ms": "604800000"}, "keeps records for 7 days", {"retention.ms": str(DAYS_MS)}),
        ({"retention.ms": "0"}, "keeps records for 0 days", {"retention.ms": str(DAYS_MS)}),
        ({"retention.bytes": "0"}, "keeps 0 bytes of a partition", {"retention.bytes": "-1"}),
        ({"cleanup.policy": "compact"}, "only the last one stays", {"cleanup.policy": "delete"}),
        ({"cleanup.policy": "delete,compact"}, "only the last one stays", {"cleanup.policy": "delete"}),
        ({"max.message.bytes": str(MAX_RECORD_BYTES - 1)}, f"and one may have {MAX_RECORD_BYTES}",
         {"max.message.bytes": str(MAX_RECORD_BYTES)}),
    ],
)  # fmt: skip
def test_what_loses_records_is_a_fault(values: Mapping[str, str], said: str, mend: Mapping[str, str]) -> None:
    found = judgement(values)
    (fault,) = found.faults
    assert said in fault
    assert (found.warnings, found.mends) == ([], mend)


@pytest.mark.parametrize(
    "values",
    [
        {"retention.ms": "-1"},  # for ever
        {"retention.ms": str(DAYS_MS + 1)},
        {"cleanup.policy": ""},  # for ever, too
        {"max.message.bytes": str(2 * MAX_RECORD_BYTES)},
        {"min.insync.replicas": "3"},
    ],
)
def test_what_keeps_more_is_none(values: Mapping[str, str]) -> None:
    assert judgement(values) == Judgement([], [], {})


def test_a_topic_that_no_broker_can_write_is_a_fault() -> None:
    found = judgement(replicas=1)
    assert found.faults == ["cannot be written: it has 1 replica, and 2 have to be in sync"]
    assert found.mends == {"min.insync.replicas": "1"}


@pytest.mark.parametrize(
    ("replicas", "values", "said"),
    [
        (2, {}, "has 2 replicas: records may be lost with a broker; 3 are safe"),
        (3, {"min.insync.replicas": "1"}, "counts a record as written that 1 broker has; set min.insync.replicas=2"),
        (3, {"unclean.leader.election.enable": "true"}, "set unclean.leader.election.enable=false"),
    ],
)
def test_what_loses_records_with_a_broker_is_warned_of(replicas: int, values: Mapping[str, str], said: str) -> None:
    found = judgement(values, replicas)
    (warning,) = found.warnings
    assert said in warning
    assert found.faults == []


@pytest.mark.parametrize(("minutes", "forgets"), [(7 * 1440, True), (400 * 1440 - 1, True), (400 * 1440, False)])
def test_groups_have_to_be_kept_as_long_as_what_they_have_done(minutes: int, forgets: bool) -> None:
    said = forgotten_groups(minutes, DAYS)
    assert (said is not None) == forgets
    assert said is None or "set offsets.retention.minutes=576000 in each broker's server.properties" in said


class Cluster:
    """Two brokers and their topics, as the library's client for administrators shows them."""

    def __init__(self, topics: Mapping[str, Mapping[str, str] | int], offsets_minutes: Mapping[str, str]) -> None:
        self.config = {"bootstrap_servers": ["kafka-0:9092", "kafka-1:9092"]}
        self._topics, self._offsets_minutes = topics, offsets_minutes

    def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        partitions = [{"replica_nodes": [0, 1, 2]}, {"replica_nodes": [0, 1, 2]}]
        return [
            {"name": name, "error_code": held, "partitions": []}
            if isinstance(held := self._topics.get(name, 3), int)
            else {"name": name, "error_code": 0, "partitions": partitions}
            for name in names
        ]

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": int(name)} for name in self._offsets_minutes]}

    def describe_configs(self, resources: Sequence[Any], config_filter: object) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for resource in resources:
            kind = resource.resource_type.name.lower()
            minutes = self._offsets_minutes.get(resource.name)
            values = {"offsets.retention.minutes": minutes} if minutes else {}
            held = self._topics[resource.name] if kind == "topic" else values
            assert not isinstance(held, int)
            found.setdefault(kind, {})[resource.name] = {
                name: {"value": value} for name, value in held.items() if name in resource.configs
            }
        return found


def look(cluster: Cluster, *topics: str) -> Any:
    def request(send: Callable[[], Any]) -> Any:
        return send()

    return read_topics(cluster, request, dict.fromkeys(topics, DAYS))


def test_each_topic_with_a_fault_has_a_line_with_the_command_that_mends_it() -> None:
    bad = GOOD | {"retention.ms": "604800000", "cleanup.policy": "compact", "unclean.leader.election.enable": "true"}
    report = look(Cluster({"ecg.inbound": bad, "ecg.findings": GOOD}, {}), "ecg.inbound", "ecg.findings", "ecg.audit")
    assert report.seen == ("ecg.inbound", "ecg.findings")
    assert report.faults == (
        "topic ecg.inbound keeps records for 7 days, and 400 days are asked for, and is compacted: of records with "
        "the same key only the last one stays; run: kafka-configs.sh --bootstrap-server kafka-0:9092,kafka-1:9092 "
        "--alter --entity-type topics --entity-name ecg.inbound "
        "--add-config retention.ms=34560000000,cleanup.policy=delete",
    )
    (warning,) = report.warnings
    assert warning.startswith("topic ecg.inbound may be led by a broker that has not every record")


def test_what_may_not_be_seen_is_said_with_the_right_that_shows_it() -> None:
    refused = TopicAuthorizationFailedError.errno
    report = look(Cluster({"ecg.inbound": {}, "ecg.audit": refused}, {"0": ""}), "ecg.inbound", "ecg.audit")
    assert (report.seen, report.faults) == ((), ())
    assert report.warnings == (
        "how long records are kept cannot be seen everywhere; grant Describe and DescribeConfigs on topic ecg.audit; "
        "DescribeConfigs on topic ecg.inbound",
    )


def test_of_all_brokers_the_most_forgetful_counts() -> None:
    report = look(Cluster({"ecg.inbound": GOOD}, {"0": "576000", "1": "10080"}), "ecg.inbound")
    (warning,) = report.warnings
    assert warning.startswith("a group that nobody belonged to for 7 days is forgotten")
