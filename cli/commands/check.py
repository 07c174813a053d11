"""The command that says beforehand whether `run` would work."""

import functools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from adapters.kafka.codecs import installed_codecs
from adapters.kafka.member import transactional_id
from adapters.log import Log, LogError, TopicPartition
from adapters.open_log import embedded_file
from adapters.sqlite.damage import check_fully
from adapters.sqlite.database import SALVAGE
from adapters.sqlite.statistics import statistics
from cli import failure, options, output
from cli.settings import Settings, SettingsError
from cli.wiring.log import (
    PARTITIONS,
    create_missing_topics,
    kept_days,
    open_configured_inspection,
    open_configured_log,
    require_topics,
    service_topics,
)
from cli.wiring.model import identify_model, load_configured_engine
from schemas.errors import WorkerError


def check(
    log: options.LogUrl = None,
    model: options.Model = None,
    group: options.Group = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="create missing topics, those of other commands too")
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=10_000, help=f"of each topic that is created; default: {PARTITIONS}"),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="of each topic that is created; default: as the broker says"),
    ] = None,
    config: options.Config = None,
) -> None:
    """Check settings, log, topics, model and execution provider; exit 0 only if `run` would work.

    Prints the effective settings (of secrets only the files that hold them) and one line for each check. Topics that
    exist are never changed: what they lack is said, with the command that mends it.

    Example: ecg-worker check --log kafka://broker:9092 --model /models/ecg-r1
    """
    if not create_topics and (partitions or replicas):
        raise typer.BadParameter("is for --create-topics", param_hint="--partitions" if partitions else "--replicas")
    settings = Settings.load(log=log, model=model, group=group, config=config, strict=True)
    output.emit_json(settings.shown())
    creating = functools.partial(_create_topics, settings, partitions, replicas) if create_topics else None
    failed = [
        *_report("checksums", _check_checksums),
        *_report("codecs", _check_codecs),
        *_report_on_log(settings, creating),
        *_report("model", functools.partial(_check_model, settings)),
    ]
    if failed:
        failure.leave_for_kubernetes("; ".join(failed))
    raise typer.Exit(int(bool(failed)))


def _report(name: str, examine: Callable[[], str]) -> list[str]:
    """Say how a check went; return what failed, if it did."""
    try:
        output.notify(f"ok    {name}: {examine()}")
    except WorkerError as error:
        return [_fail(name, str(error))]
    return []


def _fail(name: str, said: str) -> str:
    output.notify(f"FAIL  {name}: {said}")
    return f"{name}: {said}"


def _report_on_log(settings: Settings, creating: Callable[[], str] | None) -> list[str]:
    """The checks that need the log; one that cannot be opened is said once."""
    # First, because an embedded log is opened with its topics.
    if creating is not None and (failed := _report("topics", creating)):
        output.notify("skip  log, retention, rights, transactions: the topics could not be created")
        return failed
    with ExitStack() as parts:
        try:
            log = parts.enter_context(open_configured_log(settings))
        except WorkerError as error:
            failed = [_fail("log", str(error))]
            output.notify("skip  retention, rights, transactions: the log cannot be reached")
            return failed
        file = embedded_file(settings.log)
        return [
            *_report("log", functools.partial(_check_log, log, settings)),
            *(_report("file", functools.partial(_check_file, file)) if file is not None else []),
            *_report_on_unread(log, settings),
            *_report_on_retention(settings),
            *_report("rights", functools.partial(_check_rights, settings)),
            *_report("transactions", functools.partial(_check_transactions, settings)),
        ]


def _report_on_unread(log: Log, settings: Settings) -> list[str]:
    """One line for each topic that the group has left unread, because it is not, or no longer, an inbound topic.

    Nothing else would say so: to a worker that does not read a topic its ECGs are not late.
    """
    try:
        unread = _unread_elsewhere(log, settings)
    except WorkerError as error:
        return [_fail("unread", str(error))]
    group, read = settings.group, ", ".join(settings.all_inbound_topics)
    for topic, count in sorted(unread.items()):
        output.notify(
            f"warn  unread: topic {topic} has {count} unread for group {group}, which has a position there and reads "
            f"{read} only; name it in ECG_INBOUND_TOPICS until it is read"
        )
    return []


def _unread_elsewhere(log: Log, settings: Settings) -> Counter[str]:
    """How many offsets the group has left to read, by topic, on topics that are no inbound topics of it."""
    unread, read = Counter[str](), settings.all_inbound_topics
    with open_configured_inspection(settings) as inspection:
        if inspection is not None:
            for partition, offsets in inspection.unread_elsewhere(settings.group, read).items():
                if _holds_a_record(log, partition, offsets):
                    unread[partition.topic] += len(offsets)
        elif (file := embedded_file(settings.log)) is not None:
            for topic in statistics(file).topics:
                left = sum(group.behind - group.gone for group in topic.groups if group.name == settings.group)
                if left > 0 and topic.name not in read:
                    unread[topic.name] = left
    return unread


def _holds_a_record(log: Log, partition: TopicPartition, offsets: range) -> bool:
    """Whether not all of these are without one: a redrive ends in a transaction's marker, which nobody ever reads."""
    try:
        return next(log.read({partition: offsets}), None) is not None
    except LogError:  # no right to read there: then the offsets are all that is known
        return True


def _report_on_retention(settings: Settings) -> list[str]:
    """One line for each topic that does not keep what it is given, and for what may come to lose it."""
    try:
        with open_configured_inspection(settings) as inspection:
            if inspection is None:
                return _report_on_embedded_retention(settings)
            report = inspection.topics(kept_days(settings))
    except WorkerError as error:
        return [_fail("retention", str(error))]
    failed = [_fail("retention", fault) for fault in report.faults]
    for warning in report.warnings:
        output.notify(f"warn  retention: {warning}")
    if report.seen and not failed:
        kept = f"{settings.audit_keep_days} days and more (ECG_AUDIT_KEEP_DAYS)"
        output.notify(f"ok    retention: {', '.join(report.seen)} keep every record for {kept}")
    return failed


def _report_on_embedded_retention(settings: Settings) -> list[str]:
    """An embedded log keeps everything unless it is bounded."""
    days, size_bytes, asked_days = settings.log_keep_days, settings.log_keep_bytes, settings.audit_keep_days
    if days is not None and days < asked_days:
        fault = f"the log keeps records for {days} days, and {asked_days} days are asked for; raise ECG_LOG_KEEP_DAYS"
        return [_fail("retention", f"{fault}, or lower ECG_AUDIT_KEEP_DAYS")]
    if size_bytes is not None:
        output.notify(f"warn  retention: what does not fit into {size_bytes} bytes goes, however young it is")
    else:
        output.notify(f"ok    retention: the log keeps every record {f'for {days} days' if days else 'for ever'}")
    return []


def _check_checksums() -> str:
    if find_spec("crc32c") is None:
        raise SettingsError("the crc32c package is missing; without it large records move 15 times slower")
    return "crc32c is compiled"


def _check_codecs() -> str:
    """The codecs that are read. Raises SettingsError if one is not: whoever writes records chooses, not we."""
    codecs = installed_codecs()
    if missing := [name for name, is_installed in codecs.items() if not is_installed]:
        raise SettingsError(
            f"the packages for {', '.join(missing)} are missing; install ecg-r1-worker with its dependencies, or each "
            "record that a producer compressed so is rejected as unreadable"
        )
    return f"{', '.join(codecs)} are read"


def _create_topics(settings: Settings, partitions: int | None, replicas: int | None) -> str:
    created, there = create_missing_topics(settings, partitions or PARTITIONS, replicas)
    made = ", ".join(
        f"{topic.name} (partitions {topic.partitions}, replicas {topic.replicas or 'as the broker says'})"
        for topic in created
    )
    return f"created {made or 'none'}; there already: {', '.join(there) or 'none'}"


def _check_log(log: Log, settings: Settings) -> str:
    require_topics(log, *service_topics(settings))
    return ", ".join(f"{topic} {_extent(log, topic)}" for topic in service_topics(settings))


def _check_file(file: Path) -> str:
    if broken := check_fully(file):
        raise LogError(f"{broken} of its records are not what was written, and cannot be read; {SALVAGE}")
    return f"{file.stat().st_size} bytes, every page and record as it was written"


def _check_rights(settings: Settings) -> str:
    read, written = settings.all_inbound_topics, (settings.findings_topic, settings.rejections_topic)
    with open_configured_inspection(settings) as inspection:
        if inspection is None:
            return "an embedded log asks for none"
        own_id = transactional_id(settings.group, settings.member)
        if missing := inspection.missing_rights(read, written, settings.group, own_id):
            raise LogError(f"not allowed; grant {'; '.join(missing)}")
    reads = f"Read on {', '.join(read)} and group {settings.group}"
    return f"{reads}; Write on {', '.join(written)} and transactional id {own_id}"


def _check_transactions(settings: Settings) -> str:
    with open_configured_inspection(settings) as inspection:
        stuck = inspection.stuck_transactions(service_topics(settings)) if inspection else ()
    if stuck:
        raise LogError("; ".join(stuck))
    return "none holds readers up"


def _extent(log: Log, topic: str) -> str:
    partitions = log.partitions(topic)
    held = sum(end - first for first, end in map(log.bounds, partitions))
    return f"({len(partitions)} partitions, {held} offsets)"


def _check_model(settings: Settings) -> str:
    identity = identify_model(load_configured_engine(settings))
    how = f"{identity.model.training}, {identity.engine.provider}, {identity.engine.dtype}"
    return f"{identity.model.name} ({how}), digest {identity.model.digest}"
