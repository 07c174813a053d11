"""What one question does to the engine is that question's; what the engine does by itself ends it."""

import gc
import weakref
from collections.abc import Callable, Hashable, Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.rejection import Reason, Rejected
from tests.support.results import answer
from worker.engine.fence import Fence, Outcome, out_of_memory
from worker.engine.question import Question
from worker.model.errors import EngineError

QUESTION = Question(np.zeros((28, 28, 3), np.uint8))
ANSWER = answer()
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

Tags = frozenset[Hashable]


class FakeCore:
    """An engine of four slots that answers after three steps, and raises what the test says.

    `admitting` is asked with the tag and what is open, `stepping` with what is open; `refused` get this from a step.
    """

    def __init__(
        self,
        *,
        slots: int = 4,
        admitting: Callable[[Hashable, Tags], Exception | None] = lambda _tag, _open: None,
        stepping: Callable[[Tags], Exception | None] = lambda _open: None,
        refused: dict[Hashable, Reason] | None = None,
    ) -> None:
        self.slots = slots
        self.admitting = admitting
        self.stepping = stepping
        self.refused = refused or {}
        self.work: dict[Hashable, int] = {}
        self.companies: list[Tags] = []  # what was open at each step
        self.released = 0
        self.broken: Exception | None = None

    @property
    def free(self) -> int:
        return self.slots - len(self.work)

    def admit(self, tag: Hashable, question: Question) -> None:
        assert self.free
        if error := self.admitting(tag, frozenset(self.work)):
            raise error
        self.work[tag] = 3

    def step(self) -> list[tuple[Hashable, Outcome]]:
        self.companies.append(frozenset(self.work))
        if error := self.stepping(frozenset(self.work)):
            raise error
        self.work = {tag: left - 1 for tag, left in self.work.items()}
        done = [tag for tag, left in self.work.items() if not left or tag in self.refused]
        for tag in done:
            del self.work[tag]
        return [(tag, Rejected(self.refused[tag], stage="ask") if tag in self.refused else ANSWER) for tag in done]

    def abandon(self) -> None:
        self.work.clear()

    def release(self) -> None:
        self.released += 1
        if self.broken:
            raise self.broken


class Heard(list[tuple[Reason, bool, str | None]]):
    """What was told of failures."""

    def __call__(self, reason: Reason, given_up: bool, error: Exception | None) -> None:
        self.append((reason, given_up, None if error is None else type(error).__name__))


def ask(fence: Fence, tags: Iterable[Hashable]) -> dict[Hashable, str]:
    """Ask all, as the scheduler does; what became of each: its code, or "answered"."""
    waiting, found = list(tags), dict[Hashable, str]()
    while waiting or fence.busy:
        batch = [waiting.pop(0) for _ in range(min(fence.free, len(waiting)))]
        for tag in batch:
            fence.admit(tag, QUESTION)
        for tag, outcome in fence.step():
            assert tag not in found
            found[tag] = outcome.reason.value if isinstance(outcome, Rejected) else "answered"
    return found


def all_answered(tags: Iterable[Hashable], **but: str) -> dict[Hashable, str]:
    return dict.fromkeys(tags, "answered") | but


def when(condition: bool, error: Exception) -> Exception | None:
    return error if condition else None


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (Rejected(Reason.ENGINE_TOO_LONG, stage="ask"), "engine.too_long"),
        (Rejected(Reason.ENGINE_CONTROL_TOKEN, stage="ask"), "engine.control_token"),
        (Rejected(Reason.ENGINE_NOT_FINITE, stage="ask"), "engine.not_finite"),
        (ZeroDivisionError("John Doe"), "engine.failed"),
    ],
)
def test_a_question_that_cannot_be_admitted_fails_alone_and_at_once(raised: Exception, code: str) -> None:
    core = FakeCore(admitting=lambda tag, _open: when(tag == "c", raised))
    assert ask(Fence(core), "abcdef") == all_answered("abdef", c=code)
    assert core.companies[0] == set("abd"), "the slot stayed free, and nothing was begun twice"
    assert len(core.companies) == 6


def test_an_unknown_error_is_named_and_nothing_of_its_text_is_told() -> None:
    fence = Fence(FakeCore(admitting=lambda _tag, _open: ZeroDivisionError("John Doe")))
    fence.admit("a", QUESTION)
    ((_, rejected),) = fence.step()
    assert isinstance(rejected, Rejected)
    assert (rejected.detail, rejected.stage) == ("ZeroDivisionError", "ask")


@pytest.mark.parametrize("error", [ZeroDivisionError(), Rejected(Reason.ENGINE_NOT_FINITE, stage="ask")])
def test_what_comes_out_holds_no_frames_for_those_hold_tensors(error: Exception) -> None:
    fence = Fence(FakeCore(admitting=lambda _tag, _open: error))
    fence.admit("a", QUESTION)
    ((_, rejected),) = fence.step()
    assert isinstance(rejected, Rejected)
    assert (rejected.__traceback__, rejected.__context__, rejected.__cause__) == (None, None, None)


def test_an_answer_that_cannot_be_completed_fails_alone() -> None:
    core = FakeCore(refused={"b": Reason.ENGINE_NOT_FINITE})
    heard = Heard()
    assert ask(Fence(core, on_failure=heard), "abcd") == all_answered("acd", b="engine.not_finite")
    assert core.companies == [set("abcd"), set("acd"), set("acd")]
    assert heard == [(Reason.ENGINE_NOT_FINITE, True, None)]


def test_a_step_that_fails_is_tried_again_one_by_one_and_only_who_fails_alone_is_rejected() -> None:
    core = FakeCore(stepping=lambda work: when("c" in work, RuntimeError("?")))
    heard = Heard()
    assert ask(Fence(core, on_failure=heard), "abcdef") == all_answered("abdef", c="engine.failed")
    assert core.companies[0] == set("abcd")
    assert core.companies[1:8] == [set("a")] * 3 + [set("b")] * 3 + [set("c")]
    assert core.companies[8:11] == [set("d")] * 3, "those that came later wait until all of those are settled"
    assert core.companies[11:] == [set("ef")] * 3
    assert heard == [(Reason.ENGINE_FAILED, False, "RuntimeError"), (Reason.ENGINE_FAILED, True, "RuntimeError")]


def test_a_step_that_fails_once_costs_nobody_anything() -> None:
    errors = [RuntimeError("?")]
    core = FakeCore(stepping=lambda _work: errors.pop() if errors else None)
    assert ask(Fence(core), "abcd") == all_answered("abcd")
    errors = [RuntimeError("?")]
    assert ask(Fence(core), "a") == all_answered("a"), "alone it is tried again too"


@pytest.mark.parametrize(("most", "too_many"), [(1, [8, 4, 2]), (2, [8, 4]), (3, [8, 4]), (4, [8])])
def test_without_memory_for_all_half_as_many_are_open_at_once_down_to_one(most: int, too_many: list[int]) -> None:
    core = FakeCore(slots=8, stepping=lambda work: when(len(work) > most, NO_MEMORY))
    assert ask(Fence(core), range(12)) == all_answered(range(12))
    sizes = [len(company) for company in core.companies]
    assert [size for size in sizes if size > most] == too_many, "each failure halves the number, and it stays"
    firsts = list(dict.fromkeys(min(map(int, map(str, company))) for company in core.companies))
    assert firsts == sorted(firsts), "who came first stays first"


def test_a_question_without_memory_alone_is_rejected_after_one_more_try() -> None:
    core = FakeCore(stepping=lambda work: when("b" in work, NO_MEMORY))
    heard = Heard()
    assert ask(Fence(core, on_failure=heard), "abcd") == all_answered("acd", b="engine.out_of_memory")
    assert [company for company in core.companies if "b" in company] == [set("abcd"), set("ab"), set("b")]
    assert [given_up for _, given_up, _ in heard] == [False, False, True]
    core = FakeCore(stepping=lambda work: when("b" in work, NO_MEMORY))
    assert ask(Fence(core), "b") == {"b": "engine.out_of_memory"}
    assert core.companies == [set("b")] * 2


def test_without_memory_to_admit_one_the_others_go_on_and_it_waits_until_fewer_are_open() -> None:
    tries: list[int] = []

    def admitting(tag: Hashable, others: Tags) -> Exception | None:
        if tag == "d":
            tries.append(len(others))
        return when(tag == "d" and len(others) > 0, MemoryError())

    core = FakeCore(admitting=admitting)
    assert ask(Fence(core), "abcdef") == all_answered("abcdef")
    assert core.companies[:3] == [set("abc")] * 3
    assert tries == [3, 0]


def test_without_memory_to_admit_one_alone_it_is_rejected_after_one_more_try() -> None:
    tries: list[Hashable] = []

    def admitting(tag: Hashable, _others: Tags) -> Exception | None:
        tries.append(tag)
        return when(tag == "d", MemoryError())

    core = FakeCore(admitting=admitting)
    assert ask(Fence(core), "de") == all_answered("e", d="engine.out_of_memory")
    assert tries == ["d", "d", "e"]
    assert core.released == 2


def test_after_enough_answers_more_are_open_at_once_again() -> None:
    errors = [NO_MEMORY]
    core = FakeCore(stepping=lambda _work: errors.pop() if errors else None)
    fence = Fence(core)
    assert ask(fence, range(20)) == all_answered(range(20))
    assert max(len(company) for company in core.companies[1:]) == 2
    assert fence.free == 4


def test_memory_is_given_back_when_the_failure_holds_it_no_longer() -> None:
    class Tensor:
        pass

    alive: list[bool] = []
    held: list[weakref.ref[Tensor]] = []

    class Core(FakeCore):
        def step(self) -> list[tuple[Hashable, Outcome]]:
            tensor = Tensor()  # in a frame of the exception
            held.append(weakref.ref(tensor))
            raise MemoryError

        def release(self) -> None:
            alive.append(held[-1]() is not None)

    gc.disable()
    try:
        assert ask(Fence(Core()), "a") == {"a": "engine.out_of_memory"}
    finally:
        gc.enable()
    assert alive == [False, False]


@given(
    slots=st.integers(1, 5),
    most_open=st.integers(1, 5),
    fates=st.lists(st.sampled_from(["fine", "fine", "admit", "step", "refused", "memory"]), max_size=14),
    transient=st.sets(st.integers(0, 30), max_size=6),
)
def test_whatever_fails_each_question_ends_once_by_its_own_fate(
    slots: int, most_open: int, fates: list[str], transient: set[int]
) -> None:
    steps = iter(range(10_000))

    def stepping(work: Tags) -> Exception | None:
        if len(work) > most_open or any(fates[int(str(tag))] == "memory" for tag in work):
            return NO_MEMORY
        if any(fates[int(str(tag))] == "step" for tag in work):
            return RuntimeError("?")
        return when(next(steps) in transient and len(work) > 1, RuntimeError("once"))

    core = FakeCore(
        slots=slots,
        admitting=lambda tag, _open: when(fates[int(str(tag))] == "admit", ZeroDivisionError()),
        stepping=stepping,
        refused={tag: Reason.ENGINE_NOT_FINITE for tag, fate in enumerate(fates) if fate == "refused"},
    )
    ends = {
        "fine": "answered",
        "admit": "engine.failed",
        "step": "engine.failed",
        "refused": "engine.not_finite",
        "memory": "engine.out_of_memory",
    }
    fence = Fence(core)
    assert ask(fence, range(len(fates))) == {tag: ends[fate] for tag, fate in enumerate(fates)}
    assert not fence.busy
    assert fence.free >= 1


def test_n_failures_in_a_row_are_the_engines() -> None:
    core = FakeCore(admitting=lambda tag, _open: when(tag != 0, Rejected(Reason.ENGINE_NOT_FINITE, "here", "ask")))
    fence = Fence(core, max_failures=3)
    for tag in (1, 2, 0, 1, 2):  # an answer in between
        assert ask(fence, [tag]) == {tag: "engine.not_finite" if tag else "answered"}
    fence.admit(3, QUESTION)
    (last,) = fence.step()
    assert isinstance(last[1], Rejected), "every question ends, those that end the engine too"
    assert fence.busy
    with pytest.raises(EngineError, match=r"3 times in a row .* engine.not_finite, here: .*ECG_DTYPE=float32"):
        fence.step()


@pytest.mark.parametrize("reason", [Reason.ENGINE_TOO_LONG, Reason.ENGINE_CONTROL_TOKEN, Reason.INTERNAL])
def test_what_a_record_says_is_never_the_engines_fault(reason: Reason) -> None:
    core = FakeCore(admitting=lambda _tag, _open: Rejected(reason, stage="ask"))
    assert ask(Fence(core, max_failures=1), range(9)) == dict.fromkeys(range(9), reason.value)


def test_the_engine_is_not_blamed_while_another_question_may_still_be_answered() -> None:
    bad = Rejected(Reason.ENGINE_NOT_FINITE, stage="ask")
    core = FakeCore(admitting=lambda tag, _open: when(str(tag).startswith("bad"), bad))
    fence = Fence(core, max_failures=2)
    found = ask(fence, ["good", "bad 1", "bad 2", "bad 3", "fine", "bad 4"])
    assert found == all_answered(["good", "fine"]) | dict.fromkeys(
        ["bad 1", "bad 2", "bad 3", "bad 4"], "engine.not_finite"
    )


def test_in_doubt_nothing_new_is_begun_until_an_answer_comes() -> None:
    core = FakeCore(admitting=lambda tag, _open: when(tag != "good", ZeroDivisionError()))
    fence = Fence(core, max_failures=2)
    for tag in ("good", "bad 1"):
        fence.admit(tag, QUESTION)
        assert fence.free == 3
    fence.admit("bad 2", QUESTION)
    assert (fence.free, fence.busy) == (0, True)
    for _ in range(3):
        assert fence.free == 0
        fence.step()
    assert (fence.free, fence.busy) == (4, False)


def test_in_doubt_nothing_new_is_begun_and_if_nothing_is_answered_it_is_the_engine() -> None:
    refused: dict[Hashable, Reason] = dict.fromkeys(range(100), Reason.ENGINE_NOT_FINITE)
    core = FakeCore(slots=4, refused=refused)
    with pytest.raises(EngineError, match="in a row"):
        ask(Fence(core, max_failures=2), range(100))
    assert len(core.companies) == 1


def test_a_step_that_always_fails_is_the_engines() -> None:
    core = FakeCore(stepping=lambda _work: RuntimeError("?"))
    with pytest.raises(EngineError, match=r"3 times in a row .* engine.failed, RuntimeError"):
        ask(Fence(core, max_failures=3), range(100))
    assert [len(company) for company in core.companies] == [4, 1, 1, 1]


def test_a_device_that_no_longer_computes_ends_it_at_once() -> None:
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    for core in (FakeCore(admitting=lambda _tag, _open: lost), FakeCore(stepping=lambda _work: lost)):
        core.broken = lost
        with pytest.raises(EngineError, match=r"no longer computes \(RuntimeError\)"):
            ask(Fence(core, max_failures=5), "abcd")


def test_what_is_no_questions_fault_passes_through() -> None:
    for error in (EngineError("The picture is not of this size."), KeyboardInterrupt()):

        def raising(_work: Tags, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            ask(Fence(FakeCore(stepping=raising)), "a")
        with pytest.raises(type(error)):
            ask(Fence(FakeCore(admitting=lambda _tag, work: raising(work))), "a")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (NO_MEMORY, True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (
            RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
            True,
        ),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_what_counts_as_no_memory(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_what_libraries_really_raise_counts_as_no_memory() -> None:
    with pytest.raises(RuntimeError) as by_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as by_numpy:
        np.empty(2**60, np.uint8)
    assert out_of_memory(by_torch.value)
    assert out_of_memory(by_numpy.value)
