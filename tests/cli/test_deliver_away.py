"""An EHR that goes away and comes back, on both logs: `deliver` waits, is killed meanwhile, and loses no alert.

The hours of an outage are scaled to seconds: a receiver that is away is asked every half second here.
"""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.hl7v2.oru.message import control_id
from adapters.open_log import open_log
from tests.cli.command import environment
from tests.kafka.broker import free_ports
from tests.support.flagged import fresh, message
from tests.support.mllp_peer import Peer, peer, says

pytestmark = pytest.mark.timeout(300)

ALERTS = 40
AWAY_S = 12.0


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    run_id = uuid4().hex[:8]
    log = f"sqlite://{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka_url")
    return {
        "ECG_LOG": log,
        "ECG_FINDINGS_TOPIC": f"findings-{run_id}",
        "ECG_DELIVERY_REJECTIONS_TOPIC": f"undelivered-{run_id}",
        "ECG_DELIVER_GROUP": f"deliver-{run_id}",
        "ECG_MEMBER": "deliver-0",
        "ECG_DELIVER_LONGEST_PAUSE_S": 0.5,
        "ECG_DELIVER_ACK_S": 2,
    }


def put(settings: dict[str, Any], first: int, end: int) -> None:
    """Alerts with these numbers, on the findings topic."""
    with closing(open_log(settings["ECG_LOG"])) as log:
        log.create_topics({settings["ECG_FINDINGS_TOPIC"]: 2, settings["ECG_DELIVERY_REJECTIONS_TOPIC"]: 1})
        log.append([message(fresh(number), settings["ECG_FINDINGS_TOPIC"]) for number in range(first, end)])


@contextlib.contextmanager
def deliverer(settings: dict[str, Any], port: int, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "cli.app", "deliver", "--to", f"mllp://127.0.0.1:{port}"]
    with (
        log_file.open("ab") as sink,
        subprocess.Popen(command, env=environment(**settings), stdout=sink, stderr=sink) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_until(done: Callable[[], bool], limit_s: float = 90.0) -> None:
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def control_ids(*receivers: Peer) -> Counter[str]:
    return Counter(sent.split(b"|")[9].decode() for one in receivers for sent in one.messages)


def trouble(port: int) -> str | None:
    """What readiness says is wrong."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as refused:
        said = json.load(refused)
    except OSError:
        return None
    found: str | None = said.get("trouble")
    return found


def test_every_alert_comes_once_though_the_receiver_was_away_and_deliver_was_killed(
    settings: dict[str, object], tmp_path: Path
) -> None:
    port, probes = free_ports(2)
    settings |= {"ECG_HEALTH_PORT": probes}
    log_file = tmp_path / "deliver.log"
    put(settings, 0, ALERTS // 2)
    with peer(says("AA"), port=port) as before, deliverer(settings, port, log_file):
        wait_until(lambda: len(before.messages) == ALERTS // 2)
        time.sleep(1.0)  # the last acknowledgement is committed
        before.close()
        put(settings, ALERTS // 2, ALERTS)
        wait_until(lambda: "receiver away" in (trouble(probes) or ""))
        time.sleep(AWAY_S / 2)
    # Killed while it waited; the next one waits on.
    with deliverer(settings, port, log_file) as second:
        wait_until(lambda: "receiver away" in (trouble(probes) or ""))
        time.sleep(AWAY_S / 2)
        with peer(says("AA"), port=port) as after:
            wait_until(lambda: len(after.messages) >= ALERTS - ALERTS // 2)
            wait_until(lambda: trouble(probes) is None)
            second.terminate()
            assert second.wait(60) == 0, log_file.read_text()
            sent = control_ids(before, after)
    assert sent == Counter(control_id(fresh(number).finding_id, "alert") for number in range(ALERTS))
    with closing(open_log(str(settings["ECG_LOG"]))) as log:
        topic = str(settings["ECG_DELIVERY_REJECTIONS_TOPIC"])
        assert [record for part in log.partitions(topic) for record in log.read({part: range(*log.bounds(part))})] == []
    assert log_file.stat().st_size < 1_000_000, "it says that the receiver is away now and then, not each time"
