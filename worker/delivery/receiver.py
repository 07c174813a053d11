"""Where findings go, and what may come of handing one over."""

from typing import Protocol

from schemas.delivery import Refused, Unanswered, Unsendable
from schemas.finding import Finding

Outcome = Unanswered | Refused | Unsendable | None
"""Of one try; None: the receiver has taken the finding over."""


class Receiver(Protocol):
    """Where findings go."""

    def deliver(self, finding: Finding, late_h: int | None) -> None:
        """One try, in bounded time; return if the receiver has taken the finding over.

        With `late_h`, whole hours since the recording, it is a review and no alert.

        Raises Unanswered, Refused or Unsendable.
        """
        ...


def offer(receiver: Receiver, finding: Finding, late_h: int | None) -> Outcome:
    """Try once to hand a finding over."""
    try:
        receiver.deliver(finding, late_h)
    except (Unanswered, Refused, Unsendable) as outcome:
        return outcome
    return None
