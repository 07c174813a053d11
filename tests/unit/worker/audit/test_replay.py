"""An interval, and a member that shows it to the loop."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message, PublishFailed, Record, TopicPartition
from adapters.sqlite.log import SqliteLog
from tests.support import results
from worker.audit.replay import REFUSED_IN_A_ROW, IntervalMember
from worker.history.interval import Bound, Interval
from worker.history.scan import Scan
from worker.stream.session import PUBLISH_ATTEMPTS
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
    def __init__(self, failures: int, refuses: bytes = b"") -> None:
        self.failures = failures
        self.refuses = refuses
        self.published: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        if self.failures:
            self.failures -= 1
            raise PublishFailed("lost")
        if self.refuses in [message.value for message in messages]:
            raise PublishFailed("too large for the topic")
        self.published += messages

    def close(self) -> None: ...


def test_bounds_are_offsets_or_times_and_fixed_at_the_start(log: SqliteLog) -> None:
    by_offset = Interval.resolve(log, ["ecg.inbound"], Bound(offset=1), Bound(offset=100))
    assert by_offset.ranges == {TP: range(1, 6)}
    times = [record.timestamp_ms for record in log.read({TP: range(6)})]
    by_time = Interval.resolve(log, ["ecg.inbound"], Bound(timestamp_ms=times[2]), Bound(timestamp_ms=times[4]))
    assert [record.offset for record in Scan(log, by_time)] == [2, 3]
    log.append([Message("ecg.inbound", None, b"late")])
    assert by_offset.ranges == {TP: range(1, 6)}


def test_what_the_log_no_longer_holds_is_named(log: SqliteLog, tmp_path: Path) -> None:
    delete(tmp_path, "offset < 2")
    interval = Interval.resolve(log, ["ecg.inbound"], Bound(offset=0), Bound(offset=6))
    assert (interval.ranges, interval.expired) == ({TP: range(2, 6)}, {TP: range(2)})


def delete(folder: Path, where: str) -> None:
    """Records vanish as retention or compaction takes them."""
    import sqlite3

    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        connection.execute(f"DELETE FROM records WHERE topic = 'ecg.inbound' AND {where}")


def replay(log: SqliteLog, publisher: FlakyPublisher) -> tuple[IntervalMember, list[int]]:
    interval = Interval.resolve(log, ["ecg.inbound"], Bound(offset=0), Bound(offset=6))
    ended = Stop(float("inf"), drain_queue=True)
    member = IntervalMember(log, interval, publisher, ended)
    assert member.poll(0, 1).assigned == {TP: None}
    offsets = []
    while not ended.is_set():
        offsets += [record.offset for record in member.poll(0, 1).records]
    return member, offsets


@pytest.mark.parametrize("is_lost", [False, True])
def test_every_record_of_the_interval_is_read_once_and_holes_are_named(
    log: SqliteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    monkeypatch.setattr(SqliteLog, "every_offset_is_a_record", is_lost)
    delete(tmp_path, "offset IN (2, 3, 5)")
    member, offsets = replay(log, FlakyPublisher(0))
    assert offsets == [0, 1, 4]
    assert member.replayed.gaps == ({} if is_lost else {TP: [2, 3, 5]})
    assert member.replayed.scanned[TP].gone == ([range(2, 4), range(5, 6)] if is_lost else [])


def test_a_paused_replay_reads_nothing(log: SqliteLog) -> None:
    interval = Interval.resolve(log, ["ecg.inbound"], Bound(offset=0), Bound(offset=6))
    member = IntervalMember(log, interval, FlakyPublisher(0), Stop(float("inf"), drain_queue=True))
    member.poll(0, 1)
    member.pause(frozenset({TP}))
    assert member.poll(0, 1).records == ()
    member.resume(frozenset({TP}))
    assert len(member.poll(0, 1).records) == 1


def result(offset: int) -> Message:
    record = Record(TP.topic, TP.partition, offset, 0, None, b"x")
    return Message("ecg.audit", None, results.finding(record).to_json())


def member_of(log: SqliteLog, publisher: FlakyPublisher) -> IntervalMember:
    return IntervalMember(log, Interval({TP: range(6)}, {}), publisher, Stop(float("inf"), drain_queue=True))


def test_results_are_published_again_until_they_are_committed(log: SqliteLog) -> None:
    publisher = FlakyPublisher(2)
    member = member_of(log, publisher)
    member.publish([result(4)], {})
    assert list(member.replayed.results) == [(TP, 4)]
    assert publisher.published == [result(4)]
    assert member.replayed.unpublished == []


def test_a_result_that_the_log_does_not_take_is_left_out_named_and_compared(log: SqliteLog) -> None:
    publisher = FlakyPublisher(0, refuses=result(1).value)
    member = member_of(log, publisher)
    member.publish([result(0), result(1), result(2)], {})
    member.publish([result(1)], {})
    member.publish([result(3)], {})
    assert [message.value for message in publisher.published] == [result(offset).value for offset in (0, 2, 3)]
    assert sorted(member.replayed.results) == [(TP, offset) for offset in range(4)]
    assert member.replayed.unpublished == [(TP, 1), (TP, 1)]


def test_a_log_that_takes_nothing_ends_the_replay(log: SqliteLog) -> None:
    publisher = FlakyPublisher(10**6)
    with pytest.raises(PublishFailed):
        member_of(log, publisher).publish([result(offset) for offset in range(500)], {})
    assert 10**6 - publisher.failures == PUBLISH_ATTEMPTS + REFUSED_IN_A_ROW


def test_a_result_of_ours_that_cannot_be_read_back_is_counted_and_ends_nothing(log: SqliteLog) -> None:
    member = member_of(log, FlakyPublisher(0))
    member.publish([Message("ecg.audit", None, b"{}"), result(2)], {})
    assert (member.replayed.unreadable, list(member.replayed.results)) == (1, [(TP, 2)])


def test_records_outside_are_passed_over_without_holding_up_the_loop(log: SqliteLog) -> None:
    interval = Interval.resolve(log, ["ecg.inbound"], Bound(timestamp_ms=0), Bound(timestamp_ms=1_002_500))
    ended = Stop(float("inf"), drain_queue=True)
    member = IntervalMember(log, interval, FlakyPublisher(0), ended)
    member.poll(0, 1)
    polls = [member.poll(0, 1).records for _ in range(7)]
    assert [[record.offset for record in records] for records in polls] == [[0], [1], [], [], [], [], []]
    assert ended.is_set()
    assert (member.replayed.read, member.replayed.passed) == (2, 6)
