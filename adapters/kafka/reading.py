"""How every consumer here reads: with settings of its own, and with our reading of batches in the library's fetcher."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Final

from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer import IsolationLevel

from adapters.kafka.batches import Batch, Missing, read, split
from adapters.kafka.options import MAX_FETCH_BYTES, MAX_RECORD_BYTES, Timeouts
from adapters.log import Record, TopicPartition

# One poll brings as much at most, and the record that passes it: many small batches may inflate to a lot together.
MAX_POLL_BYTES: Final = MAX_FETCH_BYTES

MAX_OFFSET: Final = (1 << 63) - 1

# A batch that lies beyond the partition's end is fetched so many times before it is taken for damaged.
DOUBTED_FETCHES: Final = 3

# New partitions of a topic, and a topic that was made anew, are noticed after so long at most.
METADATA_AGE_S: Final = 10.0


def consumer_settings(timeouts: Timeouts) -> dict[str, Any]:
    """What every consumer here has in common: bytes, committed ones only, of any size a record may have."""
    return {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        # Records that are gone are noticed, not jumped over.
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "metadata_max_age_ms": round(METADATA_AGE_S * 1000),
        "fetch_max_bytes": MAX_FETCH_BYTES,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
        "session_timeout_ms": round(timeouts.session_s * 1000),
        # A third of the session at most, or one lost heartbeat would end it.
        "heartbeat_interval_ms": min(3000, round(timeouts.session_s * 1000 / 3)),
        "max_poll_interval_ms": round(timeouts.poll_s * 1000),
        # Kept partitions stay ours through a rebalance: their work in hand goes on.
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }


class _Budget:
    """How many bytes one poll has brought."""

    def __init__(self) -> None:
        self.spent_bytes = 0

    @property
    def is_spent(self) -> bool:
        return self.spent_bytes >= MAX_POLL_BYTES

    def spend(self, count_bytes: int) -> None:
        self.spent_bytes += count_bytes


class _Doubts:
    """Batches that begin at or beyond the end that the broker named with them, by where reading stands.

    A broker looks where its partition ends before it reads, so what is written in between lies beyond; with the next
    fetch it names a later end. Only what still lies beyond it then has a damaged offset.
    """

    def __init__(self) -> None:
        self._last: dict[Any, tuple[int, int]] = {}

    def are_over(self, name: Any, offset: int) -> bool:
        """Note one more; whether it has been so often enough."""
        at, times = self._last.get(name, (offset, 0))
        times = times + 1 if at == offset else 1
        self._last[name] = offset, times
        return times > DOUBTED_FETCHES

    def end(self, name: Any) -> None:
        """A batch of this partition lies where it may: if reading comes back here, doubting begins anew."""
        self._last.pop(name, None)


class _SafeRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # the library ships no types
    """What one fetch brought of one partition, as our records. Nothing in it raises."""

    def __init__(self, *arguments: Any, budget: _Budget, doubts: _Doubts, subscriptions: Any, **settings: Any) -> None:
        self._budget = budget
        self._doubts = doubts
        self._subscriptions = subscriptions
        super().__init__(*arguments, **settings)
        self.record_iterator: Iterator[Record | Missing]

    def take(self, n: int | None = None) -> list[Record | Missing]:
        """The next `n` records at most, fewer if they are large; or offsets that are missing."""
        taken: list[Record | Missing] = []
        for record in itertools.islice(self.record_iterator, 0, n):
            if isinstance(record, Missing):  # comes alone, or whoever counts offsets would have to look into the order
                if taken:
                    self.record_iterator = itertools.chain([record], self.record_iterator)
                else:
                    taken.append(record)
                self._budget.spend(MAX_POLL_BYTES)
            else:
                taken.append(record)
                self._budget.spend(record.size_bytes)
            if self._budget.is_spent:
                break
        return taken

    def _unpack_records(self, name: Any, records: Any, *_deserializers: Any) -> Iterator[Record | Missing]:
        partition = TopicPartition(*name)
        self.next_fetch_offset: int
        batches = list(split(memoryview(records._buffer)))
        for batch, after in itertools.pairwise([*batches, None]):
            assert batch is not None
            following = _first_offset(batch, after)
            if batch.flaw is not None:
                if following is not None and following <= self.next_fetch_offset:
                    continue  # told before
                if self.next_fetch_offset > self.fetch_offset:
                    break  # the next fetch begins with it, and brings what says where it ends
            end = self._end(name)
            is_beyond = batch.base_offset >= end
            if batch.flaw is None and is_beyond and not self._doubts.are_over(name, self.next_fetch_offset):
                break
            if not is_beyond:
                self._doubts.end(name)
            end = end if following is None else min(end, following)
            if batch.flaw is None and batch.format > 1:
                self.leader_epoch = batch.leader_epoch
            if not self._is_skipped(batch):
                self.bytes_read += len(batch.content)
                for record in read(batch, partition, self.next_fetch_offset, end, following):
                    self.records_read += 1
                    last = record.offsets.stop - 1 if isinstance(record, Missing) else record.offset
                    self.next_fetch_offset = max(self.next_fetch_offset, last + 1)
                    yield record
            if batch.flaw is not None:
                break  # it may have been a transaction's end: of what follows, the next fetch says what counts
            if not is_beyond:  # also if compaction took its last record, or it ends a transaction
                self.next_fetch_offset = max(self.next_fetch_offset, min(batch.last_offset + 1, end))
        self.drain()

    def _end(self, name: Any) -> int:
        """What the broker said of the partition's end together with these bytes, which may lie beyond it."""
        state = self._subscriptions.assignment.get(name)
        return MAX_OFFSET if state is None or state.highwater is None else int(state.highwater)

    def _is_skipped(self, batch: Batch) -> bool:
        """Whether its records do not count: of an aborted transaction, or a transaction's end."""
        if batch.flaw is not None or batch.format <= 1:
            return False
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if batch.is_abort:
                self.aborted_producer_ids.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self.aborted_producer_ids:
                return True
        return batch.is_control


def _first_offset(batch: Batch, after: Batch | None) -> int | None:
    """Where the batch after this one begins. Of the old formats only the last offset is known, so nothing of two."""
    if after is None or after.base_offset <= batch.base_offset or max(batch.format, after.format) <= 1:
        return None
    return after.base_offset


def read_safely(consumer: Any) -> None:
    """Let the consumer bring `Record` and `Missing` instead of the library's records, whatever the bytes are.

    The library raises at a codec that it does not know, at damaged bytes and at a header's name that is no UTF-8, and
    inflates without limit. One poll is bounded by bytes as well as by records.
    """
    fetcher = consumer._fetcher
    budget, doubts = _Budget(), _Doubts()
    append, fetched_records = fetcher._append, fetcher.fetched_records

    def append_within_budget(drained: Any, part: Any, most: int, update_offsets: bool) -> int:
        taken = append(drained, part, most, update_offsets)
        return most if budget.is_spent else int(taken)  # as if all that was asked for had come

    def fetched_records_within_budget(*arguments: Any, **settings: Any) -> Any:
        budget.spent_bytes = 0
        return fetched_records(*arguments, **settings)

    fetcher.PartitionRecords = functools.partial(
        _SafeRecords, budget=budget, doubts=doubts, subscriptions=consumer._subscription
    )
    fetcher._append = append_within_budget
    fetcher.fetched_records = fetched_records_within_budget
