"""Rebalances as only Kafka has them: partitions that stay through one, members that keep theirs while they are away."""

import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import NewTopic
from kafka.structs import MemberState

from adapters.kafka.member import KafkaMember
from adapters.kafka.options import KafkaOptions, Timeouts
from adapters.kafka.patches import keep_finished_joins
from adapters.log import Fenced, Message, Position
from adapters.open_log import open_log
from tests.contract.worker import Worker, joined, poll_until, read_all
from tests.kafka.helpers import unique, wait_for

pytestmark = pytest.mark.kafka

DYNAMIC = KafkaOptions(timeouts=Timeouts(session_s=6))
STATIC = replace(DYNAMIC, static_member=True)


def test_a_member_that_comes_takes_its_share_and_the_rest_stays_where_it_is(kafka_url: str) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(kafka_url, DYNAMIC)) as log:
        log.create_topics({topic: 4})
        with joined(log, group, topic, "first") as first:
            poll_until(lambda: len(first.owned) == 4, first)
            before = set(first.owned)
            with joined(log, group, topic, "second") as second:
                poll_until(lambda: len(first.owned) == len(second.owned) == 2, first, second)
                # Cooperative: what moved was taken, and nothing else even for a moment.
                assert set(first.revoked) == set(second.owned)
                assert first.owned.keys() == before - second.owned.keys()


@pytest.mark.parametrize("patched", [True, False])
def test_a_leader_whose_join_ends_between_two_polls_stays_in_its_group(kafka_url: str, patched: bool) -> None:
    topic, url = unique("inbound"), kafka_url.removeprefix("kafka://")
    with closing(KafkaAdminClient(bootstrap_servers=url)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1)])
        settings = {"bootstrap_servers": url, "group_id": unique("group"), "metadata_max_age_ms": 500}
        with closing(KafkaConsumer(topic, **settings)) as consumer:
            if patched:
                keep_finished_joins(consumer)
            wait_for(lambda: consumer.poll(500) or len(consumer.assignment()) == 1)
            admin.create_partitions({topic: 2})
            wait_for(lambda: consumer.poll(1) or consumer.group_metadata().state != MemberState.STABLE)
            for _ in range(20):
                time.sleep(0.2)
                consumer.poll(1)
            # Once the library's own consumer gets both, its bug is fixed and so much of `keep_finished_joins` can go.
            assert (len(consumer.assignment()) == 2) == patched


def _consumer(worker: Worker) -> Any:
    assert isinstance(worker.member, KafkaMember)
    return worker.member._consumer


def test_a_member_reads_on_while_the_group_waits_for_a_dead_one(kafka_url: str) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    with closing(open_log(kafka_url, DYNAMIC)) as log:
        log.create_topics({topic: 4, results: 1})
        with joined(log, group, topic, "reads-on") as reads_on:
            dead = Worker(log, group, topic, "dead")
            poll_until(lambda: len(reads_on.owned) == len(dead.owned) == 2, reads_on, dead)
            _consumer(dead)._coordinator._disable_heartbeat()
            with joined(log, group, topic, "started-again") as again:
                began = time.monotonic()
                joining = lambda: _consumer(reads_on).group_metadata().state != MemberState.STABLE  # noqa: E731
                poll_until(joining, reads_on, again)
                log.append([Message(topic, b"%d" % n, b"ecg") for n in range(40)])
                ours = {partition: log.bounds(partition)[1] for partition in reads_on.owned}
                poll_until(lambda: len(reads_on.records) == sum(ours.values()), reads_on, again)
                reads_on.echo(results)
                assert time.monotonic() - began < DYNAMIC.timeouts.session_s - 1, (
                    "they came when the dead one was given up"
                )
                assert {partition: log.committed(group, partition) for partition in ours} == {
                    partition: Position(end) for partition, end in ours.items()
                }
                poll_until(lambda: len(reads_on.owned) == len(again.owned) == 2, reads_on, again)
            dead.member.close()


def test_a_dynamic_member_that_closes_hands_its_partitions_over_at_once(kafka_url: str) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(kafka_url, DYNAMIC)) as log:
        log.create_topics({topic: 4})
        with joined(log, group, topic, "stays") as stays:
            with joined(log, group, topic, "leaves") as leaves:
                poll_until(lambda: len(stays.owned) == len(leaves.owned) == 2, stays, leaves)
            left = time.monotonic()
            poll_until(lambda: len(stays.owned) == 4, stays)
            assert time.monotonic() - left < DYNAMIC.timeouts.session_s - 1


def test_a_static_member_finds_its_partitions_where_it_left_them(kafka_url: str) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(kafka_url, STATIC)) as log:
        log.create_topics({topic: 4})
        with joined(log, group, topic, "stays") as stays:
            away = Worker(log, group, topic, "comes-back")
            poll_until(lambda: len(stays.owned) == len(away.owned) == 2, stays, away)
            theirs, revoked = away.owned.keys(), len(stays.revoked)
            away.member.close()
            with joined(log, group, topic, "comes-back") as back:
                poll_until(lambda: len(back.owned) == 2, stays, back)
                assert (back.owned.keys(), len(stays.revoked), len(stays.owned)) == (theirs, revoked, 2)


def test_a_static_member_that_stays_away_loses_its_partitions_in_the_end(kafka_url: str) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(kafka_url, STATIC)) as log:
        log.create_topics({topic: 2})
        with joined(log, group, topic, "stays") as stays:
            expired = Worker(log, group, topic, "gone")
            poll_until(lambda: len(stays.owned) == len(expired.owned) == 1, stays, expired)
            expired.member.close()
            poll_until(lambda: len(stays.owned) == 2, stays)


def test_a_second_process_as_the_same_static_member_fences_the_first(kafka_url: str) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    with closing(open_log(kafka_url, STATIC)) as log:
        log.create_topics({topic: 1, results: 1})
        log.append([Message(topic, b"k", b"v")])
        first = Worker(log, group, topic, "worker-0")
        poll_until(lambda: len(first.records) == 1, first)
        with joined(log, group, topic, "worker-0") as second:
            # Also if it has nothing to publish: its heartbeat is refused.
            with pytest.raises(Fenced):
                poll_until(lambda: False, first, second)
            for _ in range(2):
                with pytest.raises(Fenced):
                    first.poll()
                with pytest.raises(Fenced):
                    first.echo(results)
            poll_until(lambda: len(second.records) == 1, second)
            second.echo(results)
        first.member.close()
        assert [record.value for record in read_all(log, results)] == [b"v"]


def test_a_static_member_that_publishes_before_its_heartbeat_is_fenced_too(kafka_url: str) -> None:
    topic, results, group = unique("inbound"), unique("results"), unique("group")
    with closing(open_log(kafka_url, STATIC)) as log:
        log.create_topics({topic: 1, results: 1})
        log.append([Message(topic, b"k", b"v")])
        first = Worker(log, group, topic, "worker-0")
        poll_until(lambda: len(first.records) == 1, first)
        first.poll()
        with joined(log, group, topic, "worker-0") as second:
            with pytest.raises(Fenced):
                first.echo(results)
            poll_until(lambda: len(second.records) == 1, second)
            second.echo(results)
        first.member.close()
        assert [record.value for record in read_all(log, results)] == [b"v"]
