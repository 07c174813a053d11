"""The engine's thread: a bounded way in, micro-batches, a way out, and no failure that goes unseen.

What one question does to the engine is fenced in (`fence.py`) and comes out as that question's `Rejected`.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

from worker.engine.fence import Fence, OnFailure, Outcome, SlotEngine
from worker.engine.question import Question
from worker.model.errors import EngineError
from worker.urgency import UrgencyQueue


class MicroBatcher:
    """The waiting line, and the policy of when to begin.

    An idle engine waits for `max_batch` questions, but no longer than `max_wait_s` from when the first of them came,
    and not at all where somebody waits for one: questions that begin together share every step. A running engine takes
    questions as soon as a slot is free.
    """

    def __init__(self, max_batch: int, max_wait_s: float, clock: Callable[[], float]) -> None:
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._waiting = UrgencyQueue[tuple[Hashable, Question]]()
        self._begin_at = math.inf  # when what waits has waited long enough

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, tag: Hashable, question: Question, rank: float | None = None, *, waited_for: bool = False) -> None:
        """Add a question. Without a rank of its own it ranks by the time when it came."""
        now = self._clock()
        self._waiting.add(now if rank is None else rank, (tag, question))
        self._begin_at = min(self._begin_at, now if waited_for else now + self._max_wait_s)

    def take(self, free: int, *, hurry: bool) -> list[tuple[Hashable, Question]]:
        """The questions to admit now, by rank. `hurry` is for an engine that is running or shutting down."""
        ready = min(len(self._waiting), free)
        if not (hurry or ready >= min(self._max_batch, free) or self.patience_s() == 0):
            return []
        taken = [self._waiting.pop() for _ in range(ready)]
        if not self._waiting:
            self._begin_at = math.inf
        return taken

    def patience_s(self) -> float | None:
        """How long what waits may still wait for others; None if nothing does."""
        return max(0.0, self._begin_at - self._clock()) if self._waiting else None


class Scheduler:
    """Runs an engine in a thread of its own.

    It holds at most `capacity` questions, counted from `put` until the answer is taken. A question that cannot be
    answered comes out with the reason; after `max_failures` of those in a row, and whatever else goes wrong in the
    thread, the next call of `put`, `take` or `close` raises an EngineError. `on_failure` hears of each failure, in the
    thread.
    """

    def __init__(
        self,
        core: SlotEngine,
        *,
        capacity: int,
        max_batch: int,
        max_wait_s: float,
        max_failures: int = 5,
        on_failure: OnFailure = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = Fence(core, max_failures, on_failure)
        self._capacity = capacity
        self._clock = clock
        self._batcher = MicroBatcher(max_batch, max_wait_s, clock)
        self._answers: deque[tuple[Hashable, Outcome]] = deque()
        self._held = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._progress_at: float | None = None
        self._changed = threading.Condition()
        # A daemon: an owner that dies without closing must not leave a process that never ends.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def put(self, tag: Hashable, question: Question, rank: float | None = None, *, waited_for: bool = False) -> bool:
        """Hand in a question; False, at once, if the scheduler holds as many as it may. Raises EngineError.

        One that somebody waits for is begun without waiting for others. Of those that wait the one with the lowest rank
        is next, see `worker.urgency`.
        """
        with self._changed:
            self._check()
            if self._closing:
                raise EngineError("The scheduler is closed.")
            if self._held == self._capacity:
                return False
            self._held += 1
            self._batcher.put(tag, question, rank, waited_for=waited_for)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float = 0.0) -> tuple[Hashable, Outcome] | None:
        """The next answer, or why there is none, with its tag; None if none came within the time.

        Raises EngineError, once all that came before is taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._answers or self._failure is not None, timeout_s)
            if not self._answers:
                self._check()
                return None
            self._held -= 1
            return self._answers.popleft()

    @property
    def held(self) -> int:
        """Questions handed in whose answers were not taken."""
        with self._changed:
            return self._held

    @property
    def stalled_s(self) -> float:
        """How long the thread has been in its present piece of work; 0 when it is idle. For a liveness check."""
        since = self._progress_at
        return 0.0 if since is None else self._clock() - since

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what was handed in, then end the thread; the answers can still be taken. Raises EngineError.

        With a timeout, an engine that does not come to an end in time is an error too.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            self._check()
        if self._thread.is_alive():
            raise EngineError("The engine did not finish its work in time.")

    def _check(self) -> None:
        if isinstance(self._failure, EngineError):  # whoever is to be told needs its own words, not its name
            raise EngineError(str(self._failure)) from self._failure
        if self._failure is not None:
            raise EngineError(
                f"The engine's thread failed ({type(self._failure).__name__}). Start the worker again; if this comes "
                "back, please report it."
            ) from self._failure

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                for tag, question in batch:
                    self._progress_at = self._clock()
                    self._core.admit(tag, question)
                self._progress_at = self._clock()
                self._publish(self._core.step())
        except BaseException as error:  # noqa: BLE001 - kept for the owner, who must not wait for ever
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _next(self) -> list[tuple[Hashable, Question]] | None:
        """Wait for work: the questions to admit before the next step, maybe none; None when all is done."""
        with self._changed:
            while True:
                busy = self._core.busy
                batch = self._batcher.take(self._core.free, hurry=busy or self._closing)
                if batch or busy:
                    return batch
                self._progress_at = None
                if self._closing:
                    return None
                self._changed.wait(self._batcher.patience_s())

    def _publish(self, finished: list[tuple[Hashable, Outcome]]) -> None:
        if finished:
            with self._changed:
                self._answers.extend(finished)
                self._changed.notify_all()
