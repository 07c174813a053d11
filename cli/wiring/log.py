"""From settings to an open log, and which topics are whose."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.options import KafkaOptions
from adapters.log import CreatedTopic, Log
from adapters.open_log import embedded_file, open_inspection, open_log
from adapters.sqlite.retention import Cut, Retention
from cli.settings import Settings

PARTITIONS: Final = 3
"""Of each topic of the worker's that is made here, unless somebody says otherwise."""


def service_topics(settings: Settings) -> tuple[str, ...]:
    """What `run` needs."""
    return *settings.all_inbound_topics, settings.findings_topic, settings.rejections_topic


@contextmanager
def open_configured_log(settings: Settings, *, makes_topics: bool = True) -> Iterator[Log]:
    """The log that the settings name. An embedded one is created, with its topics, if it does not exist yet."""
    log = open_log(settings.log, kafka_options(settings), retention(settings), report_pruned)
    try:
        if makes_topics and settings.log.startswith("sqlite:"):
            log.create_topics(topics(settings), keep_days=kept_days(settings))
        yield log
    finally:
        log.close()


def say_if_new(settings: Settings) -> None:
    """To be called before an embedded log is opened: one that is made then is told of.

    Where there should have been one, a disk is missing, or somebody emptied the file.
    """
    from worker.operations import logs

    path = embedded_file(settings.log)
    if path is not None and not (path.exists() and path.stat().st_size):
        logs.get_logger().warning("there was no log, a new one is made", log=settings.log)


def retention(settings: Settings) -> Retention:
    """What an embedded log keeps."""
    return Retention(settings.log_keep_days, settings.log_keep_bytes)


def report_pruned(cuts: Sequence[Cut]) -> None:
    """Count what was taken out of an embedded log, and say so if a group had not read it."""
    from worker.operations import logs, metrics

    for cut in cuts:
        metrics.PRUNED.labels(cut.partition.topic).inc(cut.records)
        if cut.unread:
            logs.get_logger().warning(
                "records that a group had not read were pruned: nothing else was left to keep the file in its bytes",
                topic=cut.partition.topic, partition=cut.partition.partition, group=cut.group, count=len(cut.unread),
            )  # fmt: skip


def create_missing_topics(
    settings: Settings, partitions: int, replicas: int | None
) -> tuple[tuple[CreatedTopic, ...], tuple[str, ...]]:
    """Make the topics that are missing; those that were made, and the names of those that were there."""
    with closing(open_log(settings.log, kafka_options(settings))) as log:
        created = log.create_topics(topics(settings, partitions), replicas, kept_days(settings))
    made = {topic.name for topic in created}
    return created, tuple(name for name in topics(settings) if name not in made)


@contextmanager
def open_configured_inspection(settings: Settings) -> Iterator[KafkaInspection | None]:
    """A look at the cluster that the settings name; None if the log is an embedded one."""
    inspection = open_inspection(settings.log, kafka_options(settings))
    try:
        yield inspection
    finally:
        if inspection is not None:
            inspection.close()


def kafka_options(settings: Settings) -> KafkaOptions | None:
    """Kafka's own settings, or None if none is set that an embedded log would have to ignore."""
    general = KafkaOptions(allow_plaintext=settings.kafka.allow_plaintext)
    return None if settings.kafka == general and settings.log.startswith("sqlite:") else settings.kafka


def topics(settings: Settings, partitions: int = PARTITIONS) -> dict[str, int]:
    """Every topic that any command uses, with the partitions to create it with where it is missing."""
    of_the_worker = (*service_topics(settings), settings.audit_topic)
    return {**dict.fromkeys(of_the_worker, partitions), settings.deliver.rejections_topic: 1}


def kept_days(settings: Settings) -> dict[str, float]:
    """How long records have to be kept on the topics from which a past result is explained."""
    return dict.fromkeys(topics(settings), settings.audit_keep_days)


def require_topics(log: Log, *names: str) -> None:
    """Raise LogError if a topic is missing, or we may not see it."""
    for name in names:
        log.partitions(name)
