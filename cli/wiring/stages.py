"""From settings to a decoder, and to the stages between reading a record and publishing its result."""

import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from adapters.inbound import decode, glance
from adapters.recording.site import SiteDefaults
from cli.settings import Settings
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected
from worker.backfill_header import is_backfill
from worker.model.errors import EngineError
from worker.operations import logs, metrics

if TYPE_CHECKING:
    from worker.engine.echo import EchoEngine
    from worker.engine.engine import Engine
    from worker.engine.scheduler import Scheduler
    from worker.provenance import ModelIdentity
    from worker.stream.stages import Stages

# What the engine may still have in hand when the loop has ended is of no use to anybody: answers are read again.
ENGINE_CLOSE_S: Final = 2.0


def decoder(settings: Settings) -> Callable[[bytes], Ecg]:
    """The decoder of every inbound format, for this site; can be sent to other processes."""
    return functools.partial(decode, site=SiteDefaults(ZoneInfo(settings.site_zone), settings.site_charset))


@contextmanager
def running_stages(
    engine: "Engine | EchoEngine", model_identity: "ModelIdentity", settings: Settings
) -> Iterator[tuple["Stages", "Scheduler"]]:
    """The work between reading a record and publishing its result, running until the end of the context.

    The engine's queue holds as many questions again as it can answer at once.
    """
    from worker.engine.scheduler import Scheduler
    from worker.pipeline import conclude
    from worker.stream.fence import Fence
    from worker.stream.preparation import PreparationPool
    from worker.stream.stages import Stages
    from worker.stream.triage import Triage

    slots, layout = engine.bundle.manifest.slots, engine.bundle.manifest.layout.layout()
    with closing(PreparationPool(settings.processes, decoder(settings), layout)) as pool:
        scheduler = Scheduler(
            engine,
            capacity=2 * slots,
            max_batch=slots,
            max_wait_s=settings.engine.batch_wait_s,
            max_failures=settings.engine.failures,
            on_failure=_tell_failure,
        )
        try:
            triage = Triage(glance, settings.all_inbound_topics, settings.all_urgent_units, is_backfill=is_backfill)
            fence = Fence(settings.findings_topic, settings.rejections_topic)
            conclude_here = functools.partial(conclude, model_identity=model_identity)
            yield (
                Stages(pool, scheduler, conclude_here, fence, triage),
                scheduler,
            )
        finally:
            _end(scheduler)


def _tell_failure(reason: Reason, given_up: bool, error: Exception | None) -> None:
    """Count it; and since a rejection is told where it is published, log only what would else be known to nobody."""
    (metrics.ENGINE_FAILURES if given_up else metrics.ENGINE_RETRIES).labels(reason.value).inc()
    if error is not None and not isinstance(error, Rejected):
        event = "the engine failed on a question" if given_up else "the engine failed, and tries again with less"
        logs.get_logger().warning(event, reason=reason.value, exc_info=error)


def _end(scheduler: "Scheduler") -> None:
    """What the engine still has in hand was given up. If it does not end, its thread ends with the process."""
    try:
        scheduler.close(ENGINE_CLOSE_S)
    except EngineError:
        logs.get_logger().warning("the engine was left with work in hand")
