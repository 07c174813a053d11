"""Whatever of one topic waits in the log, every topic is read, within one bound for all."""

from collections.abc import Sequence

import pytest

from worker.stream.limits import Limits
from worker.stream.read_ahead import Held, ReadAhead

TOPICS = ("stat", "asap", "routine")
LIMITS = Limits(read_ahead=2000, read_ahead_bytes=2_000_000)


def read_on(topics: Sequence[str], record_bytes: int, turns: int = 20_000) -> tuple[dict[str, int], Held]:
    """Every topic has a backlog without end, polls bring them in turn, and four of five that are done are the first's.

    Returns how many were done of each topic, and the most that was held.
    """
    ahead, held, most = ReadAhead(LIMITS, topics), {topic: Held() for topic in topics}, Held()
    done = dict.fromkeys(topics, 0)
    for turn in range(turns):
        ahead.look(held)
        if open_topics := [topic for topic in topics if topic not in ahead.full_topics]:
            assert ahead.room > 0
            held[open_topics[turn % len(open_topics)]].add(ahead.room, ahead.room * record_bytes)
        else:
            assert ahead.room == 0
        most.records = max(most.records, sum(each.records for each in held.values()))
        most.bytes = max(most.bytes, sum(each.bytes for each in held.values()))
        wanted = topics[0] if turn % 5 else topics[1 + turn // 5 % (len(topics) - 1)]
        taken = wanted if held[wanted].records else topics[0]
        held[taken].add(-1, -record_bytes)
        done[taken] += 1
    return done, most


@pytest.mark.parametrize("topics", [TOPICS[:2], TOPICS])
def test_a_backlog_of_the_first_topic_leaves_the_others_their_share(topics: Sequence[str]) -> None:
    done, most = read_on(topics, record_bytes=1)
    assert sum(done[topic] for topic in topics[1:]) >= 20_000 * 0.19
    assert all(done[topic] for topic in topics)
    assert most.records <= LIMITS.read_ahead


def test_what_is_kept_for_a_later_topic_is_kept_in_bytes_too() -> None:
    ahead = ReadAhead(LIMITS, TOPICS[:2])
    ahead.look({"stat": Held(10, 1_800_000)})
    assert set(ahead.full_topics) == {"stat"}
    ahead.look({"stat": Held(10, 1_800_000), "asap": Held(1, 200_000)})
    assert ahead.full_topics == set(TOPICS[:2])


def test_a_later_topic_leaves_a_quarter_to_the_one_before_it() -> None:
    ahead = ReadAhead(LIMITS, ("stat", "routine"))
    ahead.look({"routine": Held(1499, 0)})
    assert (set(ahead.full_topics), ahead.room) == (set(), 1)
    ahead.look({"routine": Held(1500, 0)})
    assert (set(ahead.full_topics), ahead.room) == ({"routine"}, 500)


def test_one_topic_has_all_of_the_room() -> None:
    ahead = ReadAhead(LIMITS, TOPICS[:1])
    ahead.look({"stat": Held(1999, 0)})
    assert ahead.room == 1
    ahead.look({"stat": Held(2000, 0)})
    assert (set(ahead.full_topics), ahead.room) == ({"stat"}, 0)
    ahead.look({"stat": Held(1600, 0)})
    assert ahead.room == 0
    ahead.look({"stat": Held(1599, 0)})
    assert ahead.room == 401
