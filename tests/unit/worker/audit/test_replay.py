"""An interval, and a member that shows it to the loop."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message, PublishFailed, Record, TopicPartition
from adapters.sqlite.log import SqliteLog
from tests.support import results
from worker.audit.replay import IntervalMember
from worker.history.interval import Bound, Interval
from worker.stream.stop import Stop

TP = TopicPartition("ecg.inbound", 0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(tmp_path / "log.db", Clock())) as opened:
        opened.create_topics({"ecg.inbound": 1, "ecg.audit": 1})
        for number in range(6):
            opened.append([Message("ecg.inbound", None, b"%d" % number)])
        yield opened


class FlakyPublisher:
    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.published: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        if self.failures:
            self.failures -= 1
            raise PublishFailed("lost")
        self.published += messages

    def close(self) -> None: ...


def test_bounds_are_offsets_or_times_and_fixed_at_the_start(log: SqliteLog) -> None:
    by_offset = Interval.resolve(log, "ecg.inbound", Bound(offset=1), Bound(offset=100))
    assert by_offset.ranges == {TP: range(1, 6)}
    times = [record.timestamp_ms for record in log.read({TP: range(6)})]
    by_time = Interval.resolve(log, "ecg.inbound", Bound(timestamp_ms=times[2]), Bound(timestamp_ms=times[4]))
    assert by_time.ranges == {TP: range(2, 4)}
    log.append([Message("ecg.inbound", None, b"late")])
    assert by_offset.ranges == {TP: range(1, 6)}


def test_what_the_log_no_longer_holds_is_named(log: SqliteLog, tmp_path: Path) -> None:
    delete(tmp_path, "offset < 2")
    interval = Interval.resolve(log, "ecg.inbound", Bound(offset=0), Bound(offset=6))
    assert (interval.ranges, interval.expired) == ({TP: range(2, 6)}, {TP: range(2)})


def delete(folder: Path, where: str) -> None:
    """Records vanish as retention or compaction takes them."""
    import sqlite3

    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        connection.execute(f"DELETE FROM records WHERE topic = 'ecg.inbound' AND {where}")


def replay(log: SqliteLog, publisher: FlakyPublisher) -> tuple[IntervalMember, list[int]]:
    interval = Interval.resolve(log, "ecg.inbound", Bound(offset=0), Bound(offset=6))
    ended = Stop(float("inf"), drain_queue=True)
    member = IntervalMember(log, interval, publisher, ended)
    assert member.poll(0, 1).assigned == {TP: None}
    offsets = []
    while not ended.is_set():
        offsets += [record.offset for record in member.poll(0, 1).records]
    return member, offsets


def test_every_record_of_the_interval_is_read_once_and_holes_are_named(log: SqliteLog, tmp_path: Path) -> None:
    delete(tmp_path, "offset IN (2, 3, 5)")
    member, offsets = replay(log, FlakyPublisher(0))
    assert offsets == [0, 1, 4]
    assert member.replayed.gaps == {TP: [2, 3, 5]}


def test_a_paused_replay_reads_nothing(log: SqliteLog) -> None:
    interval = Interval.resolve(log, "ecg.inbound", Bound(offset=0), Bound(offset=6))
    member = IntervalMember(log, interval, FlakyPublisher(0), Stop(float("inf"), drain_queue=True))
    member.poll(0, 1)
    member.pause(frozenset({TP}))
    assert member.poll(0, 1).records == ()
    member.resume(frozenset({TP}))
    assert len(member.poll(0, 1).records) == 1


def test_results_are_published_again_until_they_are_committed(log: SqliteLog) -> None:
    value = results.finding(Record(TP.topic, TP.partition, 4, 0, None, b"x")).to_json()
    for failures, survives in ((2, True), (9, False)):
        publisher = FlakyPublisher(failures)
        member = IntervalMember(log, Interval({TP: range(6)}, {}), publisher, Stop(float("inf"), drain_queue=True))
        if survives:
            member.publish([Message("ecg.audit", None, value)], {})
            assert list(member.replayed.results) == [(TP, 4)]
        else:
            with pytest.raises(PublishFailed):
                member.publish([Message("ecg.audit", None, value)], {})
        assert len(publisher.published) == survives
