"""What an embedded log holds, and how far behind its groups are."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from adapters.sqlite.database import connect, transaction
from adapters.sqlite.retention import used_bytes


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """A group's place on a topic: offsets it has still to read, those of them that are gone; when it was last seen."""

    name: str
    behind: int
    gone: int
    seen_ms: int | None


@dataclass(frozen=True, slots=True)
class TopicStatistics:
    """What a topic holds: bytes are those of keys, headers and values; times are None if there is no record."""

    name: str
    partitions: int
    records: int
    size_bytes: int
    oldest_ms: int | None
    newest_ms: int | None
    groups: tuple[GroupStatistics, ...]


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """The file, the part of it that is free for new records, its write-ahead log; and its topics."""

    file_bytes: int
    free_bytes: int
    wal_bytes: int
    topics: tuple[TopicStatistics, ...]


def statistics(path: Path) -> LogStatistics:
    """Count what the log holds at this moment. Takes a second for some millions of records. Raises LogError."""
    with closing(connect(path)) as connection, transaction(connection, "DEFERRED"):
        held = connection.execute(
            "SELECT p.topic, count(DISTINCT p.partition), count(r.offset),"
            " coalesce(sum(length(r.value) + length(r.headers) + coalesce(length(r.key), 0)), 0),"
            " min(r.timestamp_ms), max(r.timestamp_ms)"
            " FROM partitions AS p LEFT JOIN records AS r ON r.topic = p.topic AND r.partition = p.partition"
            " GROUP BY p.topic ORDER BY p.topic"
        ).fetchall()
        # A group that has not committed yet stands where it began.
        places = connection.execute(
            "WITH places AS ("
            " SELECT group_name, topic, partition, offset FROM positions UNION ALL"
            " SELECT s.group_name, s.topic, s.partition, s.offset FROM starts AS s LEFT JOIN positions AS p"
            " USING (group_name, topic, partition) WHERE p.offset IS NULL),"
            " bounds AS (SELECT topic, partition, next_offset, coalesce((SELECT min(offset) FROM records AS r"
            " WHERE r.topic = p.topic AND r.partition = p.partition), next_offset) AS first FROM partitions AS p)"
            " SELECT topic, group_name, sum(max(next_offset - offset, 0)), sum(max(first - offset, 0)),"
            " (SELECT max(seen_ms) FROM members AS m WHERE m.group_name = places.group_name)"
            " FROM places JOIN bounds USING (topic, partition) GROUP BY topic, group_name ORDER BY topic, group_name"
        ).fetchall()
        used = used_bytes(connection)
        (pages,), (page_bytes,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        groups: dict[str, list[GroupStatistics]] = {}
        for topic, *place in places:
            groups.setdefault(topic, []).append(GroupStatistics(*place))
        topics = tuple(
            TopicStatistics(name, count, records, size_bytes, oldest_ms, newest_ms, tuple(groups.get(name, ())))
            for name, count, records, size_bytes, oldest_ms, newest_ms in held
        )
        wal = Path(f"{path}-wal")
        wal_bytes = wal.stat().st_size if wal.exists() else 0
        return LogStatistics(path.stat().st_size, pages * page_bytes - used, wal_bytes, topics)
