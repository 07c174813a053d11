"""What every service does around its work: health, a seat in a group, a session with a watchdog, an end in time."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from adapters.log import Log, Member
from cli import failure
from cli.settings import Settings
from worker.operations import logs
from worker.stream.stop import Stop

if TYPE_CHECKING:
    from worker.operations.health import HealthServer
    from worker.stream.session import Session


def serve_health(settings: Settings, parts: ExitStack) -> "HealthServer | None":
    """Probes and metrics until `parts` end, if the settings name a port."""
    from worker.operations.health import HealthServer

    if settings.health_port is None:
        return None
    server = parts.enter_context(closing(HealthServer(settings.health_port)))
    logs.get_logger().info("serving health", port=server.port)
    return server


def join(log: Log, group: str, topics: Sequence[str], settings: Settings, stop: Stop, parts: ExitStack) -> Member:
    """A seat in the group, left when `parts` end, within the time that `stop` gives."""
    member = log.join(group, topics, settings.member)
    parts.callback(lambda: member.close(stop.deadline))
    logs.get_logger().info("joined", group=group, member=settings.member)
    return member


def open_session(
    member: Member,
    settings: Settings,
    stop: Stop,
    parts: ExitStack,
    *,
    server: "HealthServer | None",
    engine_stalled_s: Callable[[], float] = lambda: 0.0,
) -> "Session":
    """A session under a watchdog, which ends the process if the loop or the engine stands still.

    The last of `parts` to be opened: whatever ends the loop, the time for leaving begins with that.
    """
    from worker.operations.health import Health
    from worker.operations.watchdog import Watchdog
    from worker.stream.session import Session
    from worker.stream.stall import StallDetector

    session = Session(member, StallDetector(settings.stream.stuck_s))
    health = Health(session.progress, engine_stalled_s)
    parts.enter_context(closing(Watchdog(health.stalled, failure.end_stalled)))
    if server is not None:
        server.started(health)
    parts.callback(stop.set)
    return session
