"""Where a member reads on, told by a consumer and a cluster that are made up."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from kafka.errors import KafkaTimeoutError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from adapters.deadline import Deadline
from adapters.kafka import places
from adapters.kafka.member import KafkaMember
from adapters.kafka.places import HEARSAY_S, Places, from_note, to_kafka, to_note
from adapters.log import Position, TopicPartition

PARTITION = TopicPartition("inbound", 0)
NAME = to_kafka(PARTITION)
OLD, NEW = UUID(int=1), UUID(int=2)


class Cluster:
    """What the consumer knows of topics."""

    def __init__(self, topic_id: UUID | None) -> None:
        self.id = topic_id
        self.news = SimpleNamespace(is_done=True)
        self.asked = 0

    def topic_id(self, _topic: str) -> UUID | None:
        return self.id

    def request_update(self) -> Any:
        self.asked += 1
        return self.news


class Consumer:
    """A consumer of one partition, without a broker."""

    def __init__(self, committed: OffsetAndMetadata | None, first: int = 0, end: int = 100) -> None:
        self._committed, self.first, self.end = committed, first, end
        self.at: int | str = "nowhere"
        self.answers = True

    def committed(self, _name: Any, metadata: bool, timeout_ms: float) -> OffsetAndMetadata | None:
        assert metadata
        assert timeout_ms > 0
        return self._committed

    def seek(self, _name: Any, offset: int) -> None:
        self.at = offset

    def seek_to_beginning(self, _name: Any) -> None:
        self.at = "the beginning"

    def position(self, _name: Any, timeout_ms: float) -> int:
        assert timeout_ms == 0
        assert isinstance(self.at, int)
        return self.at

    def beginning_offsets(self, names: list[Any], timeout_ms: float) -> dict[Any, int]:
        if not self.answers:
            raise KafkaTimeoutError
        return dict.fromkeys(names, self.first)

    def end_offsets(self, names: list[Any], timeout_ms: float) -> dict[Any, int]:
        return dict.fromkeys(names, self.end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(places, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def _settled(consumer: Consumer, cluster: Cluster) -> Places:
    settled = Places(consumer, cluster)
    settled.settle(PARTITION, Deadline(10))
    return settled


def _refuse(settled: Places, offset: int) -> places.Moved:
    settled.lose(OffsetOutOfRangeError({NAME: offset}))
    return settled.find([PARTITION], Deadline(10))


def test_a_note_of_the_callers_own_is_committed_as_it_is() -> None:
    assert to_note("2:abc", str(OLD)) == "2:abc"
    assert from_note("2:abc") == ("2:abc", None)


def test_the_topics_id_is_committed_where_there_is_no_note_and_never_shown() -> None:
    note = to_note("", str(OLD))
    assert not note.startswith("2:")  # which the version before this one takes for done records
    assert from_note(note) == ("", str(OLD))
    assert (to_note("", None), from_note("")) == ("", ("", None))


@pytest.mark.parametrize(
    ("note", "now", "position", "at"),
    [
        (to_note("", str(OLD)), OLD, Position(40), 40),
        ("2:abc", OLD, Position(40, "2:abc"), 40),
        ("", OLD, Position(40), 40),
        (to_note("", str(OLD)), None, Position(40), 40),  # a broker without ids, or a topic that is away
        (to_note("", str(OLD)), UUID(int=0), Position(40), 40),
        (to_note("", str(OLD)), NEW, None, "the beginning"),
    ],
)
def test_a_partition_begins_where_the_group_stands_unless_the_topic_is_another(
    note: str, now: UUID | None, position: Position | None, at: int | str
) -> None:
    consumer = Consumer(OffsetAndMetadata(40, note, -1))
    settled = Places(consumer, Cluster(now))
    assert settled.settle(PARTITION, Deadline(10)) == (position, position is None)
    assert consumer.at == at


def test_a_group_without_a_position_begins_at_the_first_record() -> None:
    consumer = Consumer(None)
    assert Places(consumer, Cluster(OLD)).settle(PARTITION, Deadline(10)) == (None, False)
    assert consumer.at == "the beginning"


def test_a_topic_whose_positions_went_with_it_is_known_by_whoever_read_it() -> None:
    consumer, cluster = Consumer(None), Cluster(OLD)
    settled = _settled(consumer, cluster)
    settled.forget([PARTITION])
    assert settled.settle(PARTITION, Deadline(10)) == (None, False)
    settled.forget([PARTITION])
    cluster.id = NEW
    assert settled.settle(PARTITION, Deadline(10)) == (None, True)


def test_a_topic_that_is_made_again_while_it_is_read_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    consumer, cluster = Consumer(OffsetAndMetadata(40, "", -1)), Cluster(OLD)
    settled = _settled(consumer, cluster)
    settled.vouch([PARTITION])
    cluster.id = None
    assert not settled.find([PARTITION], Deadline(10)).remade  # it is away
    cluster.id = NEW
    assert settled.find([PARTITION], Deadline(10)).remade == {PARTITION}
    assert (consumer.at, settled.topic_id(PARTITION)) == ("the beginning", str(NEW))
    assert not settled.find([PARTITION], Deadline(10)).remade
    assert "inbound partition 0: the topic was deleted and made again" in caplog.text


def test_what_retention_took_is_gone_and_reading_goes_on_behind_it() -> None:
    consumer = Consumer(OffsetAndMetadata(40, "", -1), first=60)
    assert _refuse(_settled(consumer, Cluster(OLD)), 40).gone == {PARTITION: range(40, 60)}
    assert consumer.at == 60


def test_a_place_beyond_the_end_of_nobody_knows_which_topic_is_another_topics() -> None:
    consumer = Consumer(OffsetAndMetadata(140, "", -1))
    assert _refuse(_settled(consumer, Cluster(OLD)), 140).remade == {PARTITION}
    assert consumer.at == "the beginning"


def test_a_place_beyond_the_end_of_the_same_topic_was_truncated_once_that_is_sure(clock: list[float]) -> None:
    consumer, cluster = Consumer(OffsetAndMetadata(140, to_note("", str(OLD)), -1)), Cluster(OLD)
    settled = _settled(consumer, cluster)
    moved = _refuse(settled, 140)
    assert not (moved.remade or moved.truncated or moved.gone)
    clock[0] += HEARSAY_S
    assert _refuse(settled, 140).truncated == {PARTITION: Position(100)}
    assert consumer.at == 100
    assert cluster.asked == 2


def test_a_place_beyond_the_end_is_another_topics_if_that_is_heard_in_time(clock: list[float]) -> None:
    consumer, cluster = Consumer(OffsetAndMetadata(140, to_note("", str(OLD)), -1)), Cluster(OLD)
    settled = _settled(consumer, cluster)
    _refuse(settled, 140)
    clock[0] += HEARSAY_S
    cluster.id = NEW
    moved = _refuse(settled, 140)
    assert (moved.remade, moved.truncated) == ({PARTITION}, {})


def test_nothing_is_said_of_a_lost_place_before_the_broker_has_answered() -> None:
    consumer, cluster = Consumer(OffsetAndMetadata(140, "", -1)), Cluster(OLD)
    settled = _settled(consumer, cluster)
    cluster.news.is_done = False
    assert not _refuse(settled, 140).remade
    cluster.news.is_done, consumer.answers = True, False
    assert not _refuse(settled, 140).remade
    consumer.answers = True
    assert _refuse(settled, 140).remade


def test_a_lost_place_is_forgotten_where_the_group_stands_elsewhere() -> None:
    consumer = Consumer(OffsetAndMetadata(80, "", -1), first=60)
    settled = _settled(consumer, Cluster(OLD))
    settled.lose(OffsetOutOfRangeError({NAME: 40}))
    settled.settle(PARTITION, Deadline(10))
    assert (settled.find([PARTITION], Deadline(10)), consumer.at) == (places.Moved(), 80)


def test_a_place_that_is_there_after_all_is_kept() -> None:
    consumer = Consumer(OffsetAndMetadata(40, "", -1))
    settled = _settled(consumer, Cluster(OLD))
    consumer.at = 40
    settled.lose(LogTruncationError({NAME: OffsetAndMetadata(7, "", 3)}))
    moved = settled.find([PARTITION], Deadline(10))
    assert (moved, consumer.at) == (places.Moved(), 40)


def test_a_refused_place_that_brings_records_after_all_is_not_gone_back_to() -> None:
    """A leader that has just come up may be behind. What it gave next was read twice."""
    consumer, cluster = Consumer(OffsetAndMetadata(40, "", -1)), Cluster(OLD)
    member = object.__new__(KafkaMember)  # one that has joined its group long ago
    member._places, member._rights = _settled(consumer, cluster), {}
    cluster.news.is_done = False
    member._places.lose(OffsetOutOfRangeError({NAME: 40}))
    assert member._find({PARTITION}, set()) == places.Moved()
    cluster.news.is_done = True
    consumer.at = 43  # as the library's poll leaves it that brought 40 to 42
    assert member._find({PARTITION}, {PARTITION}) == places.Moved()
    assert consumer.at == 43


def test_a_truncated_log_is_not_believed_to_say_where_to_go_on() -> None:
    """A topic that was made again looks the same to the broker, and its records before that place would be missed."""
    consumer = Consumer(OffsetAndMetadata(40, "", -1), end=7)
    settled = _settled(consumer, Cluster(OLD))
    settled.lose(LogTruncationError({NAME: OffsetAndMetadata(7, "", 3)}))
    assert settled.find([PARTITION], Deadline(10)).remade == {PARTITION}
    assert consumer.at == "the beginning"
