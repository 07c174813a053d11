"""What every log must do for the members of a group: partitions, positions, transactions, fencing."""

import time
from collections import Counter
from threading import Thread

import pytest

from adapters.deadline import Deadline
from adapters.log import MAX_METADATA_BYTES, Fenced, Log, LogError, Message, Position, PublishFailed, TopicPartition
from tests.contract.conftest import OpenLog
from tests.contract.worker import Worker, joined, poll_until, read_all


def fill(log: Log, topic: str, count: int = 20) -> list[bytes]:
    """Write records over all partitions and return their values, sorted."""
    values = sorted(b"ecg-%03d" % n for n in range(count))
    log.append([Message(topic, value, value) for value in values])
    return values


def test_one_member_gets_every_partition_and_every_record(log: Log, inbound: str, group: str) -> None:
    values = fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == len(values), worker)
        assert worker.owned == dict.fromkeys(log.partitions(inbound))
        assert worker.values() == values


def test_a_poll_brings_no_more_records_than_asked_for(log: Log, inbound: str, group: str) -> None:
    values = fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.owned) == 4, worker)
        while len(worker.records) < len(values):
            assert len(worker.poll(1.0, max_records=3)) <= 3
        assert worker.values() == values


def test_an_idle_poll_waits_about_as_long_as_asked(log: Log, inbound: str, group: str) -> None:
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.owned) == 4, worker)
        worker.poll(0.1)
        started = time.monotonic()
        assert worker.poll(0.3) == ()
        assert 0.25 < time.monotonic() - started < 5


def test_results_and_positions_are_committed_together(log: Log, inbound: str, findings: str, group: str) -> None:
    values = fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == len(values), worker)
        assert read_all(log, findings) == []
        assert [log.committed(group, p) for p in log.partitions(inbound)] == [None] * 4
        worker.echo(findings, metadata="done beyond: 17,19 \u00b5")
    assert sorted(record.value for record in read_all(log, findings)) == values
    for partition in log.partitions(inbound):
        assert log.committed(group, partition) == Position(log.bounds(partition)[1], "done beyond: 17,19 \u00b5")


def test_a_successor_starts_at_the_committed_position_and_is_told_the_note(
    log: Log, open_another: OpenLog, inbound: str, findings: str, group: str
) -> None:
    fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 20, worker)
        worker.echo(findings, metadata="note")
    fresh = [Message(inbound, b"%d" % n, b"fresh-%d" % n) for n in range(8)]
    log.append(fresh)
    with joined(open_another(), group, inbound, "worker-1") as successor:
        poll_until(lambda: len(successor.records) >= len(fresh), successor)
        assert successor.values() == sorted(message.value for message in fresh)
        assert {p for p in successor.owned.values() if p and p.metadata == "note"}


def test_a_publish_of_only_positions_or_only_messages_is_fine(
    log: Log, inbound: str, findings: str, group: str
) -> None:
    fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 20, worker)
        partition = worker.records[0].topic_partition
        worker.member.publish([], {partition: Position(1)})
        worker.member.publish([Message(findings, b"k", b"v")], {})
    assert log.committed(group, partition) == Position(1, "")
    assert [record.value for record in read_all(log, findings)] == [b"v"]


def test_a_refused_publish_leaves_no_trace(log: Log, inbound: str, findings: str, group: str) -> None:
    fill(log, inbound)
    foreign = TopicPartition(findings, 0)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 20, worker)
        ours = worker.records[0].topic_partition
        with pytest.raises(PublishFailed):
            worker.member.publish([Message(findings, b"k", b"v")], {ours: Position(1), foreign: Position(1)})
        with pytest.raises(LogError):
            worker.member.publish([Message(findings, b"k", b"v")], {ours: Position(1, "x" * (MAX_METADATA_BYTES + 1))})
        with pytest.raises(LogError):
            worker.member.publish([Message(findings, b"k", b"v"), Message("nowhere", b"k", b"v")], {ours: Position(1)})
        assert log.committed(group, ours) is None
        assert read_all(log, findings) == []
        worker.member.rewind()
        worker.records = []
        poll_until(lambda: len(worker.records) == 20, worker)
        worker.echo(findings)
    assert len(read_all(log, findings)) == 20


def test_rewind_brings_everything_since_the_committed_position_again(
    log: Log, inbound: str, findings: str, group: str
) -> None:
    values = fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 20, worker)
        first = worker.records[0]
        worker.member.publish([], {first.topic_partition: Position(first.offset + 1, "note")})
        worker.records = []
        worker.member.rewind()
        poll_until(lambda: len(worker.records) == 19, worker)
        assert sorted(worker.revoked) == sorted(log.partitions(inbound))
        assert worker.owned[first.topic_partition] == Position(first.offset + 1, "note")
        assert worker.values() == sorted(set(values) - {first.value})
        worker.echo(findings)
        assert worker.poll(0.3) == ()


def test_paused_partitions_bring_nothing_until_resumed(log: Log, inbound: str, group: str) -> None:
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.owned) == 4, worker)
        paused = frozenset(log.partitions(inbound)[:2])
        worker.member.pause(paused)
        values = fill(log, inbound)
        for _ in range(5):
            worker.poll(0.1)
        assert not {record.topic_partition for record in worker.records} & paused
        assert len(worker.records) < len(values)
        worker.member.resume(paused)
        poll_until(lambda: len(worker.records) == len(values), worker)
        assert worker.values() == values


def test_partitions_assigned_again_are_not_paused(log: Log, inbound: str, group: str) -> None:
    values = fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.owned) == 4, worker)
        worker.member.pause(frozenset(worker.owned))
        worker.member.rewind()
        worker.records = []
        poll_until(lambda: len(worker.records) == len(values), worker)


def test_two_members_share_and_the_one_that_stays_takes_over(
    log: Log, open_another: OpenLog, inbound: str, findings: str, group: str
) -> None:
    with joined(log, group, inbound, "worker-0") as stays:
        poll_until(lambda: len(stays.owned) == 4, stays)
        with joined(open_another(), group, inbound, "worker-1") as leaves:
            poll_until(lambda: len(stays.owned) == len(leaves.owned) == 2, stays, leaves)
            assert sorted(stays.revoked) == sorted(leaves.owned)
            values = fill(log, inbound)
            poll_until(lambda: len(stays.records) + len(leaves.records) == len(values), stays, leaves)
            done = leaves.values()
            leaves.echo(findings, metadata="by worker-1")
        started = time.monotonic()
        poll_until(lambda: len(stays.owned) == 4, stays)
        assert time.monotonic() - started < 15
        assert sum(p is not None and p.metadata == "by worker-1" for p in stays.owned.values()) == 2
        stays.echo(findings)
        assert stays.poll(0.3) == ()
    assert sorted(record.value for record in read_all(log, findings)) == values
    assert done


def test_positions_of_a_partition_that_moved_away_are_refused(
    log: Log, open_another: OpenLog, inbound: str, findings: str, group: str
) -> None:
    fill(log, inbound)
    with joined(log, group, inbound, "worker-0") as first:
        poll_until(lambda: len(first.records) == 20, first)
        with joined(open_another(), group, inbound, "worker-1") as second:
            poll_until(lambda: len(first.owned) == len(second.owned) == 2, first, second)
            with pytest.raises(PublishFailed):
                first.echo(findings)
            poll_until(lambda: bool(second.records), first, second)
            second.echo(findings)
    assert [log.committed(group, p) is not None for p in sorted(first.revoked)] == [True, True]
    assert {record.value for record in read_all(log, findings)} < {b"ecg-%03d" % n for n in range(20)}


def test_a_second_process_with_the_name_fences_the_first(
    log: Log, open_another: OpenLog, inbound: str, findings: str, group: str
) -> None:
    fill(log, inbound)
    with joined(log, group, inbound, "worker-0") as first:
        poll_until(lambda: len(first.records) == 20, first)
        with joined(open_another(), group, inbound, "worker-0") as second:
            for _ in range(2):
                with pytest.raises(Fenced):
                    first.echo(findings)
            assert read_all(log, findings) == []
            first.member.close()
            poll_until(lambda: len(second.records) == 20, second)
            second.echo(findings)
    assert len(read_all(log, findings)) == 20


def test_a_second_publisher_with_the_name_fences_the_first(log: Log, open_another: OpenLog, findings: str) -> None:
    name = f"publisher-of-{findings}"
    first = log.publisher(name)
    first.publish([Message(findings, b"k", b"first")])
    second = open_another().publisher(name)
    with pytest.raises(Fenced):
        first.publish([Message(findings, b"k", b"zombie")])
    second.publish([Message(findings, b"k", b"second")])
    assert [record.value for record in read_all(log, findings)] == [b"first", b"second"]
    first.close()
    second.close()


def test_large_records_reach_a_member(log: Log, inbound: str, group: str) -> None:
    log.append([Message(inbound, b"%d" % n, bytes([n]) * 1024 * 1024) for n in range(8)])
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 8, worker)
        assert worker.values() == [bytes([n]) * 1024 * 1024 for n in range(8)]


def test_publishing_in_one_thread_while_another_polls(log: Log, inbound: str, findings: str, group: str) -> None:
    fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.records) == 20, worker)
        partition = worker.records[0].topic_partition
        failures: list[LogError] = []

        def publish() -> None:
            try:
                for n in range(50):
                    worker.member.publish([Message(findings, b"k", b"%d" % n)], {partition: Position(n)})
            except LogError as error:
                failures.append(error)

        publishing = Thread(target=publish)
        publishing.start()
        while publishing.is_alive():
            worker.poll(0.01)
    assert failures == []
    assert [record.value for record in read_all(log, findings)] == [b"%d" % n for n in range(50)]
    assert log.committed(group, partition) == Position(49)


def test_closing_takes_no_time(log: Log, inbound: str, group: str) -> None:
    worker = Worker(log, group, inbound)
    poll_until(lambda: len(worker.owned) == 4, worker)
    started = time.monotonic()
    worker.member.close()
    assert time.monotonic() - started < 10


def test_a_member_knows_how_much_it_has_left_to_read(log: Log, inbound: str, group: str) -> None:
    fill(log, inbound)
    with joined(log, group, inbound) as worker:
        poll_until(lambda: len(worker.owned) == 4, worker)
        worker.member.pause(frozenset(worker.owned))
        read = Counter(record.partition for record in worker.records)
        ends = {partition: log.bounds(partition)[1] for partition in log.partitions(inbound)}
        assert worker.member.behind() == {part: end - read[part.partition] for part, end in ends.items()}
        worker.member.resume(frozenset(worker.owned))
        poll_until(lambda: len(worker.records) == 20, worker)
        assert set(worker.member.behind().values()) == {0}


def test_a_partition_that_was_paused_and_resumed_brings_all_its_records(log: Log, inbound: str, group: str) -> None:
    fill(log, inbound)
    with joined(log, group, inbound) as worker:
        while not worker.poll(max_records=1):
            pass
        begun = frozenset(record.topic_partition for record in worker.records)
        worker.member.pause(begun)
        others = set(worker.owned) - begun
        poll_until(lambda: not any(worker.member.behind().get(other, 1) for other in others), worker)
        worker.member.resume(begun)
        poll_until(lambda: len(worker.records) == 20, worker)


def test_leaving_ends_by_the_deadline(log: Log, inbound: str, group: str) -> None:
    worker = Worker(log, group, inbound)
    poll_until(lambda: len(worker.owned) == 4, worker)
    began = time.monotonic()
    worker.member.close(Deadline(5))
    assert time.monotonic() - began < 15
    with joined(log, group, inbound, "worker-1") as successor:
        poll_until(lambda: len(successor.owned) == 4, successor)
