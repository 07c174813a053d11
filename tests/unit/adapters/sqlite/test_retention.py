"""What an embedded log lets go of, when, and who is told."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import LogError, LogUnavailable, Message, Position, TopicPartition
from adapters.sqlite import retention
from adapters.sqlite.database import connect
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.member import PRUNE_S
from adapters.sqlite.retention import FORGOTTEN_DAYS, Cut, Retention, plan, prune_step
from tests.contract.worker import Worker, joined, read_all
from tests.unit.adapters.sqlite.test_log import Clock

DAY_S = 24 * 3600
MEGABYTE = 1024 * 1024
ONE = TopicPartition("inbound", 0)
Open = Callable[[Retention], SqliteLog]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pruned() -> list[Cut]:
    return []


@pytest.fixture
def open_log(path: Path, clock: Clock, pruned: list[Cut]) -> Iterator[Open]:
    """Opens the log, with one partition a topic, as a process with this retention would."""
    opened: list[SqliteLog] = []

    def another(kept: Retention) -> SqliteLog:
        opened.append(SqliteLog(path, clock, kept, pruned.extend))
        opened[-1].create_topics({"inbound": 1, "findings": 1})
        return opened[-1]

    yield another
    for log in opened:
        log.close()


def fill(log: SqliteLog, count: int, topic: str = "inbound", size_bytes: int = 10) -> None:
    for _ in range(count):
        log.append([Message(topic, b"k", bytes(size_bytes))])


def commit(worker: Worker, offset: int, at: TopicPartition = ONE) -> None:
    worker.member.publish([], {at: Position(offset)})


def settle(worker: Worker, clock: Clock) -> None:
    """Poll until there is nothing more to prune."""
    for _ in range(50):
        worker.poll(0)
    clock.now_s += PRUNE_S + 1
    worker.poll(0)


def offsets(log: SqliteLog, topic: str = "inbound") -> list[int]:
    return [record.offset for record in read_all(log, topic)]


@pytest.mark.parametrize("bounds", [(0, None), (-1, None), (None, 0), (None, -5)])
def test_a_bound_that_is_none_is_refused(bounds: tuple[int | None, int | None]) -> None:
    with pytest.raises(LogError, match="more than 0"):
        Retention(*bounds)


def test_without_a_bound_everything_stays(open_log: Open, clock: Clock, pruned: list[Cut]) -> None:
    log = open_log(Retention())
    fill(log, 3)
    clock.now_s += 10_000 * DAY_S
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        worker.poll(0)
        commit(worker, 3)
        settle(worker, clock)
    assert (offsets(log), pruned) == ([0, 1, 2], [])


def test_what_is_old_and_read_goes_and_what_is_young_or_unread_stays(
    open_log: Open, clock: Clock, pruned: list[Cut]
) -> None:
    log = open_log(Retention(keep_days=7))
    fill(log, 5)
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        worker.poll(0)
        commit(worker, 3)
        clock.now_s += 7 * DAY_S - PRUNE_S - 1
        fill(log, 1)
        settle(worker, clock)
        assert offsets(log) == [0, 1, 2, 3, 4, 5]  # of seven days now, and not older
        settle(worker, clock)
        assert offsets(log) == [3, 4, 5]
        assert log.bounds(ONE) == (3, 6)
        assert [(cut.partition, cut.offsets, cut.records, len(cut.unread)) for cut in pruned] == [(ONE, range(3), 3, 0)]
        commit(worker, 6)
        settle(worker, clock)
        assert offsets(log) == [5]


def test_a_topic_that_nobody_reads_goes_by_age_alone(open_log: Open, clock: Clock) -> None:
    log = open_log(Retention(keep_days=1))
    fill(log, 4, "findings")
    with joined(log, "group", "inbound") as worker:
        clock.now_s += 2 * DAY_S
        settle(worker, clock)
    assert offsets(log, "findings") == []
    assert log.bounds(TopicPartition("findings", 0)) == (4, 4)
    fill(log, 1, "findings")
    assert offsets(log, "findings") == [4]  # a number is not given twice


@pytest.mark.parametrize(("away_days", "held"), [(FORGOTTEN_DAYS - 1, True), (FORGOTTEN_DAYS + 1, False)])
def test_a_group_that_was_given_up_holds_nothing_for_ever(
    open_log: Open, clock: Clock, away_days: float, held: bool, pruned: list[Cut]
) -> None:
    log = open_log(Retention(keep_days=1))
    with joined(log, "given-up", "inbound") as gone:
        gone.poll(0)
        gone.poll(0)
        fill(log, 3)
        commit(gone, 1)
    clock.now_s += away_days * DAY_S
    with joined(log, "other", "findings") as worker:
        settle(worker, clock)
        assert offsets(log) == ([1, 2] if held else [])
    back = log.join("given-up", ["inbound"], "worker-0")
    back.poll(0, 10)
    polled = back.poll(0, 10)
    assert dict(polled.gone) == ({} if held else {ONE: range(1, 3)})
    assert [record.offset for record in polled.records] == ([1, 2] if held else [])
    back.close()


def test_a_group_that_never_committed_has_everything_to_read_since_it_came(open_log: Open, clock: Clock) -> None:
    log = open_log(Retention(keep_days=1))
    fill(log, 1)
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        fill(log, 2)
        clock.now_s += 5 * DAY_S
        settle(worker, clock)
    assert offsets(log) == [0, 1, 2]


def test_a_group_of_the_version_before_is_not_robbed(open_log: Open, clock: Clock, path: Path) -> None:
    log = open_log(Retention(keep_days=1))
    fill(log, 2)
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM starts")  # which that version does not write
        clock.now_s += 5 * DAY_S
        settle(worker, clock)
    assert offsets(log) == [0, 1]


def test_bytes_take_the_oldest_of_all_topics_and_read_ones_first(
    open_log: Open, clock: Clock, pruned: list[Cut]
) -> None:
    log = open_log(Retention(keep_bytes=3 * MEGABYTE))
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        worker.poll(0)
        for n in range(40):
            fill(log, 1, ("inbound", "findings")[n % 2], size_bytes=100_000)
            clock.now_s += 1
        commit(worker, 20)
        settle(worker, clock)
        held, said = offsets(log), offsets(log, "findings")
        assert 10 < len(held) < 16
        assert abs(len(held) - len(said)) <= 1  # one period of both
        assert not any(cut.unread for cut in pruned)
        commit(worker, held[0])
        fill(log, 10, size_bytes=100_000)
        settle(worker, clock)
        assert offsets(log) == list(range(held[0], 30))  # what is unread outlives what is younger and read
        assert len(offsets(log, "findings")) < len(said)


def test_what_bytes_force_out_unread_is_said_by_the_pruner_and_to_the_group(
    open_log: Open, clock: Clock, pruned: list[Cut]
) -> None:
    log = open_log(Retention(keep_bytes=MEGABYTE))
    with joined(log, "slow", "inbound") as slow:
        slow.poll(0)
        slow.poll(0)
        fill(log, 20, size_bytes=100_000)
        commit(slow, 2)
        slow.member.rewind()
        slow.poll(0)
        with joined(log, "other", "findings") as worker:
            settle(worker, clock)
        first = log.bounds(ONE)[0]
        assert first > 2
        assert sum(len(cut.unread) for cut in pruned) == first - 2
        assert {cut.group for cut in pruned if cut.unread} == {"slow"}
        polled = slow.member.poll(0, 100)
        assert dict(polled.gone) == {ONE: range(2, first)}
        assert [record.offset for record in polled.records] == list(range(first, 20))
        assert slow.member.poll(0, 100).gone == {}  # once


def test_records_that_went_while_all_others_were_read_are_told_too(open_log: Open, clock: Clock, path: Path) -> None:
    log = open_log(Retention())
    fill(log, 3)
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM records")
        polled = worker.member.poll(0, 10)
        assert (dict(polled.gone), polled.records) == ({ONE: range(3)}, ())
        assert worker.member.behind() == {ONE: 0}
        fill(log, 1)
        assert [record.offset for record in worker.member.poll(0, 10).records] == [3]


def test_a_gap_among_records_is_told_between_them(open_log: Open, path: Path) -> None:
    log = open_log(Retention())
    fill(log, 6)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM records WHERE offset IN (2, 3)")
    member = log.join("group", ["inbound"], "worker-0")
    member.poll(0, 10)
    before, after = member.poll(0, 10), member.poll(0, 10)
    assert ([record.offset for record in before.records], before.gone) == ([0, 1], {})
    assert ([record.offset for record in after.records], after.gone) == ([4, 5], {ONE: range(2, 4)})
    member.close()


def test_a_new_group_begins_with_the_first_record_and_misses_none(open_log: Open, clock: Clock) -> None:
    log = open_log(Retention(keep_days=1))
    fill(log, 3)
    clock.now_s += 2 * DAY_S
    with joined(log, "other", "findings") as worker:
        settle(worker, clock)
    fill(log, 1)
    member = log.join("new", ["inbound"], "worker-0")
    assert member.poll(0, 10).assigned == {ONE: None}
    polled = member.poll(0, 10)
    assert ([record.offset for record in polled.records], polled.gone) == ([3], {})
    member.close()


def test_a_busy_file_is_pruned_later(open_log: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(Retention(keep_days=1))
    fill(log, 2, "findings")
    clock.now_s += 2 * DAY_S

    def busy(*_: object) -> tuple[Cut, ...]:
        raise LogUnavailable("another process kept the file locked for too long")

    with joined(log, "group", "inbound") as worker:
        with monkeypatch.context() as patched:
            patched.setattr("adapters.sqlite.member.prune_step", busy)
            worker.poll(0)
        worker.poll(0)
        assert len(offsets(log, "findings")) == 2  # not at once again
        clock.now_s += PRUNE_S
        worker.poll(0)
        assert offsets(log, "findings") == []


def test_a_step_is_short_and_there_are_as_many_as_it_takes(open_log: Open, clock: Clock, path: Path) -> None:
    log = open_log(Retention())
    log.append([Message("findings", b"k", b"v") for _ in range(2 * retention.STEP_RECORDS + 1)])
    log.append([Message("inbound", b"k", bytes(MEGABYTE)) for _ in range(6)])
    clock.now_s += 2 * DAY_S
    kept, now_ms = Retention(keep_days=1), round(clock.now_s * 1000)
    with closing(connect(path)) as connection:
        whole = plan(connection, kept, now_ms)
        steps: list[Sequence[Cut]] = []
        while cuts := prune_step(connection, kept, now_ms):
            steps.append(cuts)
    assert {cut.partition.topic: cut.records for cut in whole} == {"findings": 1001, "inbound": 6}
    assert [sum(cut.records for cut in step) for step in steps] == [500, 500, 1 + 4, 2]


def test_what_was_pruned_cannot_be_found_in_the_file(open_log: Open, clock: Clock, path: Path) -> None:
    log = open_log(Retention(keep_days=1))
    log.append([Message("findings", b"k", b"SMITH^JOHN" * 1000)])
    clock.now_s += 2 * DAY_S
    with joined(log, "group", "inbound") as worker:
        settle(worker, clock)
    log.close()
    assert b"SMITH" not in path.read_bytes()


def test_the_file_stays_below_its_bytes_and_free_space_is_used_again(
    open_log: Open, clock: Clock, path: Path, pruned: list[Cut]
) -> None:
    bound = 5 * MEGABYTE
    log = open_log(Retention(keep_bytes=bound))
    sizes: list[int] = []
    with joined(log, "group", "inbound") as worker:
        worker.poll(0)
        for _ in range(200):
            log.append([Message("inbound", b"k", bytes(20_000)) for _ in range(5)])
            worker.poll(0)
            worker.echo("findings")
            clock.now_s += PRUNE_S + 1
            sizes.append(path.stat().st_size)
    assert max(sizes) <= bound
    assert min(sizes[100:]) == max(sizes[100:])  # flat
    assert not any(cut.unread for cut in pruned)
    assert log.bounds(ONE)[1] == 1000
