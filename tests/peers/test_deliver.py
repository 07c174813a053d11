"""`ecg-worker deliver` as a process, against a real HL7 v2 receiver that validates what it gets."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.hl7v2.oru.message import Route, build_oru, control_id
from adapters.hl7v2.text import STANDARD
from adapters.log import Log, TopicPartition
from adapters.open_log import open_log
from schemas.delivery import DeliveryRejection
from schemas.finding import Finding, Reasoning
from tests.peers.hapi import HapiReceiver, ReceiverUnavailable, running_receiver
from tests.support.flagged import fresh as flagged
from tests.support.flagged import message, recorded_at, unflagged

# Without a literal "\.br\": what HAPI understands of it does not tell it from a line break.
NASTY = 'a|b^c~d\\e&f\r\ng\nMSH|^~\\&|x\rPID|2||evil\x0b\x1c\x00"" µV 心 ' * 20
LIMIT_S = 60.0


@pytest.fixture
def receiver() -> Iterator[HapiReceiver]:
    try:
        with running_receiver() as running:
            yield running
    except ReceiverUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"tests with an HL7 receiver must run here, but {error}")
        pytest.skip(str(error))


class Site:
    """A log with topics of its own, and the deliverer that reads it."""

    def __init__(self, url: str) -> None:
        tag = uuid4().hex[:8]
        self.url, self.group = url, f"ecg-deliver-{tag}"
        self.findings, self.rejections_topic = f"findings-{tag}", f"delivery-rejections-{tag}"

    def open(self) -> Log:
        return open_log(self.url)

    def append(self, findings: Iterable[Finding]) -> None:
        with closing(self.open()) as log:
            log.create_topics({self.findings: 2, self.rejections_topic: 1})
            log.append([message(finding, self.findings) for finding in findings])

    def rejections(self) -> list[DeliveryRejection]:
        with closing(self.open()) as log:
            partition = TopicPartition(self.rejections_topic, 0)
            records = list(log.read({partition: range(*log.bounds(partition))}))
        return [DeliveryRejection.model_validate_json(record.value) for record in records]

    def undone(self) -> int:
        """Offsets of findings that the group has not passed."""
        with closing(self.open()) as log:
            left = 0
            for partition in log.partitions(self.findings):
                first, end = log.bounds(partition)
                position = log.committed(self.group, partition)
                # A transaction's end takes an offset that no group passes.
                left += len(list(log.read({partition: range(position.offset if position else first, end)})))
            return left

    @contextmanager
    def deliverer(self, receiver: HapiReceiver, *options: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """`ecg-worker deliver`, running; killed in the end."""
        names = {
            "FINDINGS_TOPIC": self.findings,
            "DELIVERY_REJECTIONS_TOPIC": self.rejections_topic,
            "DELIVER_SENDING_FACILITY": "ECG-LAB",
            **settings,
        }
        command = [sys.executable, "-m", "cli.app", "deliver", "--to", receiver.url]
        command += ["--log", self.url, "--group", self.group, *options]
        environment = os.environ | {f"ECG_{name}": value for name, value in names.items()}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def deliver(self, receiver: HapiReceiver, **settings: str) -> str:
        """Deliver until nothing is left; what was logged."""
        with self.deliverer(receiver, "--idle-exit", "1", **settings) as process:
            _, errors = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, errors.decode()
            return errors.decode()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(f"sqlite://{tmp_path}/log.db")


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def each_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    sqlite = request.param == "sqlite"
    return Site(f"sqlite://{tmp_path}/log.db" if sqlite else request.getfixturevalue("kafka_url"))


def wait_until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)


def accepted(receiver: HapiReceiver) -> Counter[str]:
    """Control ids, and how often each message was accepted. Fails if anything was not valid."""
    received = receiver.received()
    assert [r.fault for r in received if r.fault] == []
    return Counter(r.control_id for r in received if r.done == "accept")


def ids(numbers: Iterable[int]) -> list[str]:
    return sorted(control_id(flagged(number).finding_id, "alert") for number in numbers)


def test_every_flagged_finding_arrives_once_and_no_other(receiver: HapiReceiver, each_site: Site) -> None:
    findings = [flagged(number) if number % 3 else unflagged(number) for number in range(30)]
    each_site.append(findings)
    each_site.deliver(receiver)
    assert accepted(receiver) == Counter(ids(number for number in range(30) if number % 3))
    assert each_site.undone() == 0
    assert each_site.rejections() == []


def test_a_valid_message_is_understood_whatever_the_reasoning_holds(receiver: HapiReceiver, site: Site) -> None:
    finding = flagged(reasoning=Reasoning(text=NASTY, claims=(), grounded=True))
    site.append([finding])
    logged = site.deliver(receiver)
    (received,) = receiver.received()
    assert (received.done, received.fault) == ("accept", "")
    assert received.message.encode() == build_oru(finding, Route("ECG-LAB"))
    (reasoning,) = [line.split("|") for line in received.message.split("\r") if "TWI-REASONING" in line]
    assert STANDARD.unescaped(reasoning[5]) == "\n".join(NASTY.splitlines())
    for secret in ("4711", "E42", "evil"):
        assert secret not in logged


def test_an_ecg_that_comes_late_arrives_as_a_valid_review_and_one_that_comes_too_late_does_not(
    receiver: HapiReceiver, site: Site
) -> None:
    now = datetime.now(UTC)
    late, too_late = (recorded_at(now - timedelta(days=days, minutes=30), days) for days in (2, 8))
    site.append([late, too_late])
    site.deliver(receiver)
    (received,) = receiver.received()
    assert (received.done, received.fault) == ("accept", "")
    assert received.control_id == control_id(late.finding_id, "review")
    assert received.message.encode() == build_oru(late, Route("ECG-LAB"), 48)
    (rejection,) = site.rejections()
    assert (rejection.reason, rejection.finding_id) == ("alert.expired", too_late.finding_id)


@pytest.mark.parametrize(
    ("code", "reason", "attempts"),
    [("AR", "receiver.rejected", 1), ("CR", "receiver.rejected", 1), ("AE", "receiver.error", 3)],
)
def test_a_refused_finding_becomes_a_rejection_and_the_next_goes_on(
    receiver: HapiReceiver, site: Site, code: str, reason: str, attempts: int
) -> None:
    site.append([flagged(1)])
    receiver.tell(f"refuse {code}")
    site.deliver(receiver, DELIVER_SENDS="3")
    (rejection,) = site.rejections()
    assert (rejection.reason, rejection.ack_code, rejection.attempts) == (reason, code, attempts)
    assert rejection.finding_id == flagged(1).finding_id
    assert len(receiver.received()) == attempts
    receiver.tell("accept")
    site.append([flagged(2)])
    site.deliver(receiver)
    assert accepted(receiver) == Counter(ids([2]))


@pytest.mark.parametrize("order", ["stall", "drop"])
def test_without_an_acknowledgement_the_same_message_is_sent_until_it_is_accepted(
    receiver: HapiReceiver, site: Site, order: str
) -> None:
    site.append([flagged(1)])
    receiver.tell(order)
    with site.deliverer(receiver, "--idle-exit", "1", DELIVER_ACK_S="1", DELIVER_SENDS="50") as process:
        wait_until(lambda: len(receiver.received()) >= 2, "the message comes again")
        receiver.tell("accept")
        assert process.wait(LIMIT_S) == 0
    assert sorted(accepted(receiver)) == ids([1])
    assert {r.message.encode() for r in receiver.received()} == {build_oru(flagged(1), Route("ECG-LAB"))}
    assert site.rejections() == []
    assert site.undone() == 0


def test_a_receiver_that_never_answers_is_waited_for(receiver: HapiReceiver, site: Site) -> None:
    site.append([flagged(1), flagged(2)])
    receiver.tell("stall")
    settings = {"DELIVER_ACK_S": "0.2", "DELIVER_SENDS": "2", "DELIVER_LONGEST_PAUSE_S": "0.2"}
    with site.deliverer(receiver, "--idle-exit", "1", **settings) as process:
        wait_until(lambda: len(receiver.received()) >= 8, "both come again and again")
        assert site.rejections() == []
        receiver.tell("accept")
        assert process.wait(LIMIT_S) == 0
    assert sorted(accepted(receiver)) == ids([1, 2])
    assert site.undone() == 0
    assert site.rejections() == []


def test_a_receiver_that_is_half_open_gets_everything_once_it_is_back(receiver: HapiReceiver, site: Site) -> None:
    site.append([flagged(1)])
    with site.deliverer(receiver, "--idle-exit", "3", DELIVER_ACK_S="0.5", DELIVER_SENDS="50") as process:
        wait_until(lambda: len(receiver.received()) == 1, "the first arrives")
        receiver.freeze()
        site.append([flagged(2), flagged(3)])
        assert process.stderr is not None
        while b"the receiver is away" not in process.stderr.readline():
            assert process.poll() is None
        receiver.thaw()
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    got = accepted(receiver)
    assert sorted(got) == ids([1, 2, 3])
    assert site.undone() == 0
    assert site.rejections() == []


def test_a_receiver_that_is_restarted_gets_everything(receiver: HapiReceiver, site: Site) -> None:
    site.append([flagged(1)])
    with site.deliverer(receiver, "--idle-exit", "3", DELIVER_SENDS="50") as process:
        wait_until(lambda: len(receiver.received()) == 1, "the first arrives")
        receiver.kill()
        site.append(map(flagged, range(2, 12)))
        assert process.stderr is not None
        while b"ConnectionRefusedError" not in process.stderr.readline():
            assert process.poll() is None
        receiver.start()
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    assert sorted(accepted(receiver)) == ids(range(1, 12))
    assert site.undone() == 0
    assert site.rejections() == []


def test_a_deliverer_that_is_killed_again_and_again_loses_nothing(receiver: HapiReceiver, each_site: Site) -> None:
    numbers = [number for number in range(120) if number % 2]
    each_site.append(flagged(number) if number % 2 else unflagged(number) for number in range(120))
    # On Kafka each kill freezes the partitions until the dead member's session ends.
    shares = (8, 24, 40) if each_site.url.startswith("sqlite:") else (24,)
    for share in shares:
        with each_site.deliverer(receiver) as process:
            wait_until(lambda wanted=share: len(accepted(receiver)) >= wanted, "some arrive")  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    each_site.deliver(receiver)
    got = accepted(receiver)
    assert sorted(got) == ids(numbers)
    # Each kill can catch one finding between its acknowledgement and its commit; it comes again with the same id.
    assert got.total() - len(got) <= len(shares)
    assert each_site.undone() == 0
    assert each_site.rejections() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_everything_accepted_is_committed(
    receiver: HapiReceiver, site: Site, number: signal.Signals
) -> None:
    site.append(map(flagged, range(100)))
    with site.deliverer(receiver) as process:
        wait_until(lambda: len(receiver.received()) >= 5, "some arrive")
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 0
    assert site.undone() == 100 - len(accepted(receiver))


def test_a_signal_ends_it_while_the_receiver_is_away(receiver: HapiReceiver, site: Site) -> None:
    site.append([flagged(1)])
    receiver.kill()
    with site.deliverer(receiver, DRAIN_S="0.5") as process:
        assert process.stderr is not None
        while b"ConnectionRefusedError" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert site.undone() == 1
    assert site.rejections() == []


@pytest.mark.parametrize(
    "options", [[], ["--to", "mllp://host"], ["--to", "http://host:80"], ["--to", "mllp://ehr.example:2575"]]
)
def test_without_a_receiver_it_is_wrong_use(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.app", "deliver", "--log", f"sqlite://{tmp_path}/log.db", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
