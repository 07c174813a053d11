"""The waiting line and the thread: when work begins, what is bounded, and that nothing fails in silence."""

import threading
from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest

from schemas.rejection import Reason, Rejected
from tests.support.results import answer
from worker.engine.question import Answer, Question
from worker.engine.scheduler import MicroBatcher, Scheduler
from worker.model.errors import EngineError

QUESTION = Question(np.zeros((28, 28, 3), np.uint8))
ANSWER = answer()


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Answers after two steps, in as many slots as it is given. `gate` holds its steps back while it is clear."""

    def __init__(self, slots: int = 2, raises: Mapping[Hashable, BaseException] = MappingProxyType({})) -> None:
        self.slots = slots
        self.raises = raises
        self.gate = threading.Event()
        self.gate.set()
        self.work: dict[Hashable, int] = {}
        self.most = 0
        self.threads: set[int] = set()

    @property
    def free(self) -> int:
        return self.slots - len(self.work)

    @property
    def busy(self) -> bool:
        return bool(self.work)

    def admit(self, tag: Hashable, question: Question) -> None:
        assert self.free
        if tag in self.raises:
            raise self.raises[tag]
        self.threads.add(threading.get_ident())
        self.work[tag] = 2
        self.most = max(self.most, len(self.work))

    def step(self) -> list[tuple[Hashable, Answer]]:
        assert self.gate.wait(10)
        self.work = {tag: left - 1 for tag, left in self.work.items()}
        done = [tag for tag, left in self.work.items() if not left]
        for tag in done:
            del self.work[tag]
        return [(tag, ANSWER) for tag in done]

    def abandon(self) -> None:
        self.work.clear()

    def release(self) -> None:
        pass


def tags(batch: list[tuple[Hashable, Question]]) -> list[Hashable]:
    return [tag for tag, _ in batch]


def test_an_idle_engine_waits_for_a_full_batch_but_not_for_ever() -> None:
    clock = Clock()
    batcher = MicroBatcher(max_batch=3, max_wait_s=0.05, clock=clock)
    assert batcher.patience_s() is None
    batcher.put("a", QUESTION)
    clock.now += 0.02
    batcher.put("b", QUESTION)
    assert batcher.take(4, hurry=False) == []
    assert batcher.patience_s() == pytest.approx(0.03)
    clock.now += 0.04
    assert batcher.patience_s() == 0
    assert tags(batcher.take(4, hurry=False)) == ["a", "b"]
    assert len(batcher) == 0


def test_a_full_batch_begins_at_once_and_in_order() -> None:
    batcher = MicroBatcher(max_batch=3, max_wait_s=1.0, clock=Clock())
    for tag in "abcde":
        batcher.put(tag, QUESTION)
    assert tags(batcher.take(4, hurry=False)) == ["a", "b", "c", "d"]
    assert batcher.take(4, hurry=False) == []


def test_a_question_with_an_earlier_rank_goes_first_and_waits_for_nobody() -> None:
    batcher = MicroBatcher(max_batch=4, max_wait_s=1.0, clock=lambda: 100.0)
    batcher.put("routine", QUESTION, rank=100.0)
    assert batcher.take(4, hurry=False) == []
    batcher.put("stat", QUESTION, rank=-800.0, waited_for=True)
    assert [tag for tag, _ in batcher.take(1, hurry=False)] == ["stat"]
    assert batcher.patience_s() == 0.0, "the engine runs now, and what waited beside it need not wait for more"


def test_a_batch_larger_than_the_engine_does_not_wait_for_the_impossible() -> None:
    batcher = MicroBatcher(max_batch=8, max_wait_s=1.0, clock=Clock())
    for tag in "abc":
        batcher.put(tag, QUESTION)
    assert tags(batcher.take(2, hurry=False)) == ["a", "b"]


def test_a_running_engine_takes_what_fits() -> None:
    batcher = MicroBatcher(max_batch=8, max_wait_s=1.0, clock=Clock())
    for tag in "abc":
        batcher.put(tag, QUESTION)
    assert batcher.take(0, hurry=True) == []
    assert tags(batcher.take(1, hurry=True)) == ["a"]
    assert tags(batcher.take(5, hurry=True)) == ["b", "c"]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def scheduler(engine: FakeEngine) -> Iterator[Scheduler]:
    scheduler = Scheduler(engine, capacity=5, max_batch=2, max_wait_s=0.0)
    yield scheduler
    engine.gate.set()
    scheduler.close(timeout_s=10)


def take_all(scheduler: Scheduler, count: int) -> list[Hashable]:
    found = [scheduler.take(timeout_s=10) for _ in range(count)]
    return [item[0] for item in found if item is not None]


def test_every_question_is_answered_once_by_one_thread(engine: FakeEngine, scheduler: Scheduler) -> None:
    for number in range(5):
        assert scheduler.put(number, QUESTION)
    assert sorted(map(str, take_all(scheduler, 5))) == ["0", "1", "2", "3", "4"]
    assert scheduler.take() is None
    assert engine.most <= engine.slots
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


def test_capacity_counts_until_the_answer_is_taken(engine: FakeEngine, scheduler: Scheduler) -> None:
    engine.gate.clear()
    assert [scheduler.put(number, QUESTION) for number in range(6)] == [True] * 5 + [False]
    engine.gate.set()
    assert scheduler.take(timeout_s=10) is not None
    assert scheduler.held == 4
    assert scheduler.put("now there is room", QUESTION)
    assert not scheduler.put("and now there is not", QUESTION)


def test_a_question_that_fails_comes_out_with_the_reason_among_the_answers() -> None:
    heard = list[tuple[Reason, bool]]()
    scheduler = Scheduler(
        FakeEngine(raises={1: ZeroDivisionError()}),
        capacity=5,
        max_batch=2,
        max_wait_s=0.0,
        on_failure=lambda reason, given_up, _error: heard.append((reason, given_up)),
    )
    assert all(scheduler.put(number, QUESTION) for number in range(4))
    scheduler.close(timeout_s=10)
    found = dict(item for item in (scheduler.take() for _ in range(4)) if item is not None)
    rejected = found.pop(1)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.stage) == (Reason.ENGINE_FAILED, "ask")
    assert found == dict.fromkeys((0, 2, 3), ANSWER)
    assert scheduler.held == 0
    assert heard == [(Reason.ENGINE_FAILED, True)]


def test_after_too_many_of_them_in_a_row_the_owner_is_told_that_it_is_the_engine() -> None:
    engine = FakeEngine(raises=dict.fromkeys(range(9), ZeroDivisionError()))
    scheduler = Scheduler(engine, capacity=5, max_batch=1, max_wait_s=0.0, max_failures=2)
    for tag in (0, 1):
        scheduler.put(tag, QUESTION)
    scheduler._thread.join(10)
    with pytest.raises(EngineError):
        scheduler.put("c", QUESTION)
    for tag in (0, 1):  # what ended before is handed out all the same
        taken = scheduler.take()
        assert taken is not None and taken[0] == tag
    for call in (
        lambda: scheduler.take(timeout_s=10),
        lambda: scheduler.put("c", QUESTION),
        lambda: scheduler.close(timeout_s=10),
    ):
        with pytest.raises(EngineError, match=r"^2 times in a row .* engine.failed, ZeroDivisionError: .*check"):
            call()


class NoQuestionsFault(BaseException):
    """What no fence catches."""


def test_a_failure_in_the_thread_is_raised_to_the_owner() -> None:
    engine = FakeEngine(raises={"b": NoQuestionsFault()})
    scheduler = Scheduler(engine, capacity=5, max_batch=1, max_wait_s=0.0)
    scheduler.put("b", QUESTION)
    for call in (
        lambda: scheduler.take(timeout_s=10),
        lambda: scheduler.put("c", QUESTION),
        lambda: scheduler.close(timeout_s=10),
    ):
        with pytest.raises(EngineError, match="NoQuestionsFault") as caught:
            call()
        assert isinstance(caught.value.__cause__, NoQuestionsFault)


def test_close_answers_what_was_handed_in(engine: FakeEngine) -> None:
    scheduler = Scheduler(engine, capacity=5, max_batch=5, max_wait_s=3600.0)
    for number in range(3):
        assert scheduler.put(number, QUESTION)
    scheduler.close(timeout_s=10)
    assert sorted(map(str, take_all(scheduler, 3))) == ["0", "1", "2"]
    with pytest.raises(EngineError, match="closed"):
        scheduler.put("late", QUESTION)


def test_close_says_when_the_engine_does_not_end(engine: FakeEngine, scheduler: Scheduler) -> None:
    engine.gate.clear()
    scheduler.put("a", QUESTION)
    with pytest.raises(EngineError, match="did not finish"):
        scheduler.close(timeout_s=0.01)


def test_a_stalled_engine_shows(engine: FakeEngine) -> None:
    clock = Clock()
    scheduler = Scheduler(engine, capacity=5, max_batch=1, max_wait_s=0.0, clock=clock)
    engine.gate.clear()
    scheduler.put("a", QUESTION)
    while not engine.busy:
        assert scheduler.take() is None
    clock.now += 42
    assert scheduler.stalled_s == pytest.approx(42)
    engine.gate.set()
    scheduler.close(timeout_s=10)
    assert scheduler.stalled_s == 0
