"""Commands of the service: run it, and check beforehand that it would run."""

import functools
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.util import find_spec
from types import FrameType
from typing import Annotated

import typer

from adapters.kafka.member import transactional_id
from adapters.log import Log, LogError
from cli import failure, options, output
from cli.settings import Settings, SettingsError
from cli.wiring import stages as wiring
from schemas.errors import WorkerError
from worker.operations import logs
from worker.stream.stop import Stop


def run(
    log: options.LogUrl = None,
    model: options.Model = None,
    group: options.Group = None,
    idle_exit: options.IdleExit = None,
    config: options.Config = None,
) -> None:
    """Consume, infer and publish until told to stop. SIGTERM and SIGINT finish what is in hand, then exit 0.

    Everything else that can be set: `ecg-worker check` lists it with its effective value.

    Example: ecg-worker run --log kafka://broker:9092 --model /models/ecg-r1 --group ecg-r1
    """
    settings = Settings.load(log=log, model=model, group=group, config=config)
    if settings.model is None and settings.engine == "model":
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    logs.configure(settings.log_level)
    stop = Stop(settings.drain_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, functools.partial(_stop, stop))
    # Crash-only: whatever comes out of here ends the process, which says so; the ledger makes the restart right.
    _serve(settings, stop, idle_exit)


def _stop(stop: Stop, number: int, _: FrameType | None) -> None:
    logs.get_logger().info("stopping, finishing what is in hand", signal=signal.Signals(number).name)
    stop.set()


def _serve(settings: Settings, stop: Stop, idle_exit_s: float | None) -> None:
    from worker.operations.garbage import keep_what_is_loaded
    from worker.operations.health import Health, HealthServer
    from worker.operations.watchdog import Watchdog
    from worker.stream.runner import Runner

    log = logs.get_logger()
    with ExitStack() as open_parts:
        server = None
        if settings.health_port is not None:
            server = open_parts.enter_context(closing(HealthServer(settings.health_port)))
            log.info("serving health", port=server.port)
        engine = wiring.engine_to_run(settings)
        reader = wiring.reader(engine)
        log.info(
            "model loaded", model=reader.model.name, digest=reader.model.digest, training=reader.model.training,
            provider=reader.engine.provider,
        )  # fmt: skip
        opened = open_parts.enter_context(wiring.opened_log(settings))
        wiring.require_topics(opened, *_topics(settings))
        stages, scheduler = open_parts.enter_context(wiring.stages(engine, reader, settings))
        member = opened.join(settings.group, [settings.inbound_topic], settings.member)
        open_parts.callback(lambda: member.close(stop.deadline))
        log.info("joined", group=settings.group, member=settings.member)
        runner = Runner(member, stages, wiring.limits(settings))
        health = Health(runner.progress, lambda: scheduler.stalled_s)
        open_parts.enter_context(closing(Watchdog(health.stalled, failure.end_stalled)))
        if server is not None:
            server.started(health)
        open_parts.callback(stop.set)  # whatever ends the loop, the time for leaving begins
        keep_what_is_loaded()
        runner.run(stop, idle_exit_s)
        log.info("stopped", count=runner.progress.committed)


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
    settings = Settings.load(log=log, model=model, group=group, config=config)
    output.emit_json(settings.shown())
    passed = [
        _report("checksums", _check_checksums),
        _report_on_log(settings, create_topics),
        _report("model", functools.partial(_check_model, settings)),
    ]
    raise typer.Exit(int(not all(passed)))


def _report(name: str, examine: Callable[[], str]) -> bool:
    try:
        output.tell(f"ok    {name}: {examine()}")
    except WorkerError as error:
        output.tell(f"FAIL  {name}: {error}")
        return False
    return True


def _report_on_log(settings: Settings, create_topics: bool) -> bool:
    """The checks that need the log; one that cannot be opened is said once."""
    with ExitStack() as parts:
        try:
            log = parts.enter_context(wiring.opened_log(settings))
        except WorkerError as error:
            output.tell(f"FAIL  log: {error}")
            output.tell("skip  rights, transactions: the log cannot be reached")
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
        log.create_topics(wiring.topics(settings))
    wiring.require_topics(log, *_topics(settings))
    return ", ".join(f"{topic} {_extent(log, topic)}" for topic in _topics(settings))


def _check_rights(settings: Settings) -> str:
    read, *written = _topics(settings)
    with wiring.inspected(settings) as inspection:
        if inspection is None:
            return "an embedded log asks for none"
        own_id = transactional_id(settings.group, settings.member)
        if missing := inspection.missing_rights([read], written, settings.group, own_id):
            raise LogError(f"not allowed; grant {'; '.join(missing)}")
    return f"Read on {read} and group {settings.group}; Write on {', '.join(written)} and transactional id {own_id}"


def _check_transactions(settings: Settings) -> str:
    with wiring.inspected(settings) as inspection:
        stuck = inspection.stuck_transactions(_topics(settings)) if inspection else ()
    if stuck:
        raise LogError("; ".join(stuck))
    return "none holds readers up"


def _topics(settings: Settings) -> tuple[str, str, str]:
    """What `run` needs."""
    return settings.inbound_topic, settings.findings_topic, settings.rejections_topic


def _extent(log: Log, topic: str) -> str:
    partitions = log.partitions(topic)
    held = sum(end - first for first, end in map(log.bounds, partitions))
    return f"({len(partitions)} partitions, {held} offsets)"


def _check_model(settings: Settings) -> str:
    reader = wiring.reader(wiring.engine_to_run(settings))
    how = f"{reader.model.training}, {reader.engine.provider}, {reader.engine.dtype}"
    return f"{reader.model.name} ({how}), digest {reader.model.digest}"
