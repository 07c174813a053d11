"""Delivery rejections listed and redriven as a user does it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.hl7v2.oru.message import Route, build_oru, control_id
from adapters.open_log import open_log
from tests.cli.command import lines, run
from tests.support.flagged import finding_id, message
from tests.support.flagged import fresh as flagged
from tests.support.mllp_peer import Answer, peer, says

pytestmark = pytest.mark.timeout(300)


def refuses_the_first(name: str) -> list[bytes] | None:
    return says("AR" if name == control_id(finding_id(1), "alert") else "AA")(name)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A log in which `deliver` was refused one of two findings."""
    url = f"sqlite://{tmp_path}/log.db"
    with closing(open_log(url)) as log:
        log.create_topics({"ecg.findings": 1, "ecg.delivery-rejections": 1})
        log.append([message(flagged(number)) for number in (1, 2)])
    chosen = {"ECG_LOG": url}
    with at(refuses_the_first) as (to, _):
        done = run("deliver", "--to", to, "--idle-exit", 1, **chosen)
    assert done.returncode == 0, done.stderr
    return chosen


@contextmanager
def at(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A receiver: its URL, and what it got."""
    with peer(answer) as listening:
        yield f"mllp://127.0.0.1:{listening.port}", listening.messages


def test_what_was_refused_is_listed_sent_again_and_remembered(settings: dict[str, Any]) -> None:
    (listed,) = lines(run("deliveries", "list", **settings))
    assert (listed["open"], listed["reason"], listed["finding_id"]) == (True, "receiver.rejected", finding_id(1))

    (would,) = lines(run("deliveries", "redrive", "--dry-run", **settings))
    assert (would["outcome"], would["dry_run"], would["finding_id"]) == ("delivered", True, finding_id(1))

    with at(says("AR", "207")) as (to, _):
        done = run("deliveries", "redrive", "--receiver", to, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert "redeliver.refused (AR 207)" in done.stderr
    assert "0 settled, 1 refused" in done.stderr

    quick = settings | {"ECG_DELIVER_ACK_S": "0.2", "ECG_DELIVER_SENDS": "1"}
    with at(lambda _: says("AA")("DOE JANE")) as (to, _):
        done = run("deliveries", "redrive", "--receiver", to, **quick)
    assert (done.returncode, done.stdout) == (1, "")
    said = " ".join(done.stderr.split())
    assert "redeliver.no_ack (answers to other messages: MSA-2 of the acknowledgement has to be the MSH-10" in said
    assert "DOE" not in said

    with at(says("AA")) as (to, messages):
        done = run("deliveries", "redrive", "--receiver", to, **settings)
        again = run("deliveries", "redrive", "--receiver", to, **settings)
    assert (done.returncode, again.returncode, again.stdout) == (0, 0, "")
    assert messages == [build_oru(flagged(1), Route())]
    (counted,) = lines(run("deliveries", "list", "--count", **settings))
    assert counted == {"reason": "receiver.rejected", "count": 1, "open": 0}
    assert lines(run("deliveries", "list", "--group", "another", **settings)) == []


def test_given_up_and_wrong_use(settings: dict[str, Any]) -> None:
    assert run("deliveries", "redrive", **settings).returncode == 2, "no receiver"
    assert run("deliveries", "list", "--reason", "none.such", **settings).returncode == 2
    (given_up,) = lines(run("deliveries", "redrive", "--give-up", **settings))
    assert given_up["outcome"] == "given_up"
    (listed,) = lines(run("deliveries", "list", **settings))
    assert listed["open"] is False
