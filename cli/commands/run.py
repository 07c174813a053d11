"""The command that is the service: consume, infer, publish."""

from contextlib import ExitStack

from cli import options
from cli.ending import Ending
from cli.settings import Settings, SettingsError
from cli.wiring import service
from cli.wiring.log import open_configured_log, require_topics, say_if_new, service_topics
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
    from worker.stream.breaker import Breaker
    from worker.stream.runner import Runner

    log, stop = logs.get_logger(), ending.stop
    with ExitStack() as parts:
        server = service.serve_health(settings, parts)
        # Before the model: a wrong address is known at once, and not after minutes of loading.
        say_if_new(settings)
        opened = parts.enter_context(open_configured_log(settings))
        require_topics(opened, *service_topics(settings))
        engine = load_configured_engine(settings, log_loading)
        identity = identify_model(engine)
        log.info(
            "model loaded", model=identity.model.name, digest=identity.model.digest, training=identity.model.training,
            provider=identity.engine.provider,
        )  # fmt: skip
        ending.loaded()
        stages, scheduler = parts.enter_context(running_stages(engine, identity, settings))
        member = service.join(opened, settings.group, settings.all_inbound_topics, settings, stop, parts)
        session = service.open_session(
            member, settings, stop, parts, server=server, engine_stalled_s=lambda: scheduler.stalled_s
        )
        freeze_loaded()
        breaker = Breaker(settings.stream.rejected_share, settings.stream.rejected_pace_s)
        Runner(session, stages, breaker, settings.stream, settings.all_inbound_topics).run(stop, idle_exit_s)
        log.info("stopped", count=session.progress.committed)
