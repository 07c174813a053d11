"""Many records by their coordinates, each once, with few readings of the log."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.log import LogError, Message, Record, TopicPartition
from adapters.sqlite.log import SqliteLog
from worker.history.interval import Coordinates
from worker.history.lookup import fetch_records

TOPIC = "ecg.inbound"
ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class Shelf:
    """Holds records at every offset below `held`, and remembers what it was asked to read."""

    def __init__(self, held: int = 10_000, without: frozenset[int] = frozenset()) -> None:
        self.held = held
        self.without = without
        self.readings: list[Mapping[TopicPartition, range]] = []

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[Record]:
        self.readings.append(dict(ranges))
        for partition, offsets in ranges.items():
            for offset in range(offsets.start, min(offsets.stop, self.held)):
                if offset not in self.without:
                    yield Record(TOPIC, partition.partition, offset, None, None, b"%d" % offset)


def looked_up(shelf: Any, *wanted: tuple[TopicPartition, int]) -> dict[tuple[TopicPartition, int], Record | None]:
    said = list(fetch_records(shelf, [Coordinates(*at) for at in wanted]))
    assert len({at for at, _ in said}) == len(said), "one was told twice"
    return dict(said)


def test_each_wanted_record_comes_once_with_its_own_content() -> None:
    found = looked_up(Shelf(), (ZERO, 3), (ONE, 5), (ZERO, 7), (ZERO, 3))
    assert set(found) == {(ZERO, 3), (ZERO, 7), (ONE, 5)}
    for (partition, offset), record in found.items():
        assert record is not None
        assert (record.topic_partition, record.offset, record.value) == (partition, offset, b"%d" % offset)


def test_nothing_wanted_is_nothing_read() -> None:
    shelf = Shelf()
    assert looked_up(shelf) == {}
    assert shelf.readings == []


def test_what_the_log_does_not_hold_is_none() -> None:
    shelf = Shelf(held=8, without=frozenset({4}))
    found = looked_up(shelf, (ZERO, 3), (ZERO, 4), (ZERO, 8), (ONE, 9))
    assert {offset for (_, offset), record in found.items() if record is None} == {4, 8, 9}
    assert found[ZERO, 3] is not None


def test_what_lies_near_one_another_is_read_at_once() -> None:
    shelf = Shelf()
    looked_up(shelf, (ZERO, 110), (ZERO, 10), (ZERO, 210))
    assert shelf.readings == [{ZERO: range(10, 211)}]


def test_what_lies_farther_apart_than_a_hundred_is_read_by_itself() -> None:
    shelf = Shelf()
    looked_up(shelf, (ZERO, 10), (ZERO, 111), (ZERO, 112))
    assert shelf.readings == [{ZERO: range(10, 11)}, {ZERO: range(111, 113)}]


def test_one_reading_serves_all_partitions() -> None:
    shelf = Shelf()
    found = looked_up(shelf, (ZERO, 1), (ZERO, 1000), (ONE, 2), (ONE, 2000), (ONE, 3000))
    assert len(found) == 5
    assert [sorted(reading) for reading in shelf.readings] == [[ZERO, ONE], [ZERO, ONE], [ONE]]
    assert shelf.readings[0] == {ZERO: range(1, 2), ONE: range(2, 3)}


def test_records_are_told_as_they_are_read_and_not_collected_first() -> None:
    shelf = Shelf()
    said = fetch_records(shelf, [Coordinates(ZERO, 1), Coordinates(ZERO, 1000)])  # type: ignore[arg-type] # only reading is asked for
    assert next(said)[0] == (ZERO, 1)
    assert len(shelf.readings) == 1


def test_on_a_real_log_only_what_was_committed_is_found(tmp_path: Path) -> None:
    with closing(SqliteLog(tmp_path / "log.db")) as log:
        log.create_topics({TOPIC: 1})
        log.append([Message(TOPIC, b"k", b"%d" % number) for number in range(3)])
        found = looked_up(log, (ZERO, 0), (ZERO, 2), (ZERO, 3))
        first, last = found[ZERO, 0], found[ZERO, 2]
        assert first is not None
        assert last is not None
        assert (first.value, last.value, found[ZERO, 3]) == (b"0", b"2", None)
        with pytest.raises(LogError):
            looked_up(log, (TopicPartition("nowhere", 0), 0))
