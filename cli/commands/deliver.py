"""The command that brings flagged findings to the EHR."""

import signal
import sys
import threading
from contextlib import ExitStack, closing
from typing import Annotated

import typer

from adapters.log import LogError
from adapters.outbound import MllpReceiver, ReceiverError, TlsFiles, open_receiver
from cli import options
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_log, require_topics
from worker.operations import logs

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

    SIGTERM and SIGINT finish what is in hand, then exit 0. What the receiver does not take over becomes a delivery
    rejection. One group for each receiver: every group gets every flagged finding.

    Example: ecg-worker deliver --to mllp://engine.hospital.example:2575 --log kafka://broker:9092
    """
    settings = Settings.load(deliver_to=to, log=log, deliver_group=group, config=config)
    logs.configure(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _serve(settings, _receiver(settings), stop, idle_exit)
    except (LogError, SettingsError):
        raise
    except Exception:  # noqa: BLE001 - crash-only: the process ends and says so; the committed positions are right
        logs.get_logger().exception("deliverer ended by an error")
        sys.exit(1)


def _receiver(settings: Settings) -> MllpReceiver:
    deliver = settings.deliver
    if deliver.to is None:
        raise SettingsError("no receiver: give --to URL or set ECG_DELIVER_TO")
    files = deliver.tls if deliver.tls != TlsFiles() else None
    try:
        return open_receiver(deliver.to, deliver.route, deliver.retry, files)
    except ReceiverError as error:
        raise SettingsError(str(error)) from None


def _serve(settings: Settings, receiver: MllpReceiver, stop: threading.Event, idle_exit_s: float | None) -> None:
    from worker.delivery.deliverer import Deliverer
    from worker.operations.health import Health, HealthServer

    topic, group = settings.deliver.rejections_topic, settings.deliver.group
    log = logs.get_logger()
    with ExitStack() as parts:
        opened = parts.enter_context(open_configured_log(settings))
        require_topics(opened, settings.findings_topic, topic)
        member = parts.enter_context(closing(opened.join(group, [settings.findings_topic], settings.member)))
        log.info("joined", group=group, member=settings.member)
        parts.enter_context(closing(receiver))  # closed first, which ends a delivery that is still under way
        deliverer = Deliverer(member, receiver, group, topic, settings.drain_s)
        if settings.health_port is not None:
            server = parts.enter_context(closing(HealthServer(settings.health_port)))
            server.started(Health(deliverer.progress, lambda: 0.0))  # a delivery may take as long as it may
            log.info("serving health", port=server.port)
        deliverer.run(stop, idle_exit_s)
        log.info("stopped", count=deliverer.progress.committed)
