"""An embedded log that lives long: records go through one that is bounded, and its file and speed are watched.

Run as `python -m benchmarks.embedded_log`; prints a Markdown table for `docs/measured.md`. One thread appends; a worker
of a group reads, publishes a small result a record and prunes, as `run` does. The bound is passed many times over.
Processor time stands beside the rate, which says little on a machine with other work.
"""

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from adapters.log import Message, Position
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.retention import Cut, Retention
from benchmarks.timing import machine

_AT_ONCE = 20
_RESULT = bytes(4_000)  # about what a finding takes
_WAITING = 1000  # records that the one who appends may be ahead


@dataclass
class _Watched:
    """What one tenth of the records took."""

    records: int = 0
    began_s: float = field(default_factory=time.monotonic)
    began_cpu_s: float = field(default_factory=time.process_time)
    publish_ms: list[float] = field(default_factory=list)
    largest_bytes: int = 0
    largest_wal_bytes: int = 0


def main() -> None:
    """Put the records through, and print a row for each tenth of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=30_000, help="bytes of a record")
    parser.add_argument("--keep-bytes", type=int, default=1_000_000_000)
    parser.add_argument("--folder", type=Path, help="where the log's folder is made; default: the system's")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        _run(Path(folder) / "log.db", chosen.records, chosen.size, Retention(keep_bytes=chosen.keep_bytes))


def _run(path: Path, count: int, size_bytes: int, kept: Retention) -> None:
    cuts: list[Cut] = []
    with closing(SqliteLog(path, retention=kept, on_pruned=cuts.extend)) as log:
        log.create_topics({"inbound": 3, "findings": 3})
        print(machine("pydantic") + f", SQLite {sqlite3.sqlite_version}")
        print(f"\n{count} records of {size_bytes} bytes, a log bounded at {kept.keep_bytes} bytes\n")
        print("| records | a second | processor ms a record | publish median ms | 99th percentile | file MB | WAL MB |")
        print("|---|---|---|---|---|---|---|")
        for done, tenth in _tenths(log, path, count, size_bytes):
            waits = sorted(tenth.publish_ms)
            cpu_ms = (time.process_time() - tenth.began_cpu_s) * 1000
            rate = tenth.records / (time.monotonic() - tenth.began_s)
            print(
                f"| to {done} | {rate:.0f} | {cpu_ms / tenth.records:.2f}"
                f" | {median(waits):.1f} | {waits[len(waits) * 99 // 100]:.1f}"
                f" | {tenth.largest_bytes / 1e6:.0f} | {tenth.largest_wal_bytes / 1e6:.0f} |",
                flush=True,
            )
        read = sum(cut.records for cut in cuts if cut.partition.topic == "inbound")
        unread = sum(len(cut.unread) for cut in cuts)
        held = sum(end - first for first, end in map(log.bounds, log.partitions("inbound")))
        print(f"\n{read} inbound records pruned and {held} held, {unread} of the pruned unread")


def _tenths(log: SqliteLog, path: Path, count: int, size_bytes: int) -> Iterator[tuple[int, _Watched]]:
    room = threading.Semaphore(_WAITING)
    appending = threading.Thread(target=_append, args=(path, count, size_bytes, room), daemon=True)
    appending.start()
    member = log.join("group", ["inbound"], "worker-0")
    done, tenth = 0, _Watched()
    while done < count:
        records = member.poll(0.05, 100).records
        if not records:
            continue
        began = time.monotonic()
        after = {record.topic_partition: Position(record.offset + 1) for record in records}
        member.publish([Message("findings", b"%d" % record.offset, _RESULT) for record in records], after)
        tenth.publish_ms.append((time.monotonic() - began) * 1000)
        room.release(len(records))
        done += len(records)
        tenth.records += len(records)
        tenth.largest_bytes = max(tenth.largest_bytes, path.stat().st_size)
        tenth.largest_wal_bytes = max(tenth.largest_wal_bytes, Path(f"{path}-wal").stat().st_size)
        if tenth.records >= count // 10 or done == count:
            yield done, tenth
            tenth = _Watched()
    member.close()
    appending.join()


def _append(path: Path, count: int, size_bytes: int, room: threading.Semaphore) -> None:
    with closing(SqliteLog(path)) as log:
        for _ in range(0, count, _AT_ONCE):
            for _ in range(_AT_ONCE):
                room.acquire()
            log.append([Message("inbound", None, os.urandom(size_bytes)) for _ in range(_AT_ONCE)])


if __name__ == "__main__":
    main()
