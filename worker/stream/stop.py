"""The request to end, and the one moment by which everything has to have ended."""

import threading

from adapters.deadline import Deadline


class Stop:
    """Set once, from a signal or by whoever is done; every step of the ending looks at the same deadline."""

    def __init__(self, drain_s: float, *, drain_queue: bool = False) -> None:
        """`drain_queue`: what was read is to be finished as well, not only what was begun."""
        self.drain_queue = drain_queue
        self._drain_s = drain_s
        self._requested = threading.Event()
        self._deadline: Deadline | None = None

    def set(self) -> None:
        """Ask for the end. The time for it begins with the first request."""
        if self._deadline is None:
            self._deadline = Deadline(self._drain_s)
        self._requested.set()

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._requested.is_set()

    @property
    def deadline(self) -> Deadline:
        """By when all must be over; as long as nobody asked, the whole grace away."""
        return self._deadline or Deadline(self._drain_s)
