"""The echo engine answers the same always, takes the time that was set, and never passes for a model."""

import subprocess
import sys

import numpy as np
import pytest

from cli.settings import Settings, SettingsError
from worker.engine.echo import EchoEngine, answer
from worker.engine.question import Question
from worker.engine.scheduler import Scheduler
from worker.model.errors import EngineError
from worker.model.facts import PromptFacts
from worker.verdict.claims import interpret


def question(seed: int = 0, age_years: float | None = None) -> Question:
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Question(image, PromptFacts(age_years=age_years))


def test_the_same_question_gets_the_same_answer_and_others_get_others() -> None:
    assert answer(question(1)) == answer(question(1))
    assert len({(answer(question(n)).text, answer(question(n)).probability_yes) for n in range(40)}) > 30
    assert {answer(question(n)).yes for n in range(40)} == {True, False}
    assert answer(question(1, age_years=50.0)) != answer(question(1, age_years=51.0))


def test_the_word_and_its_probability_agree() -> None:
    for number in range(200):
        said = answer(question(number))
        assert 0.0 <= said.probability_yes <= 1.0
        assert said.probability_yes >= 0.5 if said.yes else said.probability_yes <= 0.5


def test_the_reasoning_makes_two_claims_that_can_be_checked() -> None:
    for number in range(40):
        claims = interpret(answer(question(number)).text)
        assert [claim.stated for claim in claims] == ["inverted", "inverted"]
        assert len({claim.lead for claim in claims}) == 2


def test_a_batch_takes_its_own_time_and_that_of_each_question() -> None:
    slept: list[float] = []
    engine = EchoEngine(slots=3, batch_s=0.5, question_s=0.25, sleep=slept.append)
    assert engine.step() == []
    for number in range(3):
        engine.admit(number, question(number))
    assert (engine.free, engine.busy) == (0, True)
    with pytest.raises(EngineError):
        engine.admit(3, question(3))
    assert engine.step() == [(number, answer(question(number))) for number in range(3)]
    assert (engine.free, engine.busy, slept) == (3, False, [1.25])


def test_the_scheduler_runs_it() -> None:
    scheduler = Scheduler(EchoEngine(slots=2, batch_s=0, question_s=0), capacity=4, max_batch=2, max_wait_s=0)
    for number in range(4):
        assert scheduler.put(number, question(number))
    taken = dict(filter(None, (scheduler.take(5.0) for _ in range(4))))
    scheduler.close(5.0)
    assert taken == {number: answer(question(number)) for number in range(4)}


def test_it_calls_itself_untrained() -> None:
    manifest = EchoEngine(1, 0, 0).bundle.manifest
    assert (manifest.name, manifest.training) == ("echo", "untrained")


def test_only_a_setting_chooses_it_and_not_beside_a_model() -> None:
    assert Settings.load().engine == "model"
    assert Settings.load(engine="echo").model is None
    with pytest.raises(SettingsError, match="echo"):
        Settings.load(engine="echo", model="/models/ecg-r1")


def test_running_it_loads_no_model_library() -> None:
    loaded = """
import sys
from cli.wiring.model import identify_model, load_configured_engine
from cli.wiring.stages import running_stages
from cli.settings import Settings
settings = Settings.load(engine="echo")
engine = load_configured_engine(settings)
with running_stages(engine, identify_model(engine), settings):
    import worker.stream.runner, worker.operations.health
    print(sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
