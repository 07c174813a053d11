"""The command that is the service: consume, infer, publish."""

from contextlib import ExitStack, closing

from cli import failure, options
from cli.ending import Ending
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_log, require_topics, service_topics
from cli.wiring.model import identify_model, load_configured_engine, log_loading
from cli.wiring.stages import running_stages
from worker.operations import logs


def run(
    log: options.LogUrl = None,
    model: options.Model = None,
    group: options.Group = None,
    idle_exit: options.IdleExit = None,
    config: options.Config = None,
) -> None:
    """Consume, infer and publish until told to stop. SIGTERM and SIGINT finish what is in hand, then exit 0.

    Everything else that can be set: `ecg-worker settings` lists it.

    Example: ecg-worker run --log kafka://broker:9092 --model /models/ecg-r1 --group ecg-r1
    """
    settings = Settings.load(log=log, model=model, group=group, config=config)
    if settings.model is None and settings.engine.kind == "model":
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    logs.configure(settings.log_level)
    # Crash-only: whatever comes out of here ends the process, which says so; the ledger makes the restart right.
    _serve(settings, Ending(settings.drain_s), idle_exit)


def _serve(settings: Settings, ending: Ending, idle_exit_s: float | None) -> None:
    from worker.operations.gc_policy import freeze_loaded
    from worker.operations.health import Health, HealthServer
    from worker.operations.watchdog import Watchdog
    from worker.stream.breaker import Breaker
    from worker.stream.runner import Runner
    from worker.stream.session import Session
    from worker.stream.stall import StallDetector

    log, stop = logs.get_logger(), ending.stop
    with ExitStack() as open_parts:
        server = None
        if settings.health_port is not None:
            server = open_parts.enter_context(closing(HealthServer(settings.health_port)))
            log.info("serving health", port=server.port)
        engine = load_configured_engine(settings, log_loading)
        identity = identify_model(engine)
        log.info(
            "model loaded", model=identity.model.name, digest=identity.model.digest, training=identity.model.training,
            provider=identity.engine.provider,
        )  # fmt: skip
        ending.loaded()
        opened = open_parts.enter_context(open_configured_log(settings))
        require_topics(opened, *service_topics(settings))
        stages, scheduler = open_parts.enter_context(running_stages(engine, identity, settings))
        member = opened.join(settings.group, [settings.inbound_topic], settings.member)
        open_parts.callback(lambda: member.close(stop.deadline))
        log.info("joined", group=settings.group, member=settings.member)
        limits = settings.stream
        session = Session(member, StallDetector(limits.stuck_s))
        health = Health(session.progress, lambda: scheduler.stalled_s)
        open_parts.enter_context(closing(Watchdog(health.stalled, failure.end_stalled)))
        if server is not None:
            server.started(health)
        open_parts.callback(stop.set)  # whatever ends the loop, the time for leaving begins
        freeze_loaded()
        Runner(session, stages, Breaker(limits.rejected_share), limits).run(stop, idle_exit_s)
        log.info("stopped", count=session.progress.committed)
