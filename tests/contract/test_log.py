"""What every log must do: writing, reading, and asking where things lie."""

import time

import pytest

from adapters.log import (
    MAX_VALUE_BYTES,
    CreatedTopic,
    Headers,
    Log,
    LogError,
    Message,
    Position,
    Record,
    TopicPartition,
)
from tests.contract.conftest import OpenLog
from tests.contract.worker import read_all

MEGABYTE = 1024 * 1024


def test_a_topic_has_the_partitions_it_was_created_with(log: Log, inbound: str) -> None:
    assert log.partitions(inbound) == tuple(TopicPartition(inbound, n) for n in range(4))


def test_creating_a_topic_again_changes_nothing(log: Log, inbound: str) -> None:
    log.append([Message(inbound, b"k", b"v")])
    assert log.create_topics({inbound: 9}) == ()
    assert len(log.partitions(inbound)) == 4
    assert [record.value for record in read_all(log, inbound)] == [b"v"]


def test_creating_topics_says_which_were_made(log: Log, inbound: str) -> None:
    made = log.create_topics({inbound: 4, f"{inbound}-new": 2})
    assert made == (CreatedTopic(f"{inbound}-new", partitions=2, replicas=1),)
    assert log.create_topics({f"{inbound}-one": 1}, replicas=1) == (CreatedTopic(f"{inbound}-one", 1, 1),)


def test_a_topic_can_be_made_to_keep_its_records_for_a_time(log: Log, inbound: str) -> None:
    made = log.create_topics({f"{inbound}-kept": 1, f"{inbound}-other": 1}, keep_days={f"{inbound}-kept": 400.0})
    assert [topic.name for topic in made] == [f"{inbound}-kept", f"{inbound}-other"]
    log.append([Message(f"{inbound}-kept", b"k", b"v")])
    assert [record.value for record in read_all(log, f"{inbound}-kept")] == [b"v"]


def test_more_replicas_than_the_log_has_places_for_are_refused(log: Log, inbound: str) -> None:
    with pytest.raises(LogError, match=r"(?i)replica"):
        log.create_topics({f"{inbound}-many": 1}, replicas=3)
    with pytest.raises(LogError):
        log.partitions(f"{inbound}-many")


def test_a_missing_topic_is_an_error_wherever_it_is_named(log: Log) -> None:
    nowhere = TopicPartition("nowhere", 0)
    with pytest.raises(LogError):
        log.partitions("nowhere")
    with pytest.raises(LogError):
        log.append([Message("nowhere", b"k", b"v")])
    with pytest.raises(LogError):
        log.join("group", ["nowhere"], "worker-0")
    with pytest.raises(LogError):
        log.bounds(nowhere)
    with pytest.raises(LogError):
        log.offset_at(nowhere, 0)
    with pytest.raises(LogError):
        log.committed("group", nowhere)
    with pytest.raises(LogError):
        list(log.read({nowhere: range(1)}))


def test_a_missing_partition_is_an_error(log: Log, inbound: str) -> None:
    with pytest.raises(LogError):
        log.bounds(TopicPartition(inbound, 4))


def test_records_come_back_as_they_were_written(log: Log, inbound: str) -> None:
    headers: Headers = (("ce_id", b"1"), ("binary", bytes(range(256))), ("empty", b""), ("ce_id", b"again"))
    value = b"MSH|^~\\&|\r" + bytes(range(256))
    before_ms = round(time.time() * 1000) - 1
    ((partition, offset),) = log.append([Message(inbound, b"\x00key\xff", value, headers)])
    (record,) = read_all(log, inbound)
    assert record == Record(inbound, partition.partition, offset, record.timestamp_ms, b"\x00key\xff", value, headers)
    assert record.timestamp_ms is not None
    assert before_ms <= record.timestamp_ms <= time.time() * 1000 + 1


def test_order_within_a_partition_is_the_order_of_writing(log: Log, inbound: str) -> None:
    where = log.append([Message(inbound, b"one key", b"%d" % n) for n in range(300)])
    assert len({partition for partition, _ in where}) == 1
    assert [offset for _, offset in where] == list(range(300))
    assert [record.value for record in read_all(log, inbound)] == [b"%d" % n for n in range(300)]


def test_equal_keys_share_a_partition_and_different_keys_spread(log: Log, open_another: OpenLog, inbound: str) -> None:
    messages = [Message(inbound, b"patient-%d" % n, b"") for n in range(100)]
    first = [partition for partition, _ in log.append(messages)]
    again = [partition for partition, _ in open_another().append(messages)]
    assert first == again
    assert set(first) == set(log.partitions(inbound))


def test_a_record_may_have_no_key_and_no_content(log: Log, inbound: str) -> None:
    log.append([Message(inbound, None, b"")])
    (record,) = read_all(log, inbound)
    assert (record.key, record.value) == (None, b"")


@pytest.mark.parametrize("size", [MEGABYTE, MAX_VALUE_BYTES])
def test_large_records_pass(log: Log, inbound: str, size: int) -> None:
    value = bytes(range(256)) * (size // 256)
    log.append([Message(inbound, b"k", value), Message(inbound, b"k", b"next")])
    assert [record.value for record in read_all(log, inbound)] == [value, b"next"]


def test_a_record_beyond_the_limit_is_refused(log: Log, inbound: str) -> None:
    with pytest.raises(LogError, match="too large"):
        log.append([Message(inbound, b"k", bytes(MAX_VALUE_BYTES + 1))])
    assert read_all(log, inbound) == []


def test_bounds_are_the_first_and_the_next_offset(log: Log, inbound: str) -> None:
    empty = log.partitions(inbound)[0]
    assert log.bounds(empty) == (0, 0)
    where = log.append([Message(inbound, b"k", b"%d" % n) for n in range(3)])
    assert log.bounds(where[0][0]) == (0, 3)


def test_an_offset_is_found_by_time(log: Log, inbound: str) -> None:
    ((partition, _),) = log.append([Message(inbound, b"k", b"0")])
    (first,) = read_all(log, inbound)
    assert first.timestamp_ms is not None
    while round(time.time() * 1000) <= first.timestamp_ms + 1:
        time.sleep(0.001)
    log.append([Message(inbound, b"k", b"1")])
    assert log.offset_at(partition, 0) == 0
    assert log.offset_at(partition, first.timestamp_ms) == 0
    assert log.offset_at(partition, first.timestamp_ms + 1) == 1
    assert log.offset_at(partition, first.timestamp_ms + 3_600_000) is None


def test_reading_is_limited_to_the_ranges(log: Log, inbound: str) -> None:
    ((partition, _), *_) = log.append([Message(inbound, b"k", b"%d" % n) for n in range(10)])
    other = next(p for p in log.partitions(inbound) if p != partition)
    read = log.read({partition: range(3, 6), other: range(5)})
    assert [(record.offset, record.value) for record in read] == [(3, b"3"), (4, b"4"), (5, b"5")]


def test_reading_beyond_the_end_ends_there(log: Log, inbound: str) -> None:
    ((partition, _),) = log.append([Message(inbound, b"k", b"v")])
    assert [record.value for record in log.read({partition: range(1000)})] == [b"v"]
    assert list(log.read({partition: range(5, 1000)})) == []
    assert list(log.read({})) == []


def test_reading_moves_no_position(log: Log, inbound: str, group: str) -> None:
    ((partition, _),) = log.append([Message(inbound, b"k", b"v")])
    read_all(log, inbound)
    assert log.committed(group, partition) is None


def test_two_connections_see_the_same_log(log: Log, open_another: OpenLog, inbound: str) -> None:
    open_another().append([Message(inbound, b"k", b"v")])
    assert [record.value for record in read_all(log, inbound)] == [b"v"]


def test_a_publisher_writes_all_or_nothing(log: Log, findings: str) -> None:
    publisher = log.publisher(f"publisher-of-{findings}")
    publisher.publish([Message(findings, b"%d" % n, b"%d" % n) for n in range(20)])
    with pytest.raises(LogError):
        publisher.publish([Message(findings, b"k", b"lost"), Message(findings, b"k", bytes(MAX_VALUE_BYTES + 1))])
    publisher.publish([Message(findings, b"k", b"last")])
    publisher.close()
    values = [record.value for record in read_all(log, findings)]
    assert sorted(values) == sorted([b"%d" % n for n in range(20)] + [b"last"])


def test_positions_are_none_for_a_group_that_never_was(log: Log, inbound: str) -> None:
    committed: list[Position | None] = [log.committed("nobody", partition) for partition in log.partitions(inbound)]
    assert committed == [None] * 4
