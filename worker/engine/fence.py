"""The fence around what is asked of the engine: a question that cannot be answered fails alone.

It has the shape of an engine and never raises for what one question did: that question ends as a `Rejected`, and the
others get the answers that they would have got without it (every computation has one shape, whatever is in work).

    a question or its numbers are not fit     it is rejected; all others go on
    no memory                                 it is tried again with half as many open at once, down to one
    a step fails, and nobody knows for whom   each open question is tried again alone

A question is rejected at once for what is its own, for the rest when it fails alone after an earlier failure. If
`max_failures` of the engine's own kind follow one another and nothing that was in work then is answered, it is the
engine: that is an EngineError, and so is a device that no longer computes.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from schemas.rejection import Reason, Rejected
from worker.engine.question import Answer, Question
from worker.model.errors import EngineError

Outcome = Answer | Rejected

OnFailure = Callable[[Reason, bool, Exception | None], None]
"""Hears of each failure: its code, whether a question was given up for it (else what was in work is tried again), and
what was raised, if anything. Called in the engine's thread; must not keep the exception, whose frames hold tensors."""

# What a text or a number of the record can bring about is no sign of a broken engine, however often it comes.
_OF_THE_ENGINE: Final = {
    Reason.ENGINE_NOT_FINITE: "This number type or this machine is not fit for this model: try ECG_DTYPE=float32, or "
    "another machine.",
    Reason.ENGINE_OUT_OF_MEMORY: "Give it more memory, or set fewer `slots` in ecg-model.json.",
    Reason.ENGINE_FAILED: "Try `ecg-worker check`; if that finds nothing, please report the log lines above.",
}

# After so many answers without a failure twice as many questions may be open again: what took the memory may be gone.
# Being wrong costs one step, and the questions in it are begun anew.
_ANSWERS_TO_GROW: Final = 20

# How libraries say it that have no exception of their own for it: torch on the CPU, CUDA and its libraries beneath
# torch, and ONNX Runtime's arena.
_NO_MEMORY: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "out of memory",
    "_STATUS_ALLOC_FAILED",
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
)


class SlotEngine(Protocol):
    """What the fence needs of an engine. All calls come from one thread."""

    @property
    def free(self) -> int:
        """How many questions can be admitted now."""
        ...

    def admit(self, tag: Hashable, question: Question) -> None:
        """Put a question into a free slot. Whatever it raises, the slot stays free and the others as they are."""
        ...

    def step(self) -> Sequence[tuple[Hashable, Outcome]]:
        """Do some work on every open answer; returns those that are complete or cannot become so."""
        ...

    def abandon(self) -> None:
        """Forget every open answer."""
        ...

    def release(self) -> None:
        """Give back what memory can be given back. Raises if the device no longer computes."""
        ...


@dataclass(slots=True, eq=False)
class _Request:
    """A question in work. `failed_before` says that it was there when something failed."""

    tag: Hashable
    question: Question
    failed_before: bool = False


class Fence:
    """An engine, idle when it is put in here, that answers every question or says why not."""

    def __init__(
        self, core: SlotEngine, max_failures: int | None = None, on_failure: OnFailure = lambda *_: None
    ) -> None:
        """`max_failures` in a row are the engine's; None: there is no such number."""
        self._core = core
        self._max_failures = max_failures
        self._on_failure = on_failure
        self._slots = core.free
        self._limit = self._slots  # how many may be open at once
        self._open: dict[Hashable, _Request] = {}
        self._waiting = deque[_Request]()
        self._ended: list[tuple[Hashable, Outcome]] = []
        self._one_by_one = False  # until all are settled that were there when a step failed
        self._in_a_row = 0
        self._last: Rejected | None = None
        self._answers_since = 0  # the last failure for want of memory

    @property
    def free(self) -> int:
        """How many questions can be admitted now; 0 while others are tried again."""
        if self._waiting or self._one_by_one or self._in_doubt:
            return 0
        return max(0, min(self._core.free, self._limit - len(self._open)))

    @property
    def busy(self) -> bool:
        """Whether any question has not got its answer or its rejection from `step`, or the engine is at an end."""
        return bool(self._open or self._waiting or self._ended or self._in_doubt)

    def admit(self, tag: Hashable, question: Question) -> None:
        """Take a question, which `step` returns with this tag. Raises EngineError."""
        request = _Request(tag, question)
        if self.free:
            self._begin(request)
        else:  # something failed since the caller looked
            self._waiting.append(request)

    def step(self) -> list[tuple[Hashable, Outcome]]:
        """Do some work; returns what has ended, with its tag. Raises EngineError when all that ended is returned."""
        if self._waiting and not self._in_doubt and len(self._open) < (1 if self._one_by_one else self._limit):
            self._begin(self._waiting.popleft())  # and nothing else: a watchdog looks at how long one call takes
        elif self._open:
            self._work()
        self._one_by_one = self._one_by_one and bool(self._open or self._waiting)
        if self._in_doubt and not self._open and not self._ended:
            self._end()
        ended, self._ended = self._ended, []
        return ended

    @property
    def _in_doubt(self) -> bool:
        """Whether so many failed in a row that nothing is begun until one of those still open has been answered."""
        return self._max_failures is not None and self._in_a_row >= self._max_failures

    def _begin(self, request: _Request) -> None:
        """Admit a question. What it raises is its own, but for want of memory, which others may have taken."""
        try:
            self._core.admit(request.tag, request.question)
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - one question must not stop the worker
            problem = _problem(error)
            again = problem.reason is Reason.ENGINE_OUT_OF_MEMORY and not (request.failed_before and not self._open)
            self._on_failure(problem.reason, not again, error)
        else:
            self._open[request.tag] = request
            return
        # Not in the handler: until it ends, the exception's frames hold what took the memory.
        if problem.reason in _OF_THE_ENGINE:
            self._release(problem)
        if again:
            self._halve(len(self._open))
            self._put_back([request])
        else:
            self._reject(request, problem)

    def _work(self) -> None:
        """One step of the engine. What it raises could be any open question's."""
        try:
            done = self._core.step()
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - one question must not stop the worker
            problem = _problem(error)
            requests, self._open = list(self._open.values()), {}
            again = len(requests) > 1 or not requests[0].failed_before
            self._on_failure(problem.reason, not again, error)
        else:
            for tag, outcome in done:
                self._settle(self._open.pop(tag), outcome)
            return
        self._core.abandon()
        self._release(problem)
        if not again:
            self._reject(requests[0], problem)
            return
        if problem.reason is Reason.ENGINE_OUT_OF_MEMORY:
            self._halve(len(requests))
        else:
            self._one_by_one = True
        self._put_back(requests)

    def _settle(self, request: _Request, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected):
            self._on_failure(outcome.reason, True, None)
            self._reject(request, outcome)
            return
        self._ended.append((request.tag, outcome))
        self._in_a_row = 0
        self._answers_since += 1
        if self._answers_since >= _ANSWERS_TO_GROW:
            self._limit, self._answers_since = min(self._slots, 2 * self._limit), 0

    def _reject(self, request: _Request, rejected: Rejected) -> None:
        self._ended.append((request.tag, rejected))
        if rejected.reason in _OF_THE_ENGINE:
            self._in_a_row += 1
            self._last = rejected

    def _put_back(self, requests: list[_Request]) -> None:
        for request in requests:
            request.failed_before = True
        self._waiting.extendleft(reversed(requests))

    def _halve(self, were_open: int) -> None:
        self._limit, self._answers_since = max(1, min(self._limit, were_open) // 2), 0

    def _release(self, problem: Rejected) -> None:
        """Free what memory can be freed; hear whether the device computes, which after some errors it never does."""
        try:
            self._core.release()
        except Exception as error:
            raise EngineError(
                f"After a failure ({problem.reason.value}) the device no longer computes ({type(error).__name__}). "
                "Start the worker again; if this comes back, look at the driver's log for the card's errors."
            ) from error

    def _end(self) -> None:
        assert self._last is not None
        reason = self._last.reason
        detail = f", {self._last.detail}" if self._last.detail else ""
        count = "Once" if self._in_a_row == 1 else f"{self._in_a_row} times in a row"
        raise EngineError(
            f"{count} the engine could not answer, the last time for {reason.value}{detail}: that is the engine and "
            f"not the ECGs. {_OF_THE_ENGINE[reason]} How many are too many is the setting ECG_ENGINE_FAILURES."
        )


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that there was no memory. No library has to be loaded to ask."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in _NO_MEMORY)
    )


def _problem(error: Exception) -> Rejected:
    """What an exception is for the question: a new object, without the frames of the old one, and without its text."""
    if isinstance(error, Rejected):
        return Rejected(error.reason, error.detail, error.stage)
    if out_of_memory(error):
        return Rejected(Reason.ENGINE_OUT_OF_MEMORY, stage="ask")
    return Rejected(Reason.ENGINE_FAILED, type(error).__name__, "ask")
