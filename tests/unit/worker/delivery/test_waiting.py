"""What waits and what does not: a receiver that is away, findings of tomorrow, what the log cannot give."""

import itertools
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY

from adapters.hl7v2.oru.message import Route, build_oru
from adapters.log import Polled, Position, Record
from adapters.mllp.client import Waits
from adapters.mllp.framing import framed
from adapters.outbound import open_receiver
from schemas.delivery import Unanswered
from tests.support.delivery_desk import AWAY, HOUR_S, OTHER, RETRY, SILENT, TP, Desk, alerts, record
from tests.support.flagged import finding_id, flagged, unflagged
from tests.support.mllp_peer import Peer, ack, peer, says
from tests.support.scripted import Clock, ScriptedMember, at_once, idle
from worker.delivery import contact
from worker.delivery.deliverer import Deliverer
from worker.delivery.receiver import Outcome, offer
from worker.operations.logs import ALLOWED_FIELDS
from worker.stream.session import POLL_IDLE_S, Session
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What is logged of the receiver."""
    lines: list[tuple[str, dict[str, Any]]] = []

    class Lines:
        def warning(self, event: str, **fields: object) -> None:
            lines.append((event, fields))

        info = warning

    monkeypatch.setattr(contact, "log", Lines())
    yield lines


@pytest.mark.parametrize("failure", [AWAY, SILENT], ids=["not reachable", "silent"])
def test_a_receiver_that_is_away_for_an_hour_gets_every_alert_once(failure: Unanswered) -> None:
    desk = Desk(lambda number: failure if desk.clock.now < 1000 + HOUR_S else None)
    desk.run(
        Polled((record(0), record(1, unflagged(1)), record(2), record(3))),
        *desk.hours(0.5),
        alerts(4),
        *desk.hours(1),
        *idle(20),
    )
    assert sorted(desk.taken) == [0, 2, 3, 4]
    assert desk.taken == [0, 2, 3, 4] or failure is SILENT, "in order: nothing says that it may be one alert's fault"
    assert desk.rejections == []
    assert desk.position == 5
    assert desk.progress.trouble is None


def test_what_the_receiver_does_not_get_is_not_committed_and_no_transaction_is_made() -> None:
    desk = Desk(lambda number: AWAY if number else None)
    desk.run(alerts(0, 1), *desk.hours(2))
    assert (desk.taken, desk.position, len(desk.member.published)) == ([0], 1, 1)


def test_a_receiver_that_is_away_is_asked_less_and_less_often_up_to_a_bound() -> None:
    desk = Desk(lambda number: AWAY)
    desk.run(alerts(0), *idle(round(HOUR_S / POLL_IDLE_S)))
    moments = [at for at, _ in desk.asked]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert 0.5 <= pauses[0] <= 1.3
    assert all(15 <= pause <= 30.5 for pause in pauses[5:])


def test_a_receiver_that_takes_connections_and_is_silent_gets_few_copies() -> None:
    """A few soon, then one a longest pause; a real one keeps each waiting for `deliver_ack_s` besides."""
    desk = Desk(lambda number: SILENT)
    desk.run(alerts(0), *desk.hours(1))
    assert desk.times(0) <= RETRY.max_sends + HOUR_S / (RETRY.longest_pause_s / 2)
    assert desk.rejections == []


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


def test_while_it_is_away_readiness_and_metrics_say_so(said: list[tuple[str, dict[str, Any]]]) -> None:
    seen: list[tuple[Any, Any, Any]] = []

    def look() -> None:
        seen.append((desk.progress.trouble, gauge("ecg_receiver_away_seconds"), gauge("ecg_oldest_alert_seconds")))

    desk = Desk(lambda number: AWAY if desk.clock.now < 1000 + HOUR_S else None)
    desk.clock.now += 60
    desk.run(look, look, alerts(0), *desk.hours(0.25), look, look, *desk.hours(1), look, look)
    assert seen[1] == (None, 0, 0)
    trouble, away_s, oldest_s = seen[3]
    assert 850 <= away_s <= 900
    assert oldest_s == pytest.approx(away_s + 60, abs=2)
    assert trouble == f"receiver away for {away_s:.0f} s; oldest alert {oldest_s:.0f} s"
    assert seen[5] == (None, 0, 0)
    events = [event for event, _ in said]
    assert events[0] == "the receiver is away, its alerts wait"
    assert events[-1] == "the receiver is back"
    assert set(events[1:-1]) == {"the receiver is still away"}
    assert 30 <= len(events) <= HOUR_S / contact.SAY_EVERY_S + 2
    assert said[0][1] == {"error_type": "ConnectionRefusedError"}


WRONG = Unanswered(sent=True, cause="answers to other messages", check="MSA-2 has to be MSH-10")


def test_a_receiver_that_answers_to_other_messages_is_told_from_a_silent_one(
    said: list[tuple[str, dict[str, Any]]],
) -> None:
    troubles: list[str | None] = []
    desk = Desk(lambda number: WRONG if desk.clock.now < 1000 + HOUR_S else None)
    desk.run(alerts(0), *desk.hours(0.1), lambda: troubles.append(desk.progress.trouble), *desk.hours(1.1))
    (trouble,) = troubles
    assert trouble is not None
    assert re.fullmatch(
        r"receiver away for 3\d\d s \(answers to other messages: MSA-2 has to be MSH-10\); oldest alert 3\d\d s",
        trouble,
    )
    assert said[0][1] == {"error_type": WRONG.cause, "check": WRONG.check}
    assert said[1][1].items() >= {"error_type": WRONG.cause, "check": WRONG.check}.items()
    assert said[0][1].keys() <= ALLOWED_FIELDS
    assert (desk.taken, desk.rejections, desk.progress.trouble) == ([0], [], None)
    silent = Desk(lambda number: SILENT if silent.clock.now < 1000 + HOUR_S else None)
    silent.run(alerts(0), *silent.hours(0.1), lambda: None, *silent.hours(1.1))
    assert desk.asked == silent.asked, "it is tried as often, and when, a silent one is"


def test_that_it_answers_after_all_is_said_at_once_and_once(said: list[tuple[str, dict[str, Any]]]) -> None:
    desk = Desk(lambda number: WRONG if len(desk.asked) % 2 == 0 else AWAY)
    desk.run(alerts(0), *idle(60))
    assert desk.times(0) > 3
    assert [fields.get("check") for _, fields in said] == [None, WRONG.check]


def test_over_tcp_an_acknowledgement_of_another_message_is_named_with_what_to_check(
    said: list[tuple[str, dict[str, Any]]],
) -> None:
    troubles: list[str | None] = []
    desk = Desk(lambda number: None)
    with (
        peer(lambda _: [framed(ack("AA", "DOE^JANE"))]) as other,
        closing(open_receiver(f"mllp://127.0.0.1:{other.port}", Route(), Waits(connect_s=2, ack_s=0.05))) as receiver,
    ):
        desk.answer = lambda number: offer(receiver, flagged(number), None)
        desk.run(alerts(0), *idle(5), lambda: troubles.append(desk.progress.trouble))
    (trouble,) = troubles
    assert trouble is not None
    for told in (trouble, str(said)):
        assert "answers to other messages" in told
        assert "MSA-2 of the acknowledgement has to be the MSH-10 that was sent" in told
        assert "DOE" not in told


def test_over_tcp_a_receiver_that_was_down_for_longer_than_was_ever_waited_gets_the_alerts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    desk = Desk(lambda number: None)
    url = f"mllp://127.0.0.1:{port}"
    with ExitStack() as parts:
        receiver = parts.enter_context(closing(open_receiver(url, Route(), Waits(connect_s=2, ack_s=5))))
        heard: list[Peer] = []
        desk.answer = lambda number: offer(receiver, flagged(number), None)
        desk.run(
            alerts(0, 1),
            *desk.hours(0.5),
            lambda: heard.append(parts.enter_context(peer(says("AA"), port=port))),
            *idle(300),
        )
        assert heard[0].messages == [build_oru(flagged(number), Route()) for number in (0, 1)]
    assert desk.asked[-2][0] - desk.asked[0][0] > 900
    assert desk.rejections == []
    assert desk.position == 2


def test_an_end_while_it_is_away_comes_at_once_and_commits_nothing() -> None:
    desk = Desk(lambda number: AWAY)
    desk.run(alerts(0, 1), *idle(50))
    assert desk.member.published == []
    assert desk.progress.draining


def test_an_end_while_it_is_silent_does_not_wait_for_the_answer() -> None:
    never: Future[Outcome] = Future()
    clock, stop = Clock(), Stop(0.05)
    member = ScriptedMember(clock, Polled(assigned={TP: None}), alerts(0), *idle(5), stop.set)
    session = Session(member, StallDetector(300, clock), clock=clock, in_background=at_once)
    desk = Desk(lambda number: None)
    Deliverer(session, desk, "g", "r", RETRY, wall_clock=clock, in_background=lambda name, call: never).run(stop)
    assert member.published == []


NEWER = b'{"schema":"ecg-finding/999","finding_id":"x","what":["nobody","knows"]}'


def test_a_finding_of_a_newer_version_stops_its_partition_and_nothing_is_passed() -> None:
    looks: list[str | None] = []
    desk = Desk(lambda number: None, RETRY, TP, OTHER)
    desk.run(
        Polled((record(0), record(1, NEWER), record(2), record(0, partition=OTHER))),
        *idle(10),
        Polled((record(7, partition=OTHER),)),
        *desk.hours(1),
        lambda: looks.append(desk.progress.trouble),
    )
    assert desk.taken == [0, 0, 7]
    assert desk.rejections == []
    assert desk.position == 1
    assert desk.member.published[-1][1] == {OTHER: Position(8)}
    assert desk.member.paused >= {TP}
    assert looks == ["a finding of a newer version (ecg-finding/999) waits; upgrade deliver"]


def test_a_newer_finding_keeps_the_process_up_though_nothing_else_comes() -> None:
    desk = Desk(lambda number: None)
    desk.member.script.extend([Polled((record(0, NEWER),)), *desk.hours(1), desk.stop.set])
    desk.deliverer.run(desk.stop, idle_exit_s=5.0)
    assert desk.stop.is_set()


def test_a_partition_with_a_newer_finding_that_moves_away_is_forgotten() -> None:
    desk = Desk(lambda number: None)
    desk.run(Polled((record(0, NEWER),)), *idle(3), Polled(revoked=frozenset({TP}), assigned={OTHER: None}), *idle(3))
    assert (desk.deliverer.held, desk.progress.trouble) == (0, None)


def test_a_record_that_the_log_cannot_give_is_a_rejection() -> None:
    broken = Record(TP.topic, 0, 0, None, None, b"", unreadable="a corrupt batch")
    desk = Desk(lambda number: None)
    desk.run(Polled((broken, record(1))), *idle(10))
    assert desk.taken == [1]
    assert [(r.reason.value, r.finding.offset) for r in desk.rejections] == [("finding.unreadable", 0)]


def test_findings_that_the_log_lost_are_told_with_their_range_and_passed() -> None:
    desk = Desk(lambda number: None)

    def lose() -> None:
        (lease,) = desk.deliverer._session.leases.values()
        desk.deliverer.lose(range(3, 9), lease)

    before = REGISTRY.get_sample_value("ecg_deliveries_total", {"outcome": "findings.gone"}) or 0.0
    desk.run(lose, Polled((record(9),)), *idle(10))
    (rejection,) = desk.rejections
    assert (rejection.reason, rejection.finding.offset, rejection.last_offset) == ("findings.gone", 3, 8)
    assert rejection.finding_id is None
    assert b'"last_offset":8' in desk.member.messages[0].value
    assert [positions[TP].offset for _, positions in desk.member.published] == [9, 10]
    assert desk.taken == [9]
    assert REGISTRY.get_sample_value("ecg_deliveries_total", {"outcome": "findings.gone"}) == before + 1


def test_ids_are_those_of_the_findings() -> None:
    """The helpers above rest on it."""
    assert int(finding_id(17)[:4]) == 17


RECORDED_S: Final = flagged().ecg.acquired_at.timestamp()


def test_an_alert_that_waits_for_longer_than_it_lives_is_a_review_the_same_each_time() -> None:
    desk = Desk(
        lambda number: SILENT if desk.clock.now < 1000 + 4 * HOUR_S else None,
        wall_clock=lambda: RECORDED_S + 22.5 * HOUR_S + desk.clock() - 1000,
    )
    desk.run(alerts(0), *desk.hours(5))
    assert desk.taken == [0]
    assert set(desk.late) == {None, 24}
    assert desk.late[-1] == 24, "as it was when it was first tried as a review, though it is 26 h by now"
    assert desk.rejections == []
