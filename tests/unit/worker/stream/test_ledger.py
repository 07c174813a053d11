"""The ledger: nothing lost, nothing repeated, whatever the order in which work finishes."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.log import MAX_METADATA_BYTES, Position, Record, TopicPartition
from worker.stream.ledger import MAX_SPAN, PartitionLedger

TP = TopicPartition("ecg.inbound", 0)


def record(offset: int) -> Record:
    return Record(TP.topic, TP.partition, offset, None, None, b"x")


def ledger_with(taken: range, finished: list[int], start: int = 0) -> PartitionLedger:
    ledger = PartitionLedger(Position(start))
    assert all(ledger.take(offset) for offset in taken)
    assert all(ledger.finish(offset) for offset in finished)
    return ledger


def left_after(position: Position, offsets: range) -> list[int]:
    """What a restart from this position would work on."""
    reborn = PartitionLedger(position)
    return [offset for offset in offsets if offset >= position.offset and reborn.take(offset)]


def test_the_position_is_the_first_open_record() -> None:
    ledger = ledger_with(range(4), [1, 3])
    assert ledger.position().offset == 0
    assert left_after(ledger.position(), range(6)) == [0, 2, 4, 5]
    assert ledger.finish(0)
    assert ledger.position().offset == 2
    assert left_after(ledger.position(), range(6)) == [2, 4, 5]
    assert ledger.finish(2)
    assert ledger.position() == Position(4, "")
    assert ledger.open == 0


def test_what_was_done_beyond_the_prefix_is_not_taken_again_after_a_restart() -> None:
    ledger = PartitionLedger(ledger_with(range(5, 10), [6, 7, 9], start=5).position())
    assert [offset for offset in range(5, 11) if ledger.take(offset)] == [5, 8, 10]


def test_gaps_in_the_offsets_do_not_hold_the_position_back() -> None:
    ledger = PartitionLedger(None)
    for offset in (3, 7, 20):
        assert ledger.take(offset)
        assert ledger.finish(offset)
    assert ledger.position() == Position(21)


def test_foreign_metadata_means_that_nothing_is_known_to_be_done() -> None:
    for metadata in ("hello", "1:1-2", "2:", "2:x", "2:AAAA", "2:é"):
        assert PartitionLedger(Position(0, metadata)).take(1)


@given(st.text(max_size=200))
def test_any_metadata_can_be_read(metadata: str) -> None:
    assert PartitionLedger(Position(3, "2:" + metadata)).position().offset == 3


def test_metadata_fits_the_log_however_work_was_finished() -> None:
    drawn = random.Random(6)
    ledger = ledger_with(range(MAX_SPAN + 1), [])
    for offset in range(1, MAX_SPAN + 1):
        if drawn.random() < 0.5:  # nothing to deflate
            assert ledger.finish(offset)
    assert 4000 < len(ledger.position().metadata) <= MAX_METADATA_BYTES


def test_little_done_beyond_the_prefix_takes_little_room() -> None:
    assert len(ledger_with(range(100), [3, 4, 5, 40]).position().metadata) < 30
    assert len(ledger_with(range(MAX_SPAN), [MAX_SPAN - 1]).position().metadata) < 60


def test_a_result_too_far_ahead_waits_until_earlier_ones_are_done() -> None:
    ledger = ledger_with(range(2), [])
    assert ledger.take(MAX_SPAN + 1)
    assert not ledger.finish(MAX_SPAN + 1)
    assert (ledger.open, ledger.position()) == (3, Position(0))
    assert ledger.finish(0)
    assert ledger.finish(MAX_SPAN + 1)
    assert left_after(ledger.position(), range(MAX_SPAN + 3)) == [1, *range(2, MAX_SPAN + 1), MAX_SPAN + 2]


def test_it_is_full_before_results_would_have_to_wait() -> None:
    ledger = PartitionLedger(None)
    offset = 0
    while not ledger.full:
        assert ledger.take(offset)
        offset += 1
    assert offset < MAX_SPAN - 500, "what one more poll brings must have room"
    assert ledger.finish(0)
    assert not ledger.full


class WorkersOfOnePartition(RuleBasedStateMachine):
    """One partition read by one worker after another, which commit, crash and lose it whenever they like.

    Meanwhile the log lets go of records that were not read. Beside the ledger stands what a reader of results would
    see: each commit adds results and moves the position, both or neither.
    """

    @initialize(offsets=st.lists(st.integers(0, 3 * MAX_SPAN), min_size=1, max_size=60, unique=True))
    def begin(self, offsets: list[int]) -> None:
        self.offsets = sorted(offsets)
        self.committed: Position | None = None
        self.visible: list[int] = []
        self.first_held = 0
        self.take_over()

    def take_over(self) -> None:
        self.ledger = PartitionLedger(self.committed)
        start = self.committed.offset if self.committed else 0
        self.unread = [offset for offset in self.offsets if offset >= start]
        self.open: dict[int, list[int]] = {}  # by the offset that is to be finished: what its result tells of
        self.lose()

    def lose(self) -> None:
        """Hear of what the log let go."""
        gone = range(self.ledger.next, self.first_held)
        if not gone:
            return
        told = {lost.start: [offset for offset in self.offsets if offset in lost] for lost in self.ledger.lose(gone)}
        open_offsets = {offset for offsets in told.values() for offset in offsets}
        assert not open_offsets & set(self.visible), "done, and told as lost"
        assert {offset for offset in self.offsets if offset in gone} <= open_offsets | set(self.visible)
        self.open |= told
        self.unread = [offset for offset in self.unread if offset not in gone]

    @rule(count=st.integers(1, 5))
    def retention(self, count: int) -> None:
        """It takes a few that were not read."""
        if self.unread:
            self.first_held = self.unread[:count][-1] + 1
            self.lose()

    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        taken, self.unread = self.unread[:count], self.unread[count:]
        for offset in taken:
            if self.ledger.take(offset):
                assert offset not in self.visible, "done, and done again"
                self.open[offset] = [offset]
            else:
                assert offset in self.visible, "skipped, and not done"

    @rule(chosen=st.randoms(use_true_random=False), count=st.integers(1, 20), succeeds=st.booleans())
    def commit(self, chosen: random.Random, count: int, succeeds: bool) -> None:
        batch = chosen.sample(sorted(self.open), min(count, len(self.open)))
        recorded = [offset for offset in sorted(batch) if self.ledger.finish(offset)]
        position = self.ledger.position()
        assert len(position.metadata) <= MAX_METADATA_BYTES
        if succeeds:
            self.committed = position
            self.visible += [offset for finished in recorded for offset in self.open.pop(finished)]
        else:
            self.take_over()

    @rule()
    def crash_or_revocation(self) -> None:
        self.take_over()

    @invariant()
    def nothing_is_repeated(self) -> None:
        assert len(set(self.visible)) == len(self.visible)

    @invariant()
    def nothing_before_the_position_is_missing(self) -> None:
        if self.committed:
            assert {offset for offset in self.offsets if offset < self.committed.offset} <= set(self.visible)

    def teardown(self) -> None:
        if not hasattr(self, "offsets"):
            return
        self.take_over()
        self.read(len(self.offsets))
        while self.open:  # the first open one can always be committed, so this ends
            self.commit(random.Random(0), len(self.open), succeeds=True)
        assert sorted(self.visible) == self.offsets


TestWorkersOfOnePartition = WorkersOfOnePartition.TestCase
TestWorkersOfOnePartition.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
