"""The ledger: nothing lost, nothing repeated, whatever the order in which work finishes."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.log import Position, Record, TopicPartition
from worker.ledger import MAX_METADATA_BYTES, MAX_OPEN_PER_PARTITION, Ledger, PartitionLedger

TP = TopicPartition("ecg.inbound", 0)


def record(offset: int) -> Record:
    return Record(TP.topic, TP.partition, offset, None, None, b"x")


def test_the_position_is_the_first_open_record() -> None:
    ledger = PartitionLedger(None)
    for offset in range(4):
        assert ledger.take(offset)
    ledger.finish(1)
    ledger.finish(3)
    assert ledger.position() == Position(0, "1:1,3")
    ledger.finish(0)
    assert ledger.position() == Position(2, "1:1")
    ledger.finish(2)
    assert ledger.position() == Position(4, "")


def test_what_was_done_beyond_the_prefix_is_not_taken_again_after_a_restart() -> None:
    ledger = Ledger()
    ledger.assign({TP: Position(5, "1:1-2,4")})
    taken = [offset for offset in range(5, 11) if ledger.take(record(offset)) is not None]
    assert taken == [5, 8, 10]


def test_gaps_in_the_offsets_do_not_hold_the_position_back() -> None:
    ledger = PartitionLedger(None)
    for offset in (3, 7, 20):
        ledger.take(offset)
        ledger.finish(offset)
    assert ledger.position() == Position(21)


def test_work_begun_before_a_revocation_no_longer_counts() -> None:
    ledger = Ledger()
    ledger.assign({TP: None})
    before = ledger.take(record(0))
    assert before is not None
    ledger.revoke({TP})
    assert not ledger.holds(TP, before)
    ledger.assign({TP: None})
    assert not ledger.holds(TP, before)
    assert ledger.take(record(0)) is not None


def test_a_record_of_a_partition_that_is_not_ours_is_not_taken() -> None:
    assert Ledger().take(record(0)) is None


def test_foreign_metadata_means_that_nothing_is_known_to_be_done() -> None:
    for metadata in ("hello", "2:1", "1:x", "1:", "1:-3"):
        ledger = PartitionLedger(Position(0, metadata))
        assert ledger.take(1)


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60, unique=True), st.randoms())
def test_a_crash_at_any_moment_repeats_nothing_and_loses_nothing(offsets: list[int], random: object) -> None:
    offsets.sort()
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined] # hypothesis' Random has no exported type
    ledger = PartitionLedger(Position(offsets[0]))
    for offset in offsets:
        assert ledger.take(offset)
    finished: set[int] = set()
    for offset in order:
        ledger.finish(offset)
        finished.add(offset)
        committed = ledger.position()
        reborn = PartitionLedger(committed)
        again = {o for o in offsets if o >= committed.offset and reborn.take(o)}
        assert again == set(offsets) - finished


def test_metadata_fits_the_log_at_the_highest_number_of_open_records() -> None:
    ledger = PartitionLedger(Position(0))
    count = 2 * MAX_OPEN_PER_PARTITION
    far = 10**9
    offsets = [far + 3 * i for i in range(count)]
    for offset in [0, *offsets]:
        ledger.take(offset)
    for offset in offsets[1::2]:
        ledger.finish(offset)
    assert ledger.open == MAX_OPEN_PER_PARTITION + 1
    assert len(ledger.position().metadata) <= MAX_METADATA_BYTES
