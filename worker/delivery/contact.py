"""What is known of a receiver: whether it answers, since when it does not, and when it is asked again."""

from collections.abc import Callable
from typing import Final

from worker.delivery.retry import RetryPolicy
from worker.operations.logs import get_logger

log = get_logger()

# A receiver can be away for days. Once a minute is enough to see that it still is.
SAY_EVERY_S: Final = 60.0


class Contact:
    """Written after each try. It is away from the first try that it did not answer to the next that it does."""

    def __init__(self, retry: RetryPolicy, clock: Callable[[], float]) -> None:
        self._retry = retry
        self._clock = clock
        self._away_since: float | None = None
        self._failures = 0
        self._said_at = 0.0
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
    def may_try(self) -> bool:
        """Whether the pause is over."""
        return self._clock() >= self._next_try_at

    def failed(self, name: str, cause: str, *, again_at_once: bool = False) -> None:
        """A try was not answered; `name` is of what was sent, `cause` the name of a type of error."""
        now = self._clock()
        self._failures += 1
        if self._away_since is None:
            self._away_since = self._said_at = now
            log.warning("the receiver is away, its alerts wait", error_type=cause)
        elif now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            log.warning(
                "the receiver is still away", error_type=cause, elapsed_s=round(self.away_s), attempt=self._failures
            )
        self._next_try_at = now if again_at_once else now + self._retry.pause_s(name, self._failures)

    def answered(self) -> None:
        """It is there."""
        if self._away_since is not None:
            log.info("the receiver is back", elapsed_s=round(self.away_s), attempt=self._failures)
        self._away_since, self._failures = None, 0
        self._next_try_at = self._clock()

    def pause(self, name: str, errors: int) -> None:
        """It is there, and asked to be left alone for a while: so many errors on one finding."""
        self._next_try_at = self._clock() + self._retry.pause_s(name, errors)
