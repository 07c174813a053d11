"""The command that brings flagged findings to the EHR."""

from contextlib import ExitStack
from typing import Annotated

import typer

from adapters.deadline import call_with_deadline
from adapters.outbound import MllpReceiver
from cli import options
from cli.ending import Ending
from cli.settings import Settings
from cli.wiring import service
from cli.wiring.log import open_configured_log, require_topics, say_if_new
from cli.wiring.receiver import open_configured_receiver
from worker.operations import logs
from worker.stream.stop import Stop

To = Annotated[
    str | None,
    typer.Option("--to", metavar="URL", help="mllp://HOST:PORT, or mllps://HOST:PORT for TLS (ECG_DELIVER_TO)"),
]
Group = Annotated[
    str | None,
    typer.Option("--group", metavar="NAME", help="consumer group; default: ecg-deliver (ECG_DELIVER_GROUP)"),
]


def deliver(
    to: To = None,
    log: options.LogUrl = None,
    group: Group = None,
    idle_exit: options.IdleExit = None,
    config: options.Config = None,
) -> None:
    """Send flagged findings to an EHR as HL7 v2.5.1 ORU^R01 over MLLP, until told to stop.

    A receiver that is away is waited for. What it refuses becomes a delivery rejection (`ecg-worker deliveries`).
    SIGTERM and SIGINT finish what is in hand, then exit 0. One group for each receiver: every group gets every flagged
    finding.

    Example: ecg-worker deliver --to mllp://engine.hospital.example:2575 --log kafka://broker:9092
    """
    settings = Settings.load(deliver_to=to, log=log, deliver_group=group, config=config)
    logs.configure(settings.log_level)
    # Crash-only: whatever comes out of here ends the process, which says so; the committed positions are right.
    _serve(
        settings,
        open_configured_receiver(settings, "--to", to),
        Ending(settings.drain_s),
        idle_exit,
    )


def _serve(settings: Settings, receiver: MllpReceiver, ending: Ending, idle_exit_s: float | None) -> None:
    from worker.delivery.deliverer import Deliverer

    topic, group = settings.deliver.rejections_topic, settings.deliver.group
    stop = ending.stop
    ending.loaded()
    with ExitStack() as parts:
        server = service.serve_health(settings, parts)
        say_if_new(settings)
        opened = parts.enter_context(open_configured_log(settings))
        require_topics(opened, settings.findings_topic, topic)
        member = service.join(opened, group, [settings.findings_topic], settings, stop, parts)
        parts.callback(_close, receiver, stop)  # before the member, which ends a delivery that is still under way
        session = service.open_session(member, settings, stop, parts, server=server)
        deliver = settings.deliver
        Deliverer(session, receiver, group, topic, deliver.retry, deliver.lifetimes).run(stop, idle_exit_s)
        logs.get_logger().info("stopped", count=session.progress.committed)


def _close(receiver: MllpReceiver, stop: Stop) -> None:
    """A connection that is just being made cannot be interrupted: it ends with the process."""
    try:
        call_with_deadline(stop.deadline, "close the receiver", receiver.close)
    except TimeoutError:
        logs.get_logger().warning("the receiver was left with a connection in the making")
