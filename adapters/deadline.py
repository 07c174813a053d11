"""One moment by which a thing must be done, and ways to go on without calls that would wait for ever."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """A moment on the monotonic clock, shared by all the steps that must be over by then."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return self.remaining_s == 0.0


def run_in_thread(name: str, call: Callable[[], T]) -> Future[T]:
    """Begin the call in a thread of its own, which does not keep the process from ending.

    Cancelling the outcome succeeds if the thread has not come to the call yet, and then it never will.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the outcome is taken
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


def call_with_deadline(deadline: Deadline, name: str, call: Callable[[], T]) -> T:
    """What `call` returns or raises, or TimeoutError at the deadline.

    The call runs in a thread of its own. If it does not end in time that thread goes on waiting: whoever gives up on it
    must see to it that the call can do no more harm, and preferably that it ends.
    """
    return run_in_thread(name, call).result(timeout=deadline.remaining_s)
