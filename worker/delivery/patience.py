"""Which alert is sent next, and which is given up: is the receiver away, or is it one message that it cannot take?

A receiver that answers nothing is away and is waited for; a message that alone stays unanswered must not hold up the
others. To tell the two apart, the next alert is tried after the first one was left unacknowledged a few times. If that
one is answered, the first is sent once more, and parked if it stays unanswered. If it is not, the receiver is away:
there is a pause, and after it both are tried again, in turns the one and the other first. For a receiver that breaks
down under the first alert is away for a while after it: it answers the next one only if it gets that before.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from adapters.log import TopicPartition
from schemas.delivery import DeliveryReason, Refused, Unanswered
from worker.delivery.contact import Contact
from worker.delivery.retry import RetryPolicy
from worker.history.interval import Coordinates


@dataclass(slots=True)
class _Tries:
    """Of one alert. `unanswered` counts sends since the receiver last showed that it is there by another one."""

    sends: int = 0
    unanswered: int = 0
    errors: int = 0
    other_answered: bool = False


class Patience:
    """Told of every try; asked what to try next. Alerts are known by where they lie."""

    def __init__(self, retry: RetryPolicy, clock: Callable[[], float]) -> None:
        self.contact = Contact(retry, clock)
        self._retry = retry
        self._tries: dict[Coordinates, _Tries] = {}
        self._first: Coordinates | None = None
        self._others = False
        self._try_another = False
        self._second = False  # of the two tries between two pauses

    def choose(self, waiting: Sequence[Coordinates]) -> Coordinates | None:
        """What to send now of the alerts that wait, which are in order; None: nothing, or not yet."""
        if not waiting or not self.contact.may_try:
            return None
        if waiting[0] != self._first:
            self._try_another = self._second = False
        self._first, self._others = waiting[0], len(waiting) > 1
        if self._try_another and self._others:
            # Not always the same one: it may be another that the receiver cannot take.
            return min(waiting[1:], key=lambda at: self._of(at).sends)
        self._try_another = False
        return waiting[0]

    def sends(self, at: Coordinates) -> int:
        """How often this alert was sent."""
        return self._of(at).sends

    def unanswered(self, at: Coordinates, failure: Unanswered) -> DeliveryReason | None:
        """No answer came to this alert. Why to give it up, if that is to be done."""
        tries = self._of(at)
        tries.sends += failure.sent
        tries.unanswered += failure.sent
        if not failure.sent:
            tries.other_answered = False  # the receiver went away since
        elif tries.other_answered and tries.unanswered >= self._retry.max_sends:
            return DeliveryReason.RECEIVER_NO_ACK
        # What could not be sent says nothing of itself: after the pause it is tried again.
        self._second = failure.sent and self._suspected and self._others and not self._second
        if self._second:
            self._try_another = not self._try_another
        self.contact.failed(_name(at), failure, again_at_once=self._second)
        return None

    def taken_over(self, at: Coordinates) -> Coordinates | None:
        """The receiver has this one. What is to be given up for lack of an acknowledgement, if anything."""
        self._of(at).sends += 1
        return self._answered(at)

    def refused(self, at: Coordinates, answer: Refused) -> tuple[DeliveryReason | None, Coordinates | None]:
        """It refused this one: why to give it up, if that is to be done; and as `taken_over`."""
        tries = self._of(at)
        tries.sends += 1
        tries.errors += 1
        unacknowledged = self._answered(at)
        if answer.final:
            return DeliveryReason.RECEIVER_REJECTED, unacknowledged
        if tries.errors >= self._retry.max_sends:
            return DeliveryReason.RECEIVER_ERROR, unacknowledged
        self.contact.pause(_name(at), tries.errors)
        return None, unacknowledged

    def forget(self, at: Coordinates) -> None:
        """It is settled, and that is committed."""
        self._tries.pop(at, None)

    def forget_partitions(self, lost: Collection[TopicPartition]) -> None:
        """They are somebody else's now."""
        self._tries = {at: tries for at, tries in self._tries.items() if at.partition not in lost}

    def _answered(self, at: Coordinates) -> Coordinates | None:
        """The receiver is there: what it left unanswered before says nothing, but of the one that is suspect."""
        self.contact.answered()
        self._try_another = self._second = False
        suspect = None if self._first is None or self._first == at else self._tries.get(self._first)
        was_suspect = suspect is not None and suspect.unanswered >= self._retry.suspect_after
        for tries in self._tries.values():
            tries.unanswered, tries.other_answered = 0, False
        if suspect is None or not was_suspect:
            return None
        suspect.unanswered, suspect.other_answered = self._retry.suspect_after, True
        return self._first if suspect.unanswered >= self._retry.max_sends else None

    @property
    def _suspected(self) -> bool:
        """Whether the first alert was left unacknowledged so often that it may be its own fault."""
        return self._first is not None and self._of(self._first).unanswered >= self._retry.suspect_after

    def _of(self, at: Coordinates) -> _Tries:
        return self._tries.setdefault(at, _Tries())


def _name(at: Coordinates) -> str:
    return f"{at.partition.topic}/{at.partition.partition}/{at.offset}"
