"""Commands on topics: put files on one, read one."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace as with_fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.log import Log, LogError, Message, NoTopic, Record, TopicPartition, check_messages
from cli import options, output
from cli.ecg_files import Reading, chosen, typed
from cli.settings import Settings
from cli.wiring.log import open_configured_log, require_topics, topics
from worker.backfill_header import MARK

if TYPE_CHECKING:
    from worker.history.interval import Interval

# A submission is acknowledged in steps of this many files, so that a large folder neither fills memory nor crawls.
_FILES_AT_ONCE = 50
_FOLLOW_EVERY_S = 0.5


def submit(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True, readable=True)],
    backfill: Annotated[
        bool, typer.Option("--backfill", help="old ECGs, for the record: no alert comes of them, and they wait last")
    ] = False,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="NAME", help="which of several inbound topics (ECG_INBOUND_TOPICS)")
    ] = None,
    log: options.LogUrl = None,
    config: options.Config = None,
) -> None:
    """Put files on the inbound topic, each as one record; of a folder the ECG files in it, in the order of names.

    A file that is named itself goes there whatever it is. Prints where each went, one JSON line a file.

    Example: ecg-worker submit ecg.dcm incoming/
    """
    settings = Settings.load(log=log, config=config)
    if topic is not None and topic not in settings.all_inbound_topics:
        known = ", ".join(settings.all_inbound_topics)
        raise typer.BadParameter(f"{topic} is no inbound topic; those are {known}", param_hint="--topic")
    inbound = topic or settings.inbound_topic
    headers = (MARK,) if backfill else ()
    files, reading = chosen(paths), Reading()
    with open_configured_log(settings) as opened:
        require_topics(opened, inbound)
        steps = range(0, len(files), _FILES_AT_ONCE)
        for start in output.track(steps, "submitting"):
            batch = list(_that_fit(reading, inbound, files[start : start + _FILES_AT_ONCE]))
            written = opened.append([Message(inbound, None, payload, headers) for _, payload in batch])
            for (file, _), (partition, offset) in zip(batch, written, strict=True):
                name = typed(Path(file.name))
                where = {"file": name, "topic": partition.topic, "partition": partition.partition, "offset": offset}
                output.emit_json(where)
    raise typer.Exit(int(reading.failed))


def _that_fit(reading: Reading, topic: str, files: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    """The files that the log takes. One that is too large is named, and the others go on."""
    for file, payload in reading.payloads(files):
        try:
            check_messages([Message(topic, None, payload)])
        except LogError as error:
            output.notify(f"{typed(file)}: left out: {error}")
            reading.failed = True
        else:
            yield file, payload


def read(
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    log: options.LogUrl = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="T", help="offset, or ISO 8601 time; default: the first record")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="T", help="offset or time, exclusive; default: the last record now")
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option("--partition", metavar="N", help="of this one only: an offset is a record in each; default: all"),
    ] = None,
    slack: options.Slack = options.DEFAULT_SLACK_S,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new records until interrupted")] = False,
    envelope: Annotated[bool, typer.Option(help="add coordinates, key and headers; raw values as base64")] = False,
    config: options.Config = None,
) -> None:
    """Print the value of each committed record of a topic as one JSON line, first to last in each partition.

    One record is its partition and its offset: without --partition an offset stands for a record in each.

    With times, those are printed whose own time lies inside, and those without a time that lie among them.

    Example: ecg-worker read ecg.findings --from 2026-03-03T00:00:00Z --to 2026-03-04T00:00:00Z
    """
    if follow and end:
        raise typer.BadParameter("--follow has no end", param_hint="--to")
    from worker.history.interval import Interval
    from worker.history.scan import Scan

    bounds = options.parse_interval(start, end)
    settings = Settings.load(log=log, config=config)
    with open_configured_log(settings) as opened:
        there = _partitions(opened, topic, settings)
        if partition is not None:
            _require_partition(there, partition)
        interval = Interval.resolve(opened, [topic], *bounds, slack, only=partition)
        try:
            for record in _follow(opened, interval) if follow else Scan(opened, interval):
                output.emit_json(_enveloped(record) if envelope else _value(record))
        except KeyboardInterrupt:
            return


def _partitions(log: Log, topic: str, settings: Settings) -> tuple[TopicPartition, ...]:
    """The topic's partitions. `read` takes any topic, and most of those that there could be nobody would make."""
    try:
        return log.partitions(topic)
    except NoTopic:
        if topic in (known := topics(settings)):
            raise
        raise LogError(f"no topic {topic}; those of the settings are {', '.join(known)}") from None


def _require_partition(there: Sequence[TopicPartition], partition: int) -> None:
    if partition not in [each.partition for each in there]:
        last = there[-1]
        known = f"partitions 0 to {last.partition}" if last.partition else "partition 0"
        raise typer.BadParameter(f"no partition {partition}; {last.topic} has {known}", param_hint="--partition")


def _follow(log: Log, interval: "Interval") -> Iterator[Record]:
    from worker.history.scan import Scan

    while True:
        yield from Scan(log, interval)
        time.sleep(_FOLLOW_EVERY_S)
        ranges = {partition: range(done.stop, log.bounds(partition)[1]) for partition, done in interval.ranges.items()}
        interval = with_fields(interval, ranges=ranges)


def _value(record: Record) -> Any:
    if record.unreadable is not None:
        where = f"{record.topic}, partition {record.partition}"
        raise LogError(f"{where}: {record.unreadable}; with --envelope the others are read")
    try:
        return json.loads(record.value)
    except (ValueError, RecursionError):
        where = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        raise LogError(f"{where} is not JSON; read it with --envelope") from None


def _enveloped(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "headers": {name: _text(value) for name, value in record.headers},
    }
    if record.unreadable is not None:
        return fields | {"unreadable": record.unreadable}
    try:
        return fields | {"value": json.loads(record.value)}
    except (ValueError, RecursionError):
        return fields | {"value_base64": base64.b64encode(record.value).decode()}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")
