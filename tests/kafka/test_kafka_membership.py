"""Rebalances as only Kafka has them: partitions that stay through one, members that keep theirs while they are away."""

import time
from contextlib import closing
from dataclasses import replace

import pytest

from adapters.kafka_options import KafkaOptions, Timeouts
from adapters.log import Fenced, Message
from adapters.logs import open_log
from tests.contract.worker import Worker, joined, poll_until
from tests.kafka.helpers import unique

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
            gone = Worker(log, group, topic, "gone")
            poll_until(lambda: len(stays.owned) == len(gone.owned) == 1, stays, gone)
            gone.member.close()
            poll_until(lambda: len(stays.owned) == 2, stays)


def test_a_second_process_as_the_same_static_member_fences_the_first(kafka_url: str) -> None:
    topic, group = unique("inbound"), unique("group")
    with closing(open_log(kafka_url, STATIC)) as log:
        log.create_topics({topic: 1})
        log.append([Message(topic, b"k", b"v")])
        first = Worker(log, group, topic, "worker-0")
        poll_until(lambda: len(first.owned) == 1, first)
        with joined(log, group, topic, "worker-0") as second:
            with pytest.raises(Fenced):
                poll_until(lambda: False, first, second)
            poll_until(lambda: len(second.owned) == 1, second)
        first.member.close()
