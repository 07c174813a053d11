"""How often a finding is tried, and how long the pauses are."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one finding is sent, and the pause before the next try.

    `max_sends` bounds how often a finding is sent to a receiver that is there: how many errors are taken for an answer,
    and how many sends it may leave unacknowledged while it answers others. The pause doubles from `backoff_s` up to
    `longest_pause_s`, which is how often a receiver is asked that is away.
    """

    max_sends: int = 5
    backoff_s: float = 1.0
    longest_pause_s: float = 30.0

    def pause_s(self, name: str, failures: int) -> float:
        """The pause after this many failures: half to all of the doubled time, as `name` decides.

        Several senders that lost the same receiver thus return at different moments, and a test knows when.
        """
        full_s = min(self.longest_pause_s, self.backoff_s * 2.0 ** min(failures - 1, 30))
        draw = hashlib.sha256(f"{name}:{failures}".encode()).digest()[0] / 255
        return full_s * (0.5 + draw / 2)

    @property
    def suspect_after(self) -> int:
        """After so many unacknowledged sends of one finding the next one is tried.

        One send is kept for the time after: only if that one fails too, while the receiver answered another finding in
        between, is this finding given up. A receiver that comes back just then costs nobody an alert.
        """
        return max(1, self.max_sends - 1)
