"""Consumer groups in the tables of an embedded log: who is in, who has which partitions, since when.

Every function works inside the caller's transaction, so that a group is always seen whole. Members are processes; one
that dies without leaving is taken out when its lease ends, by whichever other member looks next.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from adapters.log import Fenced, TopicPartition
from adapters.sqlite import records

NO_GROUP: Final = ""  # where publishers without a group have their names; no group can be called so
LEASE_MS: Final = 15_000  # as long as a loaded process may go without polling


def join(connection: sqlite3.Connection, group: str, name: str, topics: Sequence[str], now_ms: int) -> int:
    """Enter the group and return the epoch of this name. The process that had the name before has lost it."""
    connection.execute("INSERT OR IGNORE INTO groups (name, generation) VALUES (?, 0)", (group,))
    epoch = _take_name(connection, group, name, json.dumps(list(topics)), now_ms)
    # Given out anew, even if to the same name: what the last process had in work is void.
    connection.execute("DELETE FROM assignments WHERE group_name = ? AND member = ?", (group, name))
    _expire(connection, group, now_ms)
    _rebalance(connection, group)
    return epoch


def take_publisher_name(connection: sqlite3.Connection, name: str, now_ms: int) -> int:
    """The epoch of a publisher that belongs to no group. The process that had the name before has lost it."""
    return _take_name(connection, NO_GROUP, name, None, now_ms)


def leave(connection: sqlite3.Connection, group: str, name: str, epoch: int) -> None:
    """Leave the group, if this name is still ours."""
    left = connection.execute(
        "UPDATE members SET topics = NULL WHERE group_name = ? AND name = ? AND epoch = ?", (group, name, epoch)
    )
    if left.rowcount:
        _rebalance(connection, group)


def renew(
    connection: sqlite3.Connection, group: str, name: str, epoch: int, topics: Sequence[str], now_ms: int
) -> None:
    """Renew our lease, and end those of others that ran out. Raises Fenced."""
    check_epoch(connection, group, name, epoch)
    (active,) = connection.execute(
        "SELECT topics IS NOT NULL FROM members WHERE group_name = ? AND name = ?", (group, name)
    ).fetchone()
    connection.execute(
        "UPDATE members SET seen_ms = ?, topics = ? WHERE group_name = ? AND name = ?",
        (now_ms, json.dumps(list(topics)), group, name),
    )
    if _expire(connection, group, now_ms) or not active:
        _rebalance(connection, group)


def check_epoch(connection: sqlite3.Connection, group: str, name: str, epoch: int) -> None:
    """Raise Fenced if another process has taken the name."""
    (current,) = connection.execute(
        "SELECT epoch FROM members WHERE group_name = ? AND name = ?", (group, name)
    ).fetchone()
    if current != epoch:
        raise Fenced("another process has taken over this member's name; give each process an ECG_MEMBER of its own")


def assigned(connection: sqlite3.Connection, group: str, name: str) -> dict[TopicPartition, int]:
    """The member's partitions, each with the generation in which it came."""
    rows = connection.execute(
        "SELECT topic, partition, since FROM assignments WHERE group_name = ? AND member = ? ORDER BY topic, partition",
        (group, name),
    )
    return {TopicPartition(topic, partition): since for topic, partition, since in rows}


def share_out(
    partitions: Sequence[TopicPartition], owners: Mapping[TopicPartition, str], members: Mapping[str, frozenset[str]]
) -> dict[TopicPartition, str]:
    """Give each partition to a member that reads its topic: evenly, and leaving as many as possible where they are.

    The same arguments give the same result. `members` maps a name to its topics.
    """
    shares: dict[str, list[TopicPartition]] = {name: [] for name in sorted(members)}
    free: list[TopicPartition] = []
    for partition in sorted(partitions):
        owner = owners.get(partition, "")
        keeps = partition.topic in members.get(owner, frozenset())
        (shares[owner] if keeps else free).append(partition)
    for partition in free:
        able = [name for name in shares if partition.topic in members[name]]
        if able:
            shares[min(able, key=lambda name: len(shares[name]))].append(partition)
    while _move_one(shares, members):
        pass
    return {partition: name for name, share in shares.items() for partition in share}


def _move_one(shares: dict[str, list[TopicPartition]], members: Mapping[str, frozenset[str]]) -> bool:
    """Move one partition from a member to one with at least two fewer, if there is such a pair."""
    for giver in sorted(shares, key=lambda name: -len(shares[name])):
        for taker in sorted(shares, key=lambda name: len(shares[name])):
            if len(shares[giver]) - len(shares[taker]) < 2:
                break
            for partition in reversed(shares[giver]):
                if partition.topic in members[taker]:
                    shares[giver].remove(partition)
                    shares[taker].append(partition)
                    return True
    return False


def _take_name(connection: sqlite3.Connection, group: str, name: str, topics: str | None, now_ms: int) -> int:
    (epoch,) = connection.execute(
        "INSERT INTO members (group_name, name, epoch, topics, seen_ms) VALUES (?, ?, 1, ?, ?)"
        " ON CONFLICT DO UPDATE SET epoch = epoch + 1, topics = excluded.topics, seen_ms = excluded.seen_ms"
        " RETURNING epoch",
        (group, name, topics, now_ms),
    ).fetchone()
    return int(epoch)


def _expire(connection: sqlite3.Connection, group: str, now_ms: int) -> bool:
    """End the leases that ran out; whether there were any."""
    ended = connection.execute(
        "UPDATE members SET topics = NULL WHERE group_name = ? AND topics IS NOT NULL AND seen_ms < ?",
        (group, now_ms - LEASE_MS),
    )
    return ended.rowcount > 0


def _members(connection: sqlite3.Connection, group: str) -> dict[str, frozenset[str]]:
    rows = connection.execute(
        "SELECT name, topics FROM members WHERE group_name = ? AND topics IS NOT NULL", (group,)
    ).fetchall()
    return {name: frozenset(json.loads(topics)) for name, topics in rows}


def _partitions(connection: sqlite3.Connection, topics: frozenset[str]) -> list[TopicPartition]:
    rows = connection.execute("SELECT topic, partition FROM partitions ORDER BY topic, partition").fetchall()
    return [TopicPartition(topic, partition) for topic, partition in rows if topic in topics]


def _owners(connection: sqlite3.Connection, group: str) -> dict[TopicPartition, str]:
    rows = connection.execute("SELECT topic, partition, member FROM assignments WHERE group_name = ?", (group,))
    return {TopicPartition(topic, partition): member for topic, partition, member in rows}


def _rebalance(connection: sqlite3.Connection, group: str) -> None:
    """Give the partitions out anew, in a new generation."""
    members, owners = _members(connection, group), _owners(connection, group)
    shares = share_out(_partitions(connection, frozenset[str]().union(*members.values())), owners, members)
    (generation,) = connection.execute(
        "UPDATE groups SET generation = generation + 1 WHERE name = ? RETURNING generation", (group,)
    ).fetchone()
    for partition in owners.keys() - shares.keys():
        connection.execute(
            "DELETE FROM assignments WHERE group_name = ? AND topic = ? AND partition = ?",
            (group, partition.topic, partition.partition),
        )
    for partition, name in shares.items():
        if owners.get(partition) != name:
            connection.execute(
                "INSERT OR REPLACE INTO assignments (group_name, topic, partition, member, since)"
                " VALUES (?, ?, ?, ?, ?)",
                (group, partition.topic, partition.partition, name, generation),
            )
            records.note_start(connection, group, partition)
