"""Where the concrete parts are chosen: from settings to a log, a decoder, an engine and a running worker."""

import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import typer

from adapters.inbound import decode, peek_priority
from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.options import KafkaOptions
from adapters.log import Log, Record
from adapters.open_log import open_inspection, open_log
from adapters.recording.site import Site
from cli import output
from cli.settings import Settings, SettingsError
from schemas.ecg import Ecg, Priority
from worker.model.errors import BundleError, EngineError
from worker.operations import logs

if TYPE_CHECKING:
    from worker.audit.replay import Bound
    from worker.engine.echo import EchoEngine
    from worker.engine.engine import Engine
    from worker.engine.scheduler import Scheduler
    from worker.picture.layout import Layout
    from worker.pipeline import Reader
    from worker.stream.runner import Limits
    from worker.stream.stages import Stages

# It lies beside the packages, in the repository as in an installation.
DEMO_MODEL: Final = Path(__file__).parents[2] / "deploy" / "models" / "ecg-r1-demo"
# What the engine may still have in hand when the loop has ended is of no use to anybody: answers are read again.
ENGINE_CLOSE_S: Final = 2.0


def decoder(settings: Settings) -> Callable[[bytes], Ecg]:
    """The decoder of every inbound format, for this site; can be sent to other processes."""
    return functools.partial(decode, site=Site(ZoneInfo(settings.site_zone), settings.site_charset))


@contextmanager
def opened_log(settings: Settings) -> Iterator[Log]:
    """The log that the settings name. An embedded one is created, with its topics, if it does not exist yet."""
    log = open_log(settings.log, _kafka_options(settings))
    try:
        if settings.log.startswith("sqlite:"):
            log.create_topics(topics(settings))
        yield log
    finally:
        log.close()


@contextmanager
def inspected(settings: Settings) -> Iterator[KafkaInspection | None]:
    """A look at the cluster that the settings name; None if the log is an embedded one."""
    inspection = open_inspection(settings.log, _kafka_options(settings))
    try:
        yield inspection
    finally:
        if inspection is not None:
            inspection.close()


def _kafka_options(settings: Settings) -> KafkaOptions | None:
    """Kafka's own settings, or None if none is set that an embedded log would have to ignore."""
    stated = KafkaOptions(
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password_file=settings.kafka_password_file,
        token_file=settings.kafka_token_file,
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
        check_hostname=settings.kafka_check_hostname,
        allow_plaintext=settings.allow_plaintext,
        static_member=settings.kafka_static_member,
    )
    general = KafkaOptions(allow_plaintext=settings.allow_plaintext)
    return None if stated == general and settings.log.startswith("sqlite:") else stated


def topics(settings: Settings) -> dict[str, int]:
    """Every topic that any command uses, with the partitions to create it with where it is missing."""
    of_the_worker = (settings.inbound_topic, settings.findings_topic, settings.rejections_topic, settings.audit_topic)
    return {**dict.fromkeys(of_the_worker, 3), settings.delivery_rejections_topic: 1}


def load_engine(settings: Settings, model: Path) -> "Engine":
    """The model, loaded and self-tested. Raises BundleError, also if it is not the one that is set, or EngineError."""
    from worker.engine.engine import Engine
    from worker.model.manifest import read_manifest

    # Asked before a file of it is opened; loading then checks every file against the manifest.
    if settings.model_digest not in (None, read_manifest(model).digest):
        raise BundleError(f"{model} is not the bundle that model_digest names. Mount that one, or set the new digest.")
    return Engine.load(model, provider=settings.provider, dtype=settings.dtype, threads=settings.threads)


def engine_to_run(settings: Settings) -> "Engine | EchoEngine":
    """The model, or the engine without one if that is what the settings say. Raises SettingsError if they name none."""
    if settings.engine == "echo":
        from worker.engine.echo import EchoEngine

        return EchoEngine(settings.echo_slots, settings.echo_batch_s, settings.echo_question_s)
    if settings.model is None:
        raise SettingsError("no model: give --model DIR or set ECG_MODEL")
    return load_engine(settings, settings.model)


def model_layout(engine: "Engine | EchoEngine") -> "Layout":
    """The layout in which the model was taught to read ECGs."""
    from worker.picture.layout import layout

    wanted = engine.bundle.manifest.layout
    return layout(wanted.name, wanted.width_px, wanted.height_px, wanted.speed_mm_per_s, wanted.gain_mm_per_mv)


def reader(engine: "Engine | EchoEngine") -> "Reader":
    """What findings say of the model and the engine that made them."""
    from schemas.finding import EngineRef, ModelRef
    from worker.pipeline import Reader
    from worker.provenance import fingerprint
    from worker.version import VERSION

    bundle, description, layout = engine.bundle, engine.description, model_layout(engine)
    return Reader(
        model=ModelRef(name=bundle.manifest.name, digest=bundle.digest, training=bundle.manifest.training),
        threshold=bundle.manifest.threshold,
        prompt_digest=bundle.prompt_digest,
        engine=EngineRef(provider=description.provider, dtype=description.dtype, shapes=description.shapes),
        layout=layout.name,
        fingerprint=fingerprint(
            {
                "bundle": bundle.digest,
                "engine": description,
                "layout": layout.digest,
                "worker": VERSION,
            }
        ),
    )


def priority(record: Record) -> Priority:
    """How urgent a record is at first glance."""
    return peek_priority(record.value, record.headers)


@contextmanager
def stages(
    engine: "Engine | EchoEngine", reader: "Reader", settings: Settings
) -> Iterator[tuple["Stages", "Scheduler"]]:
    """The work between reading a record and publishing its result, running until the end of the context.

    The engine's line holds as many questions again as it can answer at once.
    """
    from worker.engine.scheduler import Scheduler
    from worker.pipeline import conclude
    from worker.stream.preparation import PreparationPool
    from worker.stream.stages import Stages

    slots = engine.bundle.manifest.slots
    with closing(PreparationPool(settings.processes, decoder(settings), model_layout(engine))) as pool:
        scheduler = Scheduler(engine, capacity=2 * slots, max_batch=slots, max_wait_s=settings.batch_wait_s)
        try:
            conclude_here = functools.partial(conclude, reader=reader)
            yield (
                Stages(pool, scheduler, conclude_here, priority, settings.findings_topic, settings.rejections_topic),
                scheduler,
            )
        finally:
            _end(scheduler)


def _end(scheduler: "Scheduler") -> None:
    """What the engine still has in hand was given up. If it does not end, its thread ends with the process."""
    try:
        scheduler.close(ENGINE_CLOSE_S)
    except EngineError:
        logs.get_logger().warning("the engine was left with work in hand")


def limits(settings: Settings) -> "Limits":
    """The loop's bounds as set."""
    from worker.stream.runner import Limits

    return Limits(
        in_flight=settings.max_in_flight,
        read_ahead=settings.read_ahead_records,
        read_ahead_bytes=settings.read_ahead_bytes,
        publish_records=settings.publish_records,
        publish_wait_s=settings.publish_wait_s,
        rejected_share=settings.rejected_share,
        stuck_s=settings.stuck_s,
    )


def model_or_demo(settings: Settings) -> Path:
    """The model directory of the settings; without one, the demo model, announced.

    For looking at files only: `run` insists on a model that somebody chose.
    """
    if settings.model is not None:
        return settings.model
    output.tell("No --model given: using the DEMO model, which knows simulated ECGs only; every finding says so.")
    return DEMO_MODEL


def bound(stated: str) -> "Bound":
    """An end of an interval from what was typed: an offset, or a time (UTC unless it says otherwise)."""
    from worker.audit.replay import Bound

    if stated.isdecimal():
        return Bound(offset=int(stated))
    try:
        moment = datetime.fromisoformat(stated)
    except ValueError:
        raise typer.BadParameter(f"{stated!r} is neither an offset nor an ISO 8601 time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Bound(timestamp_ms=int(moment.timestamp() * 1000))


def require_topics(log: Log, *names: str) -> None:
    """Raise LogError if a topic is missing, or we may not see it."""
    for name in names:
        log.partitions(name)
