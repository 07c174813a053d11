"""Which records lie in an interval, whatever their producers' clocks said."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.log import LogUnavailable, Message, Record, TopicPartition
from adapters.sqlite.log import SqliteLog
from cli.options import DEFAULT_SLACK_S
from worker.history.interval import OPEN, SLACK_S, Bound, Interval, IntervalError
from worker.history.scan import LATER_IN_A_ROW, Scan

TOPIC = "ecg.inbound"
TP, OTHER = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
NOW_MS = 1_764_268_000_000
MINUTE_MS = 60_000
IN_MICROSECONDS = NOW_MS * 1000
AROUND = Bound(timestamp_ms=NOW_MS - 5 * MINUTE_MS), Bound(timestamp_ms=NOW_MS + 5 * MINUTE_MS)


class Shelf:
    """A log whose records have the times that are given; None among `held` is an offset without a record."""

    every_offset_is_a_record = False

    def __init__(
        self, *held: Sequence[int | str | None], first: int = 0, fails_at: tuple[TopicPartition, int] | None = None
    ) -> None:
        self.held = {TopicPartition(TOPIC, number): times for number, times in enumerate(held)}
        self.first = first
        self.fails_at = fails_at
        self.read_to: dict[TopicPartition, int] = {}

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        return tuple(partition for partition in self.held if partition.topic == topic)

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        return self.first, len(self.held[partition])

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        times = enumerate(self.held[partition])
        return next(
            (at for at, time in times if at >= self.first and isinstance(time, int) and time >= timestamp_ms), None
        )

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[Record]:
        for partition, offsets in ranges.items():
            for offset in offsets:
                if self.fails_at == (partition, offset):
                    raise LogUnavailable("no record for 30 s")
                self.read_to[partition] = offset
                time = self.held[partition][offset]
                if offset >= self.first and time != "hole":
                    assert not isinstance(time, str)
                    yield Record(TOPIC, partition.partition, offset, time, None, b"x")


def found(shelf: Any, start: Bound, end: Bound, slack_s: float = SLACK_S, **how: Any) -> tuple[list[int], Scan]:
    scan = Scan(shelf, Interval.resolve(shelf, [TOPIC], start, end, slack_s), **how)
    return [record.offset for record in scan], scan


def test_the_slack_of_the_command_line_is_that_of_the_interval() -> None:
    assert DEFAULT_SLACK_S == SLACK_S


@pytest.mark.parametrize(
    "ahead_ms",
    [50 * MINUTE_MS, 30 * 24 * 60 * MINUTE_MS, 61 * 365 * 24 * 60 * MINUTE_MS],
    ids=["50 minutes", "a month", "the year 2087"],
)
def test_one_clock_that_is_ahead_hides_no_record(ahead_ms: int) -> None:
    times = [NOW_MS, NOW_MS + ahead_ms, NOW_MS + 2000, NOW_MS + 3000, NOW_MS + 4000]
    assert found(Shelf(times), *AROUND)[0] == [0, 2, 3, 4]


def test_a_record_in_another_unit_is_read_because_nobody_knows_its_time() -> None:
    offsets, scan = found(Shelf([NOW_MS, IN_MICROSECONDS, NOW_MS + 1, None, -1]), *AROUND)
    assert offsets == [0, 1, 2, 3, 4]
    assert scan.scanned[TP].undated == [1, 3, 4]


def test_the_first_record_is_found_behind_clocks_that_are_ahead_or_behind() -> None:
    long_ago, soon = NOW_MS - 10**9, NOW_MS + 10**9
    offsets, scan = found(Shelf([long_ago, soon, long_ago, NOW_MS, long_ago, NOW_MS + 1]), *AROUND)
    assert offsets == [3, 5]
    account = scan.scanned[TP]
    assert (account.start, account.next, account.first, account.last) == (1, 6, 3, 5)
    assert (account.inside, account.outside) == (2, 3)


@pytest.mark.parametrize(
    ("first", "start", "cut"),
    [
        (6, Bound(timestamp_ms=NOW_MS), {TP: 6}),
        (6, Bound(timestamp_ms=NOW_MS + 6), {TP: 6}),
        (6, Bound(timestamp_ms=NOW_MS + 7), {}),
        (0, Bound(timestamp_ms=0), {}),
        (6, Bound(offset=6), {}),
        (6, OPEN, {}),
    ],
)
def test_where_the_log_begins_inside_nobody_knows_what_is_gone_of_it(
    first: int, start: Bound, cut: dict[TopicPartition, int]
) -> None:
    shelf: Any = Shelf([NOW_MS + number for number in range(10)], first=first)
    assert Interval.resolve(shelf, [TOPIC], start, OPEN).cut == cut


def test_both_ends_are_judged_by_the_record_and_the_end_is_exclusive() -> None:
    start, end = 100_000, 200_000
    shelf = Shelf([start - 1, start, end - 1, end])
    assert found(shelf, Bound(timestamp_ms=start), Bound(timestamp_ms=end))[0] == [1, 2]
    assert found(shelf, Bound(timestamp_ms=start), OPEN)[0] == [1, 2, 3]
    assert found(shelf, OPEN, Bound(timestamp_ms=start))[0] == [0]
    assert found(shelf, Bound(offset=1), Bound(timestamp_ms=end))[0] == [1, 2]
    assert found(shelf, Bound(timestamp_ms=start), Bound(offset=2))[0] == [1]


def test_a_reading_ends_where_the_logs_order_shows_that_nothing_more_can_come() -> None:
    end_ms, slack_s = NOW_MS + 10_000, 3600.0
    long_after = end_ms + 3_600_000
    times = [NOW_MS, *[long_after] * (LATER_IN_A_ROW - 1), NOW_MS + 1, *[long_after] * (LATER_IN_A_ROW + 500)]
    shelf = Shelf(times)
    offsets, scan = found(shelf, Bound(timestamp_ms=NOW_MS), Bound(timestamp_ms=end_ms), slack_s)
    assert offsets == [0, LATER_IN_A_ROW]
    assert scan.scanned[TP].ended_early
    assert shelf.read_to[TP] == 2 * LATER_IN_A_ROW
    # A moment less than the slack, and all of it is read.
    shelf.held[TP] = [time - 1 if time == long_after else time for time in times if isinstance(time, int)]
    _, scan = found(shelf, Bound(timestamp_ms=NOW_MS), Bound(timestamp_ms=end_ms), slack_s)
    assert (scan.scanned[TP].ended_early, scan.scanned[TP].next) == (False, len(times))


def test_it_does_not_end_before_what_is_known_to_lie_in_the_interval() -> None:
    late = NOW_MS + 10**10
    shelf = Shelf([NOW_MS, *[late] * (2 * LATER_IN_A_ROW), NOW_MS + 1, *[late] * (2 * LATER_IN_A_ROW)])
    known = 2 * LATER_IN_A_ROW + 2
    assert found(shelf, *AROUND)[0] == [0]
    assert found(shelf, *AROUND, known={TP: known})[0] == [0, known - 1]


def test_an_interval_of_offsets_reads_what_it_names_whatever_the_times() -> None:
    shelf = Shelf([NOW_MS, IN_MICROSECONDS, None, 0, *[NOW_MS] * 2 * LATER_IN_A_ROW])
    offsets, scan = found(shelf, Bound(offset=1), Bound(offset=2000))
    assert offsets == list(range(1, 2000))
    assert scan.scanned[TP].undated == []


def test_holes_are_no_loss_and_what_the_log_let_go_meanwhile_is() -> None:
    shelf = Shelf([1, "hole", 1, 1, 1, "hole", 1])
    scan = Scan(shelf, Interval.resolve(shelf, [TOPIC], OPEN, OPEN))  # type: ignore[arg-type] # it can read
    records = iter(scan)
    assert [next(records).offset, next(records).offset] == [0, 2]
    shelf.first = 4
    assert [record.offset for record in records] == [4, 6]
    assert scan.scanned[TP].gone == [range(1, 2), range(3, 4)]  # of offset 1 nobody can say any more what it held
    assert scan.scanned[TP].holes == [5]


def test_a_partition_that_cannot_be_read_ends_the_reading_unless_it_is_to_go_on() -> None:
    shelf = Shelf([1, 2, 3], [1, 2], fails_at=(TP, 1))
    with pytest.raises(LogUnavailable):
        found(shelf, OPEN, OPEN)
    offsets, scan = found(shelf, OPEN, OPEN, go_on=True)
    assert offsets == [0, 0, 1]
    assert (scan.scanned[TP].unread, scan.scanned[TP].next) == ("no record for 30 s", 1)
    assert scan.scanned[OTHER].unread is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (Bound(offset=3), Bound(offset=2)),
        (Bound(timestamp_ms=3), Bound(timestamp_ms=2)),
        (Bound(timestamp_ms=10**15), Bound(offset=1)),  # after the last record, and before offset 1
    ],
)
def test_a_reversed_interval_is_wrong_use(start: Bound, end: Bound) -> None:
    shelf: Any = Shelf([1, 2, 3, 4])
    with pytest.raises(IntervalError, match="ends before it begins"):
        Interval.resolve(shelf, [TOPIC], start, end)
    assert IntervalError.exit_code == 2


def test_an_empty_interval_is_none_of_that() -> None:
    shelf: Any = Shelf([1, 2, 3, 4])
    for start, end in ((Bound(offset=3), Bound(offset=3)), (Bound(offset=90), Bound(offset=91))):
        assert found(shelf, start, end)[0] == []
    assert found(shelf, Bound(timestamp_ms=10**6), Bound(offset=4))[0] == []


def test_an_embedded_log_with_a_clock_that_is_set_back(tmp_path: Path) -> None:
    clock_s = 1000.0
    with closing(SqliteLog(tmp_path / "log.db", lambda: clock_s)) as log:
        log.create_topics({TOPIC: 1})
        for clock_s in (1000.0, 4000.0, 1001.0, 1002.0, 1003.0):
            log.append([Message(TOPIC, None, b"%d" % clock_s)])
        interval = Interval.resolve(log, [TOPIC], Bound(timestamp_ms=700_000), Bound(timestamp_ms=1_300_000))
        assert [record.value for record in Scan(log, interval)] == [b"1000", b"1001", b"1002", b"1003"]


def test_one_record_is_judged_as_all_are() -> None:
    interval = Interval({TP: range(3, 9)}, {}, *AROUND)
    record = Record(TOPIC, 0, 3, NOW_MS, None, b"")
    assert interval.holds(record)
    assert interval.holds(replace(record, timestamp_ms=None))
    for outside in ({"offset": 2}, {"offset": 9}, {"partition": 1}, {"timestamp_ms": NOW_MS - 10**9}):
        assert not interval.holds(replace(record, **outside))  # type: ignore[arg-type] # fields by name
