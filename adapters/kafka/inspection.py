"""What can be seen of a cluster before a worker joins it: rights that are missing, transactions that hold readers up,
topics that do not keep what they are given, topics that a group has left unread.

A reader of committed records stops at the first record of a transaction that is still open. An open one is normal for
as long as a transaction may take. It is *overdue* when its coordinator should have ended it and did not, *fenced* when
another producer has taken its transactional id over and its records are still undecided, and *hanging* when no
coordinator will ever end it (KIP-664). Nothing here changes anything.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
    for_code,
)

from adapters.deadline import Deadline
from adapters.kafka.client import connect_first, request, translate_errors
from adapters.kafka.options import KafkaOptions
from adapters.kafka.topic_configs import TopicReport, read_topics
from adapters.log import TopicPartition

T = TypeVar("T")

ANSWER_LIMIT_S: Final = 30.0
# Coordinators look for transactions to end every 10 s, and clocks differ a little.
GRACE_S: Final = 15.0
# A transaction that was seen while it ended is over by then.
SECOND_LOOK_S: Final = 1.0
ENDED: Final = frozenset({"Empty", "CompleteCommit", "CompleteAbort", "Dead"})


@dataclass(frozen=True, slots=True)
class Coordinated:
    """A transaction as its coordinator knows it. `started_s` is on the coordinator's clock."""

    transactional_id: str
    state: str
    epoch: int
    started_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What seems wrong with an open transaction; not `certain` if it may as well be a young one of somebody else."""

    text: str
    certain: bool = True


def suspicion(producer_id: int, epoch: int, known: Coordinated | None, now_s: float) -> Suspicion | None:
    """What seems wrong with an open transaction; None if it is young and its producer is the current one."""
    if known is None:
        return Suspicion(
            f"hanging: producer {producer_id} is known to no coordinator, or has a transactional id without Describe "
            "for us",
            certain=False,
        )
    name = f"transactional id {known.transactional_id}"
    if epoch < known.epoch:
        return Suspicion(f"fenced: {name}, epoch {epoch}, was taken over by epoch {known.epoch}, and is still open")
    if known.state in ENDED:
        return Suspicion(f"hanging: {name}, over for its coordinator ({known.state})")
    age_s = now_s - known.started_s
    if age_s > known.timeout_s + GRACE_S:
        return Suspicion(f"overdue: {name}, {known.state} for {age_s:.0f} s; {known.timeout_s:.0f} s are allowed")
    return None


class KafkaInspection:
    """Looks at a cluster with the rights of the worker. Not thread-safe."""

    def __init__(self, servers: Sequence[str], options: KafkaOptions) -> None:
        """Connect. Raises LogUnavailable if no broker answers, LogError if it refuses us."""
        self._patience_s = options.timeouts.transaction_s + GRACE_S
        with translate_errors("connecting"):
            self._admin = connect_first(KafkaAdminClient, options.client_settings(list(servers)))

    def missing_rights(
        self, reads: Sequence[str], writes: Sequence[str], group: str, transactional_id: str
    ) -> tuple[str, ...]:
        """The rights that a worker needs and does not have, as whoever grants them would word them.

        Of the transactional id, and of a group that does not exist yet, only Describe can be seen, which Write and Read
        include: a worker that has the one without the other is refused when it starts.
        """
        wanted = [("READ", topic) for topic in reads] + [("WRITE", topic) for topic in writes]
        with translate_errors("looking at rights"):
            missing = [f"{right.capitalize()} on topic {topic}" for right, topic in self._missing(wanted)]
            if not self._may_read_group(group):
                missing.append(f"Read on group {group}")
            if not self._may_describe(transactional_id):
                missing.append(f"Write on transactional id {transactional_id}")
        return tuple(missing)

    def stuck_transactions(self, topics: Sequence[str]) -> tuple[str, ...]:
        """The transactions that hold up readers of these topics and will not end soon, one line each.

        Those whose owner we may not see are given as long as a transaction of ours may take.
        """
        rights = {TopicAuthorizationFailedError: f"Describe on topic {', '.join(topics)}"}
        with translate_errors("looking at transactions", rights):
            return tuple(line for topic in topics for line in self._stuck_in(topic))

    def topics(self, keep_days: Mapping[str, float]) -> TopicReport:
        """How the topics are set that exist; their records have to be kept for so many days."""
        with translate_errors("looking at topics"):
            return read_topics(self._admin, self._request, keep_days)

    def unread_elsewhere(self, group: str, topics: Collection[str]) -> dict[TopicPartition, range]:
        """The offsets that are still held, and that the group has not read, where it has a position on other topics.

        Not every offset is a record. Of a group, or a topic, without Describe for us nothing is said.
        """
        with translate_errors("looking at the positions of the group"):
            try:
                found = self._request(lambda: self._admin.list_group_offsets({group: None}))[group]
            except GroupAuthorizationFailedError:
                return {}
            at = {name: position.offset for name, position in found.items() if name.topic not in topics}
            ranges: dict[Any, range] = {}
            for topic in sorted({name.topic for name in at}):
                with suppress(TopicAuthorizationFailedError):
                    # Not those of a topic that was deleted: to ask for their offsets would take until the time is up.
                    names = [name for name in self._partitions(topic) if at.get(name, -1) >= 0]
                    first, end = self._starts(names), self._ends(names, "read_committed")
                    ranges |= {name: range(max(at[name], first[name]), end[name]) for name in names}
        return {TopicPartition(*name): offsets for name, offsets in ranges.items() if offsets}

    def close(self) -> None:
        """Close every connection."""
        self._admin.close()

    def _request(self, send: Callable[[], T]) -> T:
        return request(Deadline(ANSWER_LIMIT_S), send)

    def _missing(self, wanted: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        topics = sorted({topic for _, topic in wanted})
        found = self._request(lambda: self._admin.describe_topics(topics))
        rights: dict[str, Sequence[str]] = {}
        for topic in found:
            refused = for_code(topic["error_code"]) is TopicAuthorizationFailedError
            rights[topic["name"]] = () if refused else topic["authorized_operations"]
        return [(right, topic) for right, topic in wanted if right not in rights[topic]]

    def _may_read_group(self, group: str) -> bool:
        try:
            found = self._request(lambda: self._admin.describe_groups([group]))[group]
        except GroupAuthorizationFailedError:
            return False
        rights = found["authorized_operations"]
        return rights is None or "READ" in rights  # a group that nobody has joined yet has none to show

    def _may_describe(self, transactional_id: str) -> bool:
        try:
            self._request(lambda: self._admin.describe_transactions([transactional_id]))
        except TransactionalIdAuthorizationFailedError:
            return False
        except TransactionalIdNotFoundError:  # never used yet
            return True
        return True

    def _stuck_in(self, topic: str) -> list[str]:
        stuck: list[str] = []
        began = time.monotonic()
        suspects = self._suspects(topic)
        while suspects:
            time.sleep(SECOND_LOOK_S)
            seen = self._suspects(topic)
            suspects = {coordinates: seen[coordinates] for coordinates in suspects if coordinates in seen}
            patient = time.monotonic() - began >= self._patience_s
            ripe = [coordinates for coordinates, suspected in suspects.items() if suspected.certain or patient]
            stuck += [
                f"{topic}/{coordinates[0]} from offset {coordinates[1]} is undecided, {suspects.pop(coordinates).text}"
                for coordinates in ripe
            ]
        return sorted(stuck)

    def _suspects(self, topic: str) -> dict[tuple[int, int], Suspicion]:
        """What seems wrong, by partition and first undecided offset."""
        undecided = self._undecided(topic)
        if not undecided:
            return {}
        try:
            found = self._request(lambda: self._admin.describe_producers(list(undecided)))
            open_in = {
                name.partition: [item for item in state.active_producers if item.current_transaction_start_offset >= 0]
                for name, state in found.items()
            }
            known = self._coordinated({item.producer_id for producers in open_in.values() for item in producers})
        except (TopicAuthorizationFailedError, IncompatibleBrokerVersion, UnsupportedVersionError):
            unseen = Suspicion(f"by whom cannot be seen without Read on topic {topic}", certain=False)
            return {(name.partition, offset): unseen for name, offset in undecided.items()}
        suspects: dict[tuple[int, int], Suspicion] = {}
        for partition, producers in open_in.items():
            for item in producers:
                found_wrong = suspicion(item.producer_id, item.producer_epoch, known.get(item.producer_id), time.time())
                if found_wrong is not None:
                    suspects[partition, item.current_transaction_start_offset] = found_wrong
        return suspects

    def _undecided(self, topic: str) -> dict[Any, int]:
        """The partitions whose last stable offset lies before their end, with that offset."""
        names = self._partitions(topic)
        stable, end = self._ends(names, "read_committed"), self._ends(names, "read_uncommitted")
        return {name: stable[name] for name in names if stable[name] < end[name]}

    def _partitions(self, topic: str) -> list[Any]:
        """The topic's partitions, as the library names them; none if there is no such topic."""
        (described,) = self._request(lambda: self._admin.describe_topics([topic]))
        error = for_code(described["error_code"])
        if error is UnknownTopicOrPartitionError:
            return []
        if described["error_code"] != 0:
            raise error()
        return [KafkaTopicPartition(topic, item["partition_index"]) for item in described["partitions"]]

    def _starts(self, names: Sequence[Any]) -> dict[Any, int]:
        return self._offsets(dict.fromkeys(names, OffsetSpec.EARLIEST), "read_committed")

    def _ends(self, names: Sequence[Any], isolation_level: str) -> dict[Any, int]:
        return self._offsets(dict.fromkeys(names, OffsetSpec.LATEST), isolation_level)

    def _offsets(self, wanted: Mapping[Any, Any], isolation_level: str) -> dict[Any, int]:
        if not wanted:
            return {}
        found = self._request(lambda: self._admin.list_partition_offsets(wanted, isolation_level=isolation_level))
        return {name: at.offset for name, at in found.items()}

    def _coordinated(self, producer_ids: set[int]) -> Mapping[int, Coordinated]:
        """What the coordinators know of these producers, as far as we may see it."""
        if not producer_ids:
            return {}
        listed = self._request(lambda: self._admin.list_transactions(producer_id_filters=sorted(producer_ids)))
        names = sorted({item.transactional_id for of_broker in listed.values() for item in of_broker})
        found = self._request(lambda: self._admin.describe_transactions(names)) if names else {}
        return {
            item.producer_id: Coordinated(
                name, item.state.value, item.producer_epoch, item.transaction_start_time_ms / 1000,
                item.transaction_timeout_ms / 1000,
            )
            for name, item in found.items()
        }  # fmt: skip
