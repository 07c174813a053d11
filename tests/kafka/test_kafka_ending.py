"""A worker that is told to end ends in time, whatever the brokers do."""

import contextlib
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message
from adapters.open_log import open_log
from tests.cli.command import command, environment
from tests.faults.payloads import payload
from tests.kafka.broker import Broker
from tests.kafka.helpers import unique, wait_for

pytestmark = pytest.mark.kafka

DRAIN_S = 8.0
BEYOND_S = 8.0  # engine and connections; and this machine may be loaded


@pytest.mark.parametrize("frozen", [False, True])
def test_sigterm_in_the_middle_of_work(own_broker: Broker, tmp_path: Path, frozen: bool) -> None:
    topics = {"ECG_INBOUND_TOPIC": unique("inbound"), "ECG_FINDINGS_TOPIC": unique("findings"),
              "ECG_REJECTIONS_TOPIC": unique("rejections")}  # fmt: skip
    settings = {
        **topics, "ECG_LOG": f"kafka://{own_broker.address}", "ECG_GROUP": unique("group"), "ECG_ENGINE": "echo",
        "ECG_ECHO_BATCH_S": 0.5, "ECG_ECHO_SLOTS": 4, "ECG_DRAIN_S": DRAIN_S,
    }  # fmt: skip
    with closing(open_log(f"kafka://{own_broker.address}")) as log:
        log.create_topics(dict.fromkeys(topics.values(), 1))
        log.append([Message(topics["ECG_INBOUND_TOPIC"], b"k", payload("asked", number)) for number in range(200)])
    log_file = tmp_path / "worker.log"
    with log_file.open("wb") as sink:
        worker = subprocess.Popen(command("run"), env=environment(**settings), stdout=sink, stderr=sink)
    try:
        wait_for(lambda: log_file.read_text().count('"committed"') >= 2, 60)
        if frozen:
            own_broker.freeze()
            time.sleep(2)  # a transaction is under way by now, or about to be
        asked_at = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert time.monotonic() - asked_at < DRAIN_S + BEYOND_S
        assert '"stopped"' in log_file.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        own_broker.thaw()
