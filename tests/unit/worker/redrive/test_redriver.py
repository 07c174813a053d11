"""Redriving on a real embedded log: each selected rejection once, whatever fails; the others stay open."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import (
    MAX_VALUE_BYTES,
    LogError,
    Message,
    Position,
    PublishFailed,
    Record,
    TopicPartition,
)
from adapters.sqlite.log import SqliteLog
from schemas.rejection import Reason, Rejected, Rejection
from worker.history.interval import Bound, Interval
from worker.pipeline import reject
from worker.redrive import redriver as redriving
from worker.redrive.redriver import MAX_REDRIVES, RedriveOutcome, RedrivePlan, Redriver, Refusal
from worker.redrive_headers import read_redrive
from worker.stream.envelope import result_message
from worker.stream.group_position import ExclusiveMember, ReadOnlyPosition
from worker.stream.session import PUBLISH_ATTEMPTS

INBOUND, REJECTIONS, GROUP = "ecg.inbound", "ecg.rejections", "g-redrive"
TP, AT = TopicPartition(INBOUND, 0), TopicPartition(REJECTIONS, 0)
CANARY = b"DOE^JANE^ZQXCANARY"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(tmp_path / "log.db")) as opened:
        opened.create_topics({INBOUND: 1, REJECTIONS: 1})
        yield opened


def records(log: SqliteLog, partition: TopicPartition) -> list[Record]:
    return list(log.read({partition: range(*log.bounds(partition))}))


def rejected(log: SqliteLog, *reasons: Reason) -> None:
    """Records, and a rejection of each."""
    for number, reason in enumerate(reasons):
        message = Message(INBOUND, b"k%d" % number, CANARY + b"%d" % number, (("vendor", b"v"),))
        ((_, offset),) = log.append([message])
        (record,) = log.read({TP: range(offset, offset + 1)})
        log.append([result_message(reject(record, Rejected(reason)), record, REJECTIONS)])


def rejected_again(log: SqliteLog) -> int:
    """What a worker does that finds every record broken still; how many it found."""
    standing = log.committed("worker", TP)
    start, end = standing.offset if standing else 0, log.bounds(TP)[1]
    for record in log.read({TP: range(start, end)}):
        log.append([result_message(reject(record, Rejected(Reason.PAYLOAD_UNKNOWN_FORMAT)), record, REJECTIONS)])
    with closing(log.join("worker", [INBOUND], "w")) as member:
        member.poll(0, 1)
        member.poll(0, 1)
        member.publish([], {TP: Position(end)})
    return end - start


class Unlucky(ExclusiveMember):
    """Fails the first transactions: before anything is written, or, with `late`, when everything is."""

    failures = 0
    late = False

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        if self.failures:
            type(self).failures -= 1
            if self.late:
                super().commit(messages, positions)
            raise PublishFailed("lost")
        super().commit(messages, positions)


def redrive(
    log: SqliteLog,
    *reasons: Reason,
    start: int = 0,
    end: int = 10**9,
    give_up: bool = False,
    dry_run: bool = False,
) -> list[RedriveOutcome]:
    interval = Interval.resolve(log, [REJECTIONS], Bound(offset=start), Bound(offset=end))
    plan = RedrivePlan([INBOUND], interval, frozenset(reasons), give_up)
    outcomes: list[RedriveOutcome] = []
    if dry_run:
        Redriver(log, ReadOnlyPosition(log, GROUP, log.partitions(REJECTIONS)), plan, outcomes.append).run()
        return outcomes
    with closing(log.join(GROUP, [REJECTIONS], "m")) as member:
        Redriver(log, Unlucky(member, log.partitions(REJECTIONS)), plan, outcomes.append).run()
    return outcomes


def offsets(outcomes: Sequence[RedriveOutcome]) -> list[int]:
    """Of the rejections that were settled."""
    return [outcome.rejection.offset for outcome in outcomes if outcome.refusal is None]


def refusals(outcomes: Sequence[RedriveOutcome]) -> dict[int, Refusal]:
    return {outcome.rejection.offset: outcome.refusal for outcome in outcomes if outcome.refusal}


UNKNOWN, MALFORMED = Reason.PAYLOAD_UNKNOWN_FORMAT, Reason.HL7_MALFORMED


def test_each_selected_record_comes_back_once_as_it_was(log: SqliteLog) -> None:
    rejected(log, UNKNOWN, MALFORMED, UNKNOWN)
    assert offsets(redrive(log, UNKNOWN)) == [0, 2]
    first, _, third, *back = records(log, TP)
    assert [(r.key, r.value) for r in back] == [(r.key, r.value) for r in (first, third)]
    assert [dict(r.headers)["vendor"] for r in back] == [b"v", b"v"]
    assert [mark.of.offset for r in back if (mark := read_redrive(r))] == [0, 2]
    assert redrive(log, UNKNOWN) == []
    assert offsets(redrive(log)) == [1]
    assert log.committed(GROUP, AT) == Position(3)
    assert redrive(log) == []


def test_an_interval_leaves_what_lies_outside_open(log: SqliteLog) -> None:
    rejected(log, *[UNKNOWN] * 5)
    assert offsets(redrive(log, start=2, end=4)) == [2, 3]
    assert offsets(redrive(log)) == [0, 1, 4]


def test_a_dry_run_says_the_same_and_moves_nothing(log: SqliteLog) -> None:
    rejected(log, UNKNOWN, MALFORMED)
    said = redrive(log, dry_run=True)
    assert (len(records(log, TP)), log.committed(GROUP, AT)) == (2, None)
    assert redrive(log) == said
    assert redrive(log, dry_run=True) == []


def test_a_record_rejected_again_is_a_new_rejection_until_the_limit(log: SqliteLog) -> None:
    log.append([Message(INBOUND, None, CANARY)])
    for count in range(1, MAX_REDRIVES + 1):
        assert rejected_again(log) == 1
        (outcomes,) = redrive(log)
        assert outcomes.redrive is not None
        assert (outcomes.redrive.of.offset, outcomes.redrive.count) == (0, count)
        assert redrive(log) == []
    assert rejected_again(log) == 1
    last = Rejection.model_validate_json(records(log, AT)[-1].value)
    assert last.source.redrive is not None
    assert (last.source.redrive.of.offset, last.source.redrive.count) == (0, MAX_REDRIVES)
    assert refusals(redrive(log)) == {MAX_REDRIVES: Refusal.LIMIT}
    assert len(records(log, TP)) == 1 + MAX_REDRIVES
    assert offsets(redrive(log, give_up=True)) == [MAX_REDRIVES]
    assert redrive(log) == []


def test_what_cannot_be_redriven_stays_open_and_holds_up_nothing(log: SqliteLog, tmp_path: Path) -> None:
    rejected(log, *[UNKNOWN] * 5)
    with closing(sqlite3.connect(tmp_path / "log.db")) as file, file:
        file.execute("DELETE FROM records WHERE topic = ? AND offset = 1", (INBOUND,))
        swapped = "UPDATE records SET value = ?, crc32 = NULL WHERE topic = ? AND offset = 2"
        file.execute(swapped, (CANARY, INBOUND))
        file.execute("UPDATE records SET value = ? WHERE topic = ? AND offset = 3", (CANARY, INBOUND))
    elsewhere = Record("other.inbound", 0, 0, None, None, CANARY)
    no_partition = Record(INBOUND, 7, 0, None, None, CANARY)
    for record in (elsewhere, no_partition):
        log.append([result_message(reject(record, Rejected(UNKNOWN)), record, REJECTIONS)])
    log.append([Message(REJECTIONS, None, CANARY)])
    outcomes = redrive(log)
    assert offsets(outcomes) == [0, 4]
    expected = {
        1: Refusal.GONE, 2: Refusal.DIGEST, 3: Refusal.UNREADABLE_BATCH, 5: Refusal.TOPIC, 6: Refusal.GONE,
        7: Refusal.UNREADABLE,
    }  # fmt: skip
    assert refusals(outcomes) == expected
    assert CANARY.decode() not in repr(outcomes)
    assert refusals(redrive(log)) == expected
    assert set(refusals(redrive(log, UNKNOWN))) == {1, 2, 3, 5, 6}
    assert offsets(redrive(log, give_up=True)) == [1, 2, 3, 5, 6, 7]
    assert (redrive(log), len(records(log, TP))) == ([], 6)


def test_a_record_that_the_log_would_not_take_is_refused(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(log, UNKNOWN, UNKNOWN)

    def check(messages: Sequence[Message]) -> None:
        if messages[0].key == b"k0":
            raise LogError("too large")

    monkeypatch.setattr(redriving, "check_messages", check)
    outcomes = redrive(log)
    assert (offsets(outcomes), refusals(outcomes)) == ([1], {0: Refusal.TOO_LARGE})


@pytest.mark.parametrize("late", [False, True], ids=["nothing-written", "written-nevertheless"])
def test_after_a_failed_transaction_the_committed_positions_say_what_is_done(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    rejected(log, *[UNKNOWN] * 7)
    monkeypatch.setattr(redriving, "STEP_RECORDS", 3)
    monkeypatch.setattr(Unlucky, "failures", PUBLISH_ATTEMPTS - 1)
    monkeypatch.setattr(Unlucky, "late", late)
    assert sorted(offsets(redrive(log, start=1))) == [1, 2, 3, 4, 5, 6]
    marks = [mark for record in records(log, TP) if (mark := read_redrive(record))]
    assert sorted(mark.of.offset for mark in marks) == [1, 2, 3, 4, 5, 6]
    assert offsets(redrive(log)) == [0]


def test_transactions_that_keep_failing_end_the_run(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(log, UNKNOWN)
    monkeypatch.setattr(Unlucky, "failures", PUBLISH_ATTEMPTS)
    with pytest.raises(PublishFailed):
        redrive(log)
    assert offsets(redrive(log)) == [0]


def test_a_step_is_bounded_by_bytes(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(log, *[UNKNOWN] * 6)
    monkeypatch.setattr(redriving, "STEP_BYTES", 2 * len(CANARY) + 2)
    sizes: list[int] = []
    commit = Unlucky.commit

    def counted(
        group_position: Unlucky, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]
    ) -> None:
        sizes.append(len(messages))
        commit(group_position, messages, positions)

    monkeypatch.setattr(Unlucky, "commit", counted)
    assert offsets(redrive(log)) == list(range(6))
    assert sizes == [2, 2, 2]
    assert redriving.STEP_BYTES <= MAX_VALUE_BYTES


def test_too_far_beyond_an_open_one_says_what_to_do(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.ledger.MAX_SPAN", 3)
    rejected(log, MALFORMED, *[UNKNOWN] * 5)
    with pytest.raises(LogError, match=r"ecg\.rejections/0/4 lies too far beyond ecg\.rejections/0/0.*--give-up"):
        redrive(log, UNKNOWN)
    assert len(records(log, TP)) == 6 + 3
    assert offsets(redrive(log, MALFORMED, give_up=True)) == [0]
    assert offsets(redrive(log, UNKNOWN)) == [4, 5]
    assert redrive(log) == []


def test_a_group_that_is_not_ours_alone_is_not_redriven(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(log, UNKNOWN)
    monkeypatch.setattr("worker.stream.group_position.JOIN_S", 0.3)
    with closing(log.join(GROUP, [REJECTIONS], "a")) as other:
        other.poll(0, 1)
        with pytest.raises(LogError, match="another process"):
            redrive(log)
    assert offsets(redrive(log)) == [0]


def test_every_refusal_is_explained() -> None:
    page = (Path(__file__).parents[4] / "docs" / "rejections.md").read_text(encoding="utf-8")
    for refusal in Refusal:
        assert f"| `{refusal}` | {refusal.meaning} |" in page
