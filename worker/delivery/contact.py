"""What is known of a receiver: whether it answers, since when it does not, and when it is asked again."""

from collections.abc import Callable
from typing import Final

from schemas.delivery import Unanswered
from worker.delivery.retry import RetryPolicy
from worker.operations.logs import get_logger

log = get_logger()

# A receiver can be away for days. Once a minute is enough to see that it still is.
SAY_EVERY_S: Final = 60.0


class Contact:
    """Written after each try. It is away from the first try that it did not answer to the next that it does.

    Away is also one that answers, but not to what it is sent: `trouble` and the log say so then, and what to check.
    """

    def __init__(self, retry: RetryPolicy, clock: Callable[[], float]) -> None:
        self._retry = retry
        self._clock = clock
        self._away_since: float | None = None
        self._failures = 0
        self._last: Unanswered | None = None
        self._said_at = 0.0
        self._said_check = False  # since it went away; that it answers after all is not put off
        self._next_try_at = clock()

    @property
    def away_s(self) -> float:
        """For how long it has been away; 0 if it is there."""
        return 0.0 if self._away_since is None else self._clock() - self._away_since

    @property
    def away(self) -> bool:
        """Whether the last try was not answered."""
        return self._away_since is not None

    @property
    def trouble(self) -> str | None:
        """That it is away, for people; None if it is there."""
        if self._last is None:
            return None
        answers = f" ({self._last.told})" if self._last.check else ""
        return f"receiver away for {self.away_s:.0f} s{answers}"

    @property
    def may_try(self) -> bool:
        """Whether the pause is over."""
        return self._clock() >= self._next_try_at

    def failed(self, name: str, failure: Unanswered, *, again_at_once: bool = False) -> None:
        """A try was not answered; `name` is of what was sent."""
        now = self._clock()
        self._failures += 1
        self._last = failure
        why = {"error_type": failure.cause} | ({"check": failure.check} if failure.check else {})
        if self._away_since is None:
            self._away_since = self._said_at = now
            log.warning("the receiver is away, its alerts wait", **why)
        elif now - self._said_at >= SAY_EVERY_S or (failure.check and not self._said_check):
            self._said_at = now
            log.warning("the receiver is still away", **why, elapsed_s=round(self.away_s), attempt=self._failures)
        self._said_check = self._said_check or failure.check is not None
        self._next_try_at = now if again_at_once else now + self._retry.pause_s(name, self._failures)

    def answered(self) -> None:
        """It is there."""
        if self._away_since is not None:
            log.info("the receiver is back", elapsed_s=round(self.away_s), attempt=self._failures)
        self._away_since, self._failures, self._last, self._said_check = None, 0, None, False
        self._next_try_at = self._clock()

    def pause(self, name: str, errors: int) -> None:
        """It is there, and asked to be left alone for a while: so many errors on one finding."""
        self._next_try_at = self._clock() + self._retry.pause_s(name, errors)
