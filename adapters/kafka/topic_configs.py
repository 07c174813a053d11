"""What a topic must be set to so that nothing on it goes before its time, and what a cluster has set instead.

Kafka's own defaults suit a queue: records go after 7 days, above 1 MiB they are refused, and a cluster may have been
told to keep of each key the last record only. What is asked for here is what docs/delivery.md and docs/audit.md
promise. Nothing here changes anything but topics that do not exist yet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient
from kafka.admin import ConfigFilterType, ConfigResource
from kafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from adapters.kafka.options import MAX_RECORD_BYTES

T = TypeVar("T")
Request = Callable[[Callable[[], T]], T]
"""Sends a request to the cluster again until there is an answer, within its own time."""

MS_A_DAY: Final = 24 * 3600 * 1000
MINUTES_A_DAY: Final = 24 * 60
FOR_EVER: Final = "-1"

# With three replicas, two of which have every record before it counts as written, one may be lost without a word lost.
REPLICAS: Final = 3
IN_SYNC: Final = 2

_LOOKED_AT: Final = (
    "retention.ms", "retention.bytes", "cleanup.policy", "max.message.bytes", "min.insync.replicas",
    "unclean.leader.election.enable",
)  # fmt: skip
_GROUPS_KEPT: Final = "offsets.retention.minutes"


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic as the brokers keep it. `values` by Kafka's names, the brokers' defaults included."""

    topic: str
    replicas: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with a topic, in words, and the settings that would mend it."""

    faults: Sequence[str] = ()
    warnings: Sequence[str] = ()
    mends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What was seen of the topics: `seen` are their names; a line each for what is wrong, or may become it."""

    seen: tuple[str, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def wanted_config(keep_days: float | None, replicas: int | None) -> dict[str, str]:
    """What a new topic is set to. Without `keep_days` its records are kept for as long as the cluster says."""
    wanted = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    if keep_days is not None:
        wanted |= _kept_for(keep_days)
    if replicas is not None and replicas >= REPLICAS:
        wanted["min.insync.replicas"] = str(IN_SYNC)
    return wanted


def judged(config: TopicConfig, keep_days: float) -> Judgement:
    """What is wrong with a topic whose records have to be there for so many days, as large as a log takes them."""
    values, wanted = config.values, _kept_for(keep_days)
    faults: list[str] = []
    mends: dict[str, str] = {}
    if 0 <= (kept_ms := int(values["retention.ms"])) < int(wanted["retention.ms"]):
        faults.append(f"keeps records for {_days(kept_ms / MS_A_DAY)}, and {_days(keep_days)} are asked for")
        mends["retention.ms"] = wanted["retention.ms"]
    if (most := int(values["retention.bytes"])) >= 0:
        faults.append(f"keeps {most} bytes of a partition, however young they are")
        mends["retention.bytes"] = FOR_EVER
    if "compact" in values["cleanup.policy"]:
        faults.append("is compacted: of records with the same key only the last one stays")
        mends["cleanup.policy"] = wanted["cleanup.policy"]
    if (largest := int(values["max.message.bytes"])) < MAX_RECORD_BYTES:
        faults.append(f"takes records of {largest} bytes, and one may have {MAX_RECORD_BYTES}")
        mends["max.message.bytes"] = str(MAX_RECORD_BYTES)
    if (in_sync := int(values["min.insync.replicas"])) > config.replicas:
        faults.append(f"cannot be written: it has {_counted(config.replicas)}, and {in_sync} have to be in sync")
        mends["min.insync.replicas"] = str(min(IN_SYNC, config.replicas))
    return Judgement(faults, _warnings(config, in_sync), mends)


def _warnings(config: TopicConfig, in_sync: int) -> list[str]:
    """What loses records only if a broker is lost as well."""
    warnings: list[str] = []
    if config.replicas < REPLICAS:
        warnings.append(
            f"has {_counted(config.replicas)}: records may be lost with a broker; {REPLICAS} are safe "
            "(kafka-reassign-partitions.sh)"
        )
    if in_sync < IN_SYNC <= config.replicas:
        warnings.append(f"counts a record as written that {in_sync} broker has; set min.insync.replicas={IN_SYNC}")
    if config.values["unclean.leader.election.enable"] == "true":
        warnings.append(
            "may be led by a broker that has not every record, and then loses them; set "
            "unclean.leader.election.enable=false"
        )
    return warnings


def forgotten_groups(retention_minutes: int, keep_days: float) -> str | None:
    """What it means that brokers forget a group before the records that it has done; None if they do not."""
    wanted = round(keep_days * MINUTES_A_DAY)
    if retention_minutes >= wanted:
        return None
    return (
        f"a group that nobody belonged to for {_days(retention_minutes / MINUTES_A_DAY)} is forgotten, and begins anew "
        f"with the first record; set {_GROUPS_KEPT}={wanted} in each broker's server.properties"
    )


def read_topics(admin: KafkaAdminClient, request: Request[Any], keep_days: Mapping[str, float]) -> TopicReport:
    """Look at the topics that exist; their records have to be kept for so many days."""
    found = request(lambda: admin.describe_topics(list(keep_days)))
    errors = {item["name"]: for_code(item["error_code"]) for item in found if item["error_code"] != 0}
    for error in errors.values():
        if error not in (UnknownTopicOrPartitionError, TopicAuthorizationFailedError):
            raise error()
    replicas = {
        item["name"]: min(len(partition["replica_nodes"]) for partition in item["partitions"])
        for item in found
        if item["error_code"] == 0
    }
    values = _values(admin, request, "topic", list(replicas), _LOOKED_AT)
    configs = [TopicConfig(topic, replicas[topic], values[topic]) for topic in keep_days if values.get(topic)]
    seen = tuple(config.topic for config in configs)
    hidden = [topic for topic, error in errors.items() if error is TopicAuthorizationFailedError]
    unseen = [f"Describe and DescribeConfigs on topic {topic}" for topic in hidden]
    unseen += [f"DescribeConfigs on topic {topic}" for topic in replicas if topic not in seen]
    judgements = [(config, judged(config, keep_days[config.topic])) for config in configs]
    warnings = [f"topic {config.topic} {said}" for config, judgement in judgements for said in judgement.warnings]
    if unseen:
        warnings.append(f"how long records are kept cannot be seen everywhere; grant {'; '.join(unseen)}")
    if (forgetful := _forgotten_groups(admin, request, max(keep_days.values()))) is not None:
        warnings.append(forgetful)
    faults = [_line(admin, config.topic, judgement) for config, judgement in judgements if judgement.faults]
    return TopicReport(seen, tuple(faults), tuple(warnings))


def _forgotten_groups(admin: KafkaAdminClient, request: Request[Any], keep_days: float) -> str | None:
    """The same of the brokers that can be asked. Not everybody may ask them (DescribeConfigs on the cluster)."""
    brokers = [str(broker["broker_id"]) for broker in request(admin.describe_cluster)["brokers"]]
    values = _values(admin, request, "broker", brokers, (_GROUPS_KEPT,))
    minutes = [int(of_broker[_GROUPS_KEPT]) for of_broker in values.values() if of_broker]
    return forgotten_groups(min(minutes), keep_days) if minutes else None


def _values(
    admin: KafkaAdminClient, request: Request[Any], kind: str, names: Sequence[str], settings: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Settings by the name of what has them; none of what we may not see: the library keeps the refusal to itself."""
    if not names:
        return {}
    resources = [ConfigResource(kind, name, list(settings)) for name in names]
    found = request(lambda: admin.describe_configs(resources, config_filter=ConfigFilterType.ALL))
    return {
        name: {setting: str(item["value"]) for setting, item in values.items()} for name, values in found[kind].items()
    }


def _line(admin: KafkaAdminClient, topic: str, judgement: Judgement) -> str:
    """What is wrong with a topic, and the command that mends it as somebody would type it."""
    servers = ",".join(admin.config["bootstrap_servers"])
    mends = ",".join(f"{name}={value}" for name, value in judgement.mends.items())
    return (
        f"topic {topic} {', and '.join(judgement.faults)}; run: kafka-configs.sh --bootstrap-server {servers} --alter "
        f"--entity-type topics --entity-name {topic} --add-config {mends}"
    )


def _kept_for(keep_days: float) -> dict[str, str]:
    return {
        "retention.ms": str(round(keep_days * MS_A_DAY)),
        "retention.bytes": FOR_EVER,
        "cleanup.policy": "delete",
    }


def _days(days: float) -> str:
    return f"{days:.4g} days" if days < 1000 else f"{days:.0f} days"


def _counted(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
