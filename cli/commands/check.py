"""The command that says beforehand whether `run` would work."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from adapters.kafka.member import transactional_id
from adapters.log import Log, LogError
from adapters.open_log import embedded_file
from adapters.sqlite.damage import check_fully
from cli import options, output
from cli.settings import Settings, SettingsError
from cli.wiring.log import (
    PARTITIONS,
    create_missing_topics,
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

    Prints the effective settings (of secrets only the files that hold them) and one line for each check.

    Example: ecg-worker check --log kafka://broker:9092 --model /models/ecg-r1
    """
    if not create_topics and (partitions or replicas):
        raise typer.BadParameter("is for --create-topics", param_hint="--partitions" if partitions else "--replicas")
    settings = Settings.load(log=log, model=model, group=group, config=config, strict=True)
    output.emit_json(settings.shown())
    creating = functools.partial(_create_topics, settings, partitions, replicas) if create_topics else None
    passed = [
        _report("checksums", _check_checksums),
        _report_on_log(settings, creating),
        _report("model", functools.partial(_check_model, settings)),
    ]
    raise typer.Exit(int(not all(passed)))


def _report(name: str, examine: Callable[[], str]) -> bool:
    try:
        output.notify(f"ok    {name}: {examine()}")
    except WorkerError as error:
        output.notify(f"FAIL  {name}: {error}")
        return False
    return True


def _report_on_log(settings: Settings, creating: Callable[[], str] | None) -> bool:
    """The checks that need the log; one that cannot be opened is said once."""
    # First, because an embedded log is opened with its topics.
    if creating is not None and not _report("topics", creating):
        output.notify("skip  log, rights, transactions: the topics could not be created")
        return False
    with ExitStack() as parts:
        try:
            log = parts.enter_context(open_configured_log(settings))
        except WorkerError as error:
            output.notify(f"FAIL  log: {error}")
            output.notify("skip  rights, transactions: the log cannot be reached")
            return False
        checks: dict[str, Callable[[], str]] = {
            "log": functools.partial(_check_log, log, settings),
            "rights": functools.partial(_check_rights, settings),
            "transactions": functools.partial(_check_transactions, settings),
        }
        if (file := embedded_file(settings.log)) is not None:
            checks["file"] = functools.partial(_check_file, file)
        passed = [_report(name, examine) for name, examine in checks.items()]
        return all(passed)


def _check_checksums() -> str:
    if find_spec("crc32c") is None:
        raise SettingsError("the crc32c package is missing; without it large records move 15 times slower")
    return "crc32c is compiled"


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
    check_fully(file)
    return f"{file.stat().st_size} bytes, every page as it was written"


def _check_rights(settings: Settings) -> str:
    read, *written = service_topics(settings)
    with open_configured_inspection(settings) as inspection:
        if inspection is None:
            return "an embedded log asks for none"
        own_id = transactional_id(settings.group, settings.member)
        if missing := inspection.missing_rights([read], written, settings.group, own_id):
            raise LogError(f"not allowed; grant {'; '.join(missing)}")
    return f"Read on {read} and group {settings.group}; Write on {', '.join(written)} and transactional id {own_id}"


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
