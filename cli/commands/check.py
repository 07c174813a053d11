"""The command that says beforehand whether `run` would work."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Annotated

import typer

from adapters.kafka.member import transactional_id
from adapters.log import Log, LogError
from cli import options, output
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_inspection, open_configured_log, require_topics, service_topics, topics
from cli.wiring.model import identify_model, load_configured_engine
from schemas.errors import WorkerError


def check(
    log: options.LogUrl = None,
    model: options.Model = None,
    group: options.Group = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="create missing topics, those of other commands too")
    ] = False,
    config: options.Config = None,
) -> None:
    """Check settings, log, topics, model and execution provider; exit 0 only if `run` would work.

    Prints the effective settings (of secrets only the files that hold them) and one line for each check.

    Example: ecg-worker check --log kafka://broker:9092 --model /models/ecg-r1
    """
    settings = Settings.load(log=log, model=model, group=group, config=config, strict=True)
    output.emit_json(settings.shown())
    passed = [
        _report("checksums", _check_checksums),
        _report_on_log(settings, create_topics),
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


def _report_on_log(settings: Settings, create_topics: bool) -> bool:
    """The checks that need the log; one that cannot be opened is said once."""
    with ExitStack() as parts:
        try:
            log = parts.enter_context(open_configured_log(settings))
        except WorkerError as error:
            output.notify(f"FAIL  log: {error}")
            output.notify("skip  rights, transactions: the log cannot be reached")
            return False
        checks: dict[str, Callable[[], str]] = {
            "log": functools.partial(_check_log, log, settings, create_topics),
            "rights": functools.partial(_check_rights, settings),
            "transactions": functools.partial(_check_transactions, settings),
        }
        passed = [_report(name, examine) for name, examine in checks.items()]
        return all(passed)


def _check_checksums() -> str:
    if find_spec("crc32c") is None:
        raise SettingsError("the crc32c package is missing; without it large records move 15 times slower")
    return "crc32c is compiled"


def _check_log(log: Log, settings: Settings, create_topics: bool) -> str:
    if create_topics:
        log.create_topics(topics(settings))
    require_topics(log, *service_topics(settings))
    return ", ".join(f"{topic} {_extent(log, topic)}" for topic in service_topics(settings))


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
