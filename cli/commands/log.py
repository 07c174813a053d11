"""Commands on the file of an embedded log: what it holds, taking out what need not be kept, copies of it."""

import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.status import Status

from adapters.open_log import embedded_file
from adapters.sqlite.copies import OnProgress
from adapters.sqlite.copies import backup as copy_log
from adapters.sqlite.copies import salvage as salvage_log
from adapters.sqlite.database import SALVAGE, connect, transaction
from adapters.sqlite.retention import Retention, plan, prune_step
from adapters.sqlite.statistics import statistics
from cli import options, output
from cli.settings import Settings, SettingsError
from cli.wiring.log import open_configured_log, report_pruned, retention

# Between two steps of pruning, so that whoever waits to write gets a turn.
_PAUSE_S: Final = 0.005

File = Annotated[Path, typer.Argument(metavar="FILE", help="a new file")]

app = typer.Typer(help="Look after the file of an embedded log (sqlite:///PATH).", no_args_is_help=True)


@app.command()
def stats(log: options.LogUrl = None, config: options.Config = None) -> None:
    """Print what each topic holds and how far behind its groups are, one JSON line a topic, then one on the file.

    Example: ecg-worker log stats --log sqlite:///var/lib/ecg/log.db
    """
    settings = Settings.load(log=log, config=config)
    path = _checked_file(settings)
    found = statistics(path)
    for topic in found.topics:
        groups = [
            {"group": group.name, "behind": group.behind, "gone": group.gone, "seen": _time(group.seen_ms)}
            for group in topic.groups
        ]
        output.emit_json({
            "topic": topic.name, "partitions": topic.partitions, "records": topic.records, "bytes": topic.size_bytes,
            "oldest": _time(topic.oldest_ms), "newest": _time(topic.newest_ms), "groups": groups,
        })  # fmt: skip
    output.emit_json({
        "file": str(path), "bytes": found.file_bytes, "free_bytes": found.free_bytes, "wal_bytes": found.wal_bytes,
        "keep_days": settings.log_keep_days, "keep_bytes": settings.log_keep_bytes,
    })  # fmt: skip


@app.command()
def prune(
    keep_days: Annotated[
        int | None, typer.Option("--keep-days", metavar="N", help="instead of ECG_LOG_KEEP_DAYS")
    ] = None,
    keep_bytes: Annotated[
        int | None, typer.Option("--keep-bytes", metavar="N", help="instead of ECG_LOG_KEEP_BYTES")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go; take out nothing")] = False,
    log: options.LogUrl = None,
    config: options.Config = None,
) -> None:
    """Take out what need not be kept, in small steps, while others read and write. One JSON line a topic.

    A running `run` or `deliver` does so by itself. "unread" are records that a group had still to read: they go only
    where nothing else is left that would bring the file below its bytes. The file does not shrink; its free space is
    used again.

    Example: ecg-worker log prune --keep-days 2192 --dry-run
    """
    settings = Settings.load(log=log, log_keep_days=keep_days, log_keep_bytes=keep_bytes, config=config)
    path, kept = _checked_file(settings), retention(settings)
    if not kept.is_bounded:
        raise SettingsError("nothing bounds the log: set ECG_LOG_KEEP_DAYS or ECG_LOG_KEEP_BYTES, or give --keep-days")
    records, sizes, unread = _pruned(path, kept, dry_run=dry_run)
    for topic in sorted(records):
        output.emit_json({
            "topic": topic, "records": records[topic], "bytes": sizes[topic], "unread": unread[topic],
            "dry_run": dry_run,
        })  # fmt: skip
    done = "would be pruned" if dry_run else "pruned"
    output.notify(f"{records.total()} records {done}, {unread.total()} of them unread by a group")


@app.command()
def backup(file: File, log: options.LogUrl = None, config: options.Config = None) -> None:
    """Copy the log as it is at this moment, while it is written, and check the copy. It holds patient data.

    Exits 1, with the copy made, if "broken_records" of the log are not what was written.

    The file is for this user only. To go back to it, stop whatever uses the log, remove the log's file with the ones
    beside it that end in -wal and -shm, and put the copy in its place.

    Example: ecg-worker log backup /backup/ecg-log-2026-03-03.db
    """
    path = _checked_file(Settings.load(log=log, config=config))
    with output.stderr.status("copying") as status:
        broken = copy_log(path, file, _progress(status, "pages"))
    output.emit_json({"file": str(file), "bytes": file.stat().st_size, "checked": True, "broken_records": broken})
    if broken:
        output.notify(
            f"{broken} records of the log are not what was written, nor are they in the copy: keep the copies from "
            f"before; {SALVAGE}"
        )
        raise typer.Exit(1)


@app.command()
def salvage(file: File, log: options.LogUrl = None, config: options.Config = None) -> None:
    """Copy what can be read of a damaged log into a new one, which then takes its place. The old file stays as it is.

    Stop whatever uses the log before. Then put the new file in its place, and what lies beside the old one (its -wal
    and -shm) elsewhere, with it: written into the new file, they would damage that too.

    A record is copied if it is what was written. "missing" are offsets that the topic held and that are not: a group
    that had still to read them is told. Exits 1 if anything is missing.

    Example: ecg-worker log salvage /var/lib/ecg/salvaged.db --log sqlite:///var/lib/ecg/log.db
    """
    path = _file(Settings.load(log=log, config=config))
    with output.stderr.status("salvaging") as status:
        saved = salvage_log(path, file, _progress(status, "records"))
    for topic in saved.topics:
        output.emit_json({"topic": topic.topic, "records": topic.records, "missing": topic.missing})
    output.emit_json({"file": str(file), "positions": saved.positions, "incomplete": saved.incomplete})
    output.notify(
        f"before {file} takes its place, move {path}, {path}-wal and {path}-shm elsewhere: what is left of them would "
        "be written into it"
    )
    if saved.incomplete:
        output.notify(
            f"not all of {', '.join(saved.incomplete)} could be read: a group without a position begins with the first "
            "record, and says again what it said"
        )
    missing = sum(topic.missing for topic in saved.topics)
    if missing:
        output.notify(f"{missing} records could not be saved; nothing more can be read of {path}")
    raise typer.Exit(int(bool(saved.incomplete or missing)))


def _file(settings: Settings) -> Path:
    """The log's file. Raises SettingsError if the log has none."""
    path = embedded_file(settings.log)
    if path is None:
        raise SettingsError("`log` is for an embedded log, sqlite:///PATH; of Kafka's topics its own tools take care")
    if not path.exists():
        raise SettingsError(f"there is no log at {path}; name its file in --log or ECG_LOG")
    return path


def _checked_file(settings: Settings) -> Path:
    """The log's file, opened once: it is a log, it has what this version needs, and no damage is seen at once."""
    path = _file(settings)
    with open_configured_log(settings, makes_topics=False):
        return path


def _pruned(path: Path, kept: Retention, *, dry_run: bool) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Records, bytes and unread records that went, or would go, by topic."""
    records, sizes, unread = Counter[str](), Counter[str](), Counter[str]()
    with closing(connect(path)) as connection, output.stderr.status("pruning") as status:
        while True:
            now_ms = round(time.time() * 1000)
            if dry_run:
                with transaction(connection, "DEFERRED"):
                    cuts = plan(connection, kept, now_ms)
            else:
                cuts = prune_step(connection, kept, now_ms)
                report_pruned(cuts)
            for cut in cuts:
                records[cut.partition.topic] += cut.records
                sizes[cut.partition.topic] += cut.size_bytes
                unread[cut.partition.topic] += len(cut.unread)
            if dry_run or not cuts:
                return records, sizes, unread
            status.update(f"pruning: {records.total()} records")
            time.sleep(_PAUSE_S)


def _progress(status: Status, what: str) -> OnProgress:
    def progressed(done: int, of: int) -> None:
        status.update(f"{done} of {of} {what}" if done < of else f"{done} {what}")

    return progressed


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
