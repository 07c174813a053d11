"""A deliverer on a scripted log, clock and receiver."""

from collections.abc import Callable
from typing import Final

from adapters.log import Polled, Record, TopicPartition
from schemas.delivery import DeliveryRejection, Unanswered
from schemas.finding import Finding
from tests.support.flagged import flagged
from tests.support.scripted import Clock, ScriptedMember, at_once
from worker.delivery.deliverer import Deliverer
from worker.delivery.retry import RetryPolicy
from worker.stream.session import POLL_IDLE_S, Session
from worker.stream.stall import StallDetector
from worker.stream.stop import Stop

TP, OTHER = TopicPartition("ecg.findings", 0), TopicPartition("ecg.findings", 1)
RETRY: Final = RetryPolicy(max_sends=5, backoff_s=1.0, longest_pause_s=30.0)
HOUR_S: Final = 3600.0
LONG_POLL_S: Final = 1.0
AWAY = Unanswered(sent=False, cause="ConnectionRefusedError")
SILENT = Unanswered(sent=True, cause="TimeoutError")
Answer = Callable[[int], Exception | None]
"""What a receiver says to the finding with this number; None: it takes it over."""


class Desk:
    """A deliverer on a scripted log, clock and receiver; `asked` are the numbers of what was sent, in order."""

    def __init__(
        self,
        answer: Answer,
        retry: RetryPolicy = RETRY,
        *partitions: TopicPartition,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.clock = Clock()
        self.answer = answer
        self.asked: list[tuple[float, int]] = []
        self.taken: list[int] = []
        self.late: list[int | None] = []
        self.stop = Stop(10)
        self.member = ScriptedMember(self.clock, Polled(assigned=dict.fromkeys(partitions or (TP,))))
        session = Session(self.member, StallDetector(300, self.clock), clock=self.clock, in_background=at_once)
        self.progress = session.progress
        self.deliverer = Deliverer(
            session, self, "ecg-deliver", "ecg.delivery-rejections", retry,
            wall_clock=wall_clock or self.clock, in_background=at_once,
        )  # fmt: skip

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        number = int(finding.finding_id[:4])
        self.late.append(late_h)
        self.asked.append((self.clock.now, number))
        if failure := self.answer(number):
            raise failure
        self.taken.append(number)

    def run(self, *script: Polled | Callable[[], object]) -> None:
        self.member.script.extend([*script, self.stop.set])
        self.deliverer.run(self.stop)

    def hours(self, count: float) -> list[Callable[[], object]]:
        """Nothing comes for so long: polls that take as much longer as makes few of many."""
        return [lambda: self.clock.wait(LONG_POLL_S - POLL_IDLE_S)] * round(count * HOUR_S / LONG_POLL_S)

    def times(self, number: int) -> int:
        return [asked for _, asked in self.asked].count(number)

    @property
    def position(self) -> int:
        """Where the group stands in the first partition."""
        moved = [positions[TP].offset for _, positions in self.member.published if TP in positions]
        return moved[-1] if moved else 0

    @property
    def rejections(self) -> list[DeliveryRejection]:
        return [DeliveryRejection.model_validate_json(message.value) for message in self.member.messages]


def record(number: int, finding: Finding | bytes | None = None, partition: TopicPartition = TP) -> Record:
    """The alert with this number at this offset, written at second 1000, when the tests' clock begins."""
    content = flagged(number) if finding is None else finding
    value = content if isinstance(content, bytes) else content.to_json()
    return Record(partition.topic, partition.partition, number, 1_000_000, None, value)


def alerts(*numbers: int) -> Polled:
    return Polled(tuple(record(number) for number in numbers))
