"""One message that never gets its answer: it is parked, and holds up no other."""

from collections.abc import Sequence

import pytest

from adapters.log import Polled
from adapters.mllp.client import Waits
from schemas.delivery import Refused, Unanswered
from tests.support.delivery_desk import AWAY, OTHER, RETRY, SILENT, TP, Desk, alerts, record
from tests.support.flagged import unflagged
from tests.support.scripted import idle
from worker.delivery.retry import RetryPolicy


def test_one_message_that_is_never_acknowledged_is_parked_while_the_others_go_on() -> None:
    desk = Desk(lambda number: SILENT if number == 1 else None)
    desk.run(alerts(0, 1, 2, 3), *idle(300))
    assert desk.taken == [0, 2, 3]
    assert desk.times(1) == RETRY.max_sends
    (rejection,) = desk.rejections
    assert (rejection.reason, rejection.finding.offset, rejection.attempts) == ("receiver.no_ack", 1, RETRY.max_sends)
    assert desk.position == 4
    assert [positions[TP].offset for _, positions in desk.member.published] == [1, 3, 4]
    assert desk.progress.trouble is None


def test_how_long_one_silent_message_holds_up_the_others_with_the_default_settings() -> None:
    """The figures of docs/ehr.md: the next is tried after two minutes, the silent one parked half a minute later."""

    def answer(number: int) -> Exception | None:
        if number:
            return None
        desk.clock.now += Waits().ack_s
        return SILENT

    desk = Desk(answer, RetryPolicy(), TP, OTHER)
    began_s = desk.clock.now
    desk.run(Polled((record(0), record(1, partition=OTHER), record(2, partition=OTHER))), *idle(300))
    moments_s = {number: at - began_s for at, number in desk.asked}
    assert (desk.times(0), desk.taken) == (5, [1, 2])
    assert 120 < moments_s[1] < 130
    assert moments_s[0] == pytest.approx(moments_s[1], abs=1)
    assert moments_s[2] == pytest.approx(moments_s[1] + 30, abs=1), "the other partition waits as well"


def test_sent_once_only_it_is_parked_after_that() -> None:
    desk = Desk(lambda number: SILENT if number == 0 else None, RetryPolicy(max_sends=1))
    desk.run(alerts(0, 1), *idle(300))
    assert (desk.times(0), desk.taken) == (1, [1])
    assert [rejection.attempts for rejection in desk.rejections] == [1]


def test_an_answer_of_any_kind_shows_that_the_receiver_is_there() -> None:
    desk = Desk({0: SILENT, 1: Refused("AR")}.get)
    desk.run(alerts(0, 1, 2), *idle(300))
    assert desk.taken == [2]
    assert sorted((r.finding.offset, r.reason.value) for r in desk.rejections) == [
        (0, "receiver.no_ack"),
        (1, "receiver.rejected"),
    ]


def test_two_messages_in_a_row_that_are_never_acknowledged_are_parked_too() -> None:
    desk = Desk(lambda number: SILENT if number in (0, 1) else None)
    desk.run(alerts(0, 1, 2, 3), *desk.hours(0.5))
    assert desk.taken == [2, 3]
    assert [(r.finding.offset, r.reason.value) for r in desk.rejections] == [
        (0, "receiver.no_ack"),
        (1, "receiver.no_ack"),
    ]
    assert desk.position == 4


RESET = Unanswered(sent=True, cause="ConnectionResetError")


@pytest.mark.parametrize("down_s", [1, 20, 600])
@pytest.mark.parametrize("down", [AWAY, RESET], ids=["not reachable", "behind a proxy that is"])
def test_a_message_that_the_receiver_breaks_down_under_is_parked_too(down: Unanswered, down_s: float) -> None:
    back_at = 0.0

    def answer(number: int) -> Exception | None:
        nonlocal back_at
        if desk.clock.now < back_at:
            return down
        if number == 0:
            back_at = desk.clock.now + down_s
            return RESET
        return None

    desk = Desk(answer)
    desk.run(alerts(0, 1, 2), *desk.hours(3))
    assert sorted(desk.taken) == [1, 2]
    assert [(r.finding.offset, r.reason.value) for r in desk.rejections] == [(0, "receiver.no_ack")]
    assert desk.position == 3


def test_the_next_alert_is_found_however_many_findings_without_one_lie_between() -> None:
    desk = Desk(lambda number: SILENT if number == 0 else None, RETRY, TP, OTHER)
    between = [record(number, unflagged(number), at) for number in range(1, 1000) for at in (TP, OTHER)]
    polls = [Polled(tuple(between[first : first + 100])) for first in range(0, len(between), 100)]
    desk.run(alerts(0), *idle(100), *polls, alerts(1000), *desk.hours(0.1))
    assert desk.taken == [1000]
    assert [r.finding.offset for r in desk.rejections] == [0]
    assert desk.position == 1001
    assert desk.progress.committed == len(between) + 2


def test_a_lone_message_without_an_answer_waits_until_there_is_another() -> None:
    desk = Desk(lambda number: SILENT if number == 0 else None)
    looks: list[tuple[int, str | None]] = []
    desk.run(
        alerts(0),
        *desk.hours(2),
        lambda: looks.append((desk.position, desk.progress.trouble)),
        alerts(1),
        *desk.hours(0.1),
    )
    ((position, trouble),) = looks
    assert position == 0
    assert trouble is not None
    assert trouble.startswith("receiver away for 7")
    assert desk.taken == [1]
    assert [r.reason.value for r in desk.rejections] == ["receiver.no_ack"]


@pytest.mark.parametrize("comes_back_after", range(1, 40))
def test_a_receiver_that_comes_back_between_any_two_sends_costs_nobody_an_alert(comes_back_after: int) -> None:
    desk = Desk(lambda number: SILENT if len(desk.asked) <= comes_back_after else None)
    desk.run(alerts(0, 1, 2), *desk.hours(0.5))
    assert desk.rejections == []
    assert sorted(desk.taken) == [0, 1, 2]
    assert desk.position == 3


def test_a_failed_transaction_does_not_send_again_what_went_ahead() -> None:
    desk = Desk(lambda number: SILENT if number == 0 else None)
    desk.member.failures = 1
    again: Sequence[Polled] = (Polled(revoked=frozenset({TP}), assigned={TP: None}), alerts(0, 1))
    desk.member.on_rewind = again
    desk.run(alerts(0, 1), *idle(300))
    assert (desk.taken, desk.times(0)) == ([1], RETRY.max_sends)
    assert [r.reason.value for r in desk.rejections] == ["receiver.no_ack"]
    assert desk.position == 2
