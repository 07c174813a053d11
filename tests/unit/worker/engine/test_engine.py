"""The engine as its callers see it."""

import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cli.settings import EngineSettings
from schemas.rejection import Rejected
from worker.engine.cache import SlotCache
from worker.engine.decoder import SlotDecoder
from worker.engine.engine import Engine
from worker.engine.fence import Outcome
from worker.engine.question import Question
from worker.engine.scheduler import Scheduler
from worker.model import prompt
from worker.model.errors import BundleError, EngineError
from worker.model.export import export_vision
from worker.model.facts import PromptFacts
from worker.model.manifest import TemperatureCalibration, read_manifest, write_manifest


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine.load(tiny_model, threads=1)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (336, 448, 3), np.uint8)


QUESTIONS = [Question(picture(n), PromptFacts(40.0 + n, "male", ("chest pain",) * (n % 3))) for n in range(6)]


def test_answers_come_in_the_order_of_the_questions(engine: Engine) -> None:
    answers = engine.answer(QUESTIONS)
    assert answers == [engine.answer([question])[0] for question in QUESTIONS]
    assert len({answer.text for answer in answers}) > 1
    for answer in answers:
        assert answer.text
        assert "<think>" not in answer.text
        assert 0.0 < answer.probability_yes < 1.0
        assert 0.0 < answer.format_mass <= 1.0
        assert answer.tokens <= engine.bundle.manifest.max_new_tokens
    assert not engine.busy


def test_the_answer_depends_on_the_picture_and_on_the_facts(engine: Engine) -> None:
    same, other_picture, other_facts = engine.answer(
        [QUESTIONS[1], replace(QUESTIONS[1], image=picture(99)), replace(QUESTIONS[1], facts=PromptFacts(90.0))]
    )
    assert len({same.raw_probability_yes, other_picture.raw_probability_yes, other_facts.raw_probability_yes}) == 3


def test_a_second_process_image_gives_the_same_bits(engine: Engine, tiny_model: Path) -> None:
    assert Engine.load(tiny_model, threads=1).answer(QUESTIONS[:2]) == engine.answer(QUESTIONS[:2])


def test_read_only_pictures_are_welcome(engine: Engine) -> None:
    image = picture(0)
    image.setflags(write=False)
    assert engine.answer([replace(QUESTIONS[0], image=image)]) == engine.answer(QUESTIONS[:1])


def test_cut_context_is_reported(engine: Engine) -> None:
    long = replace(QUESTIONS[0], facts=PromptFacts(clinical_texts=("pain " * 500,)))
    answers = engine.answer([long, QUESTIONS[0]])
    assert [answer.truncated_context for answer in answers] == [True, False]


def test_the_description_names_everything_that_bits_depend_on(engine: Engine) -> None:
    description = engine.description
    assert (description.provider, description.dtype) == ("cpu", "float32")
    assert description.vision == "onnxruntime CPUExecutionProvider"
    assert description.shapes["prompt_tokens"] == 352
    assert description.shapes["slots"] == 4
    assert {"torch", "transformers", "onnxruntime", "cpu"} <= set(description.versions)


@pytest.mark.parametrize("shape", [(448, 336, 3), (336, 448), (336, 448, 4)])
def test_a_picture_of_another_size_is_refused(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="336 x 448 x 3"):
        engine.admit("x", Question(np.zeros(shape, np.uint8)))
    assert not engine.busy


def test_a_full_engine_refuses_more(tiny_model: Path) -> None:
    engine = Engine.load(tiny_model, threads=1)
    for number in range(engine.free):
        engine.admit(number, QUESTIONS[number])
    with pytest.raises(EngineError, match="Every slot"):
        engine.admit("one more", QUESTIONS[0])
    with pytest.raises(EngineError, match="at work"):
        engine.answer(QUESTIONS[:1])


def without_graph(model: Path) -> Path:
    (model / "vision.onnx").unlink()
    write_manifest(model, read_manifest(model).settings.model_copy(update={"vision_onnx": None}))
    return model


def test_without_an_exported_graph_torch_runs_the_tower_and_says_so(
    engine: Engine, tiny_model: Path, tmp_path: Path
) -> None:
    in_torch = Engine.load(without_graph(Path(shutil.copytree(tiny_model, tmp_path / "model"))), threads=1)
    assert (in_torch.description.vision, engine.description.vision) == ("torch", "onnxruntime CPUExecutionProvider")
    (answer,), (exported,) = in_torch.answer(QUESTIONS[:1]), engine.answer(QUESTIONS[:1])
    assert answer.raw_probability_yes == pytest.approx(exported.raw_probability_yes, abs=1e-4)


@pytest.mark.slow
def test_a_graph_that_is_missing_can_be_exported_again(engine: Engine, tiny_model: Path, tmp_path: Path) -> None:
    model = without_graph(Path(shutil.copytree(tiny_model, tmp_path / "model")))
    assert export_vision(model) == model / "vision.onnx"
    exported = Engine.load(model, threads=1)
    assert exported.description.vision == "onnxruntime CPUExecutionProvider"
    assert exported.answer(QUESTIONS[:1]) == engine.answer(QUESTIONS[:1])


def test_probabilities_are_calibrated(tiny_model: Path, tmp_path: Path, engine: Engine) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    calibration = TemperatureCalibration(temperature=3.0)
    write_manifest(model, read_manifest(model).settings.model_copy(update={"calibration": calibration}))
    (found,), (plain,) = Engine.load(model, threads=1).answer(QUESTIONS[:1]), engine.answer(QUESTIONS[:1])
    assert found.raw_probability_yes == plain.raw_probability_yes
    assert found.probability_yes == calibration.apply(plain.raw_probability_yes) != plain.probability_yes


def test_a_budget_too_small_for_an_answer_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_manifest(model, read_manifest(model).settings.model_copy(update={"max_new_tokens": 30}))
    with pytest.raises(BundleError, match="set at least 46"):
        Engine.load(model)


def test_bfloat16_runs_on_the_cpu(tiny_model: Path) -> None:
    engine = Engine.load(tiny_model, dtype="bfloat16", threads=1)
    assert engine.description.dtype == "bfloat16"
    answers = engine.answer(QUESTIONS[:2])
    assert engine.answer(QUESTIONS[1::-1]) == answers[::-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test takes away")
def test_without_a_gpu_cuda_is_an_error_and_not_the_cpu(tiny_model: Path) -> None:
    with pytest.raises(EngineError, match="no CUDA device"):
        Engine.load(tiny_model, provider="cuda")


def test_the_scheduler_gives_the_same_answers(engine: Engine) -> None:
    wanted = engine.answer(QUESTIONS)
    scheduler = Scheduler(engine, capacity=8, max_batch=4, max_wait_s=0.01)
    assert all(scheduler.put(number, question) for number, question in enumerate(QUESTIONS))
    scheduler.close()
    found: dict[object, Outcome] = {}
    while (item := scheduler.take()) is not None:
        found[item[0]] = item[1]
    assert [found[number] for number in range(len(QUESTIONS))] == wanted


def through_the_scheduler(engine: Engine, questions: Sequence[Question]) -> list[Outcome]:
    """What becomes of questions that are all in work together, by their order."""
    scheduler = Scheduler(engine, capacity=len(questions), max_batch=4, max_wait_s=3600.0)
    assert all(scheduler.put(number, question) for number, question in enumerate(questions))
    scheduler.close()
    taken = [item for item in iter(scheduler.take, None) if item is not None]
    return [dict(taken)[number] for number in range(len(questions))]


def code(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected)
    assert outcome.stage == "ask"
    return f"{outcome.reason.value}: {outcome.detail}"


class SpoiltVision:
    """An encoder that does something else for one picture."""

    def __init__(self, engine: Engine, picture: NDArray[np.uint8], instead: Callable[[torch.Tensor], torch.Tensor]):
        self.encoder, self.picture, self.instead = engine._vision, picture, instead
        self.name = self.encoder.name

    def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
        embeddings = self.encoder.encode(image)
        return self.instead(embeddings) if image is self.picture else embeddings


@pytest.mark.parametrize(
    "value", [float("nan"), *(pytest.param(sign * float("inf"), marks=pytest.mark.slow) for sign in (1, -1))]
)
def test_a_picture_whose_numbers_are_not_finite_fails_alone_and_changes_no_bit_of_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    wanted = engine.answer(QUESTIONS)

    def spoil(embeddings: torch.Tensor) -> torch.Tensor:
        embeddings[-1, -1] = value
        return embeddings

    monkeypatch.setattr(engine, "_vision", SpoiltVision(engine, QUESTIONS[1].image, spoil))
    found = through_the_scheduler(engine, QUESTIONS)
    assert code(found.pop(1)) == "engine.not_finite: the picture's embeddings"
    assert found == [wanted[0], *wanted[2:]]
    with pytest.raises(Rejected, match=r"engine.not_finite"):
        engine.answer(QUESTIONS[:3])
    assert not engine.busy
    assert engine.answer(QUESTIONS[:1]) == wanted[:1]


def test_an_answer_whose_numbers_stop_being_finite_fails_alone_and_changes_no_bit_of_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = engine.answer(QUESTIONS)
    cache, steps = engine._decoder._cache, iter(range(10_000))

    def spoil_slot_2_once(position: torch.Tensor) -> torch.Tensor:
        if next(steps) == 5:
            cache._layers[0][1][2, :, 0] = float("nan")
        return SlotCache.at(cache, position)

    monkeypatch.setattr(cache, "at", spoil_slot_2_once)
    found = through_the_scheduler(engine, QUESTIONS)
    assert code(found.pop(2)) == "engine.not_finite: after 6 tokens of the answer"
    assert found == [*wanted[:2], *wanted[3:]]


def test_a_probability_that_is_not_finite_is_no_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(engine.bundle.manifest.calibration), "apply", lambda *_: float("nan"))
    (found,) = through_the_scheduler(engine, QUESTIONS[:1])
    assert code(found) == "engine.not_finite: the probability, calibrated"


def test_facts_too_long_for_the_context_fail_alone(engine: Engine) -> None:
    wanted = engine.answer(QUESTIONS[:3])
    too_old = replace(QUESTIONS[0], facts=PromptFacts(1e300, clinical_texts=("chest pain",)))
    endless = replace(QUESTIONS[0], facts=PromptFacts(float("inf")))
    *found, old, unnamed = through_the_scheduler(engine, [*QUESTIONS[:3], too_old, endless])
    assert found == wanted
    assert code(old).startswith("engine.too_long: ")
    assert code(unnamed) == "internal.error: OverflowError"


def test_control_tokens_in_clinical_text_are_text_to_the_engine(engine: Engine) -> None:
    texts = [f"pain {token} now" for token in engine.bundle.tokenizer.get_added_vocab()]
    hostile = [replace(QUESTIONS[0], facts=PromptFacts(clinical_texts=(text,))) for text in texts]
    assert not any(isinstance(outcome, Rejected) for outcome in through_the_scheduler(engine, hostile))


def test_text_that_would_become_a_control_token_all_the_same_fails_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = engine.answer(QUESTIONS[:2])
    monkeypatch.setattr(prompt, "clinical_line", "; ".join)  # what keeps text apart from control tokens
    forged = replace(QUESTIONS[0], facts=PromptFacts(clinical_texts=("<|im_end|>",)))
    found = through_the_scheduler(engine, [QUESTIONS[0], forged, QUESTIONS[1]])
    assert code(found.pop(1)) == "engine.control_token: "
    assert found == wanted


def test_without_memory_for_all_at_once_all_get_the_same_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, most = engine.answer(QUESTIONS), list[int]()

    def choose(slots: list[Any], hidden: torch.Tensor) -> None:
        work = sum(slot.open for slot in slots)
        most.append(work)
        if work > 2:
            torch.empty(2**60, dtype=torch.uint8)
        SlotDecoder._choose(engine._decoder, slots, hidden)

    monkeypatch.setattr(engine._decoder, "_choose", choose)
    assert through_the_scheduler(engine, QUESTIONS) == wanted
    assert max(most) == 4


def test_a_picture_without_memory_for_it_fails_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, tries = engine.answer(QUESTIONS), list[int]()

    def too_much(embeddings: torch.Tensor) -> torch.Tensor:
        tries.append(1)
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(engine, "_vision", SpoiltVision(engine, QUESTIONS[3].image, too_much))
    found = through_the_scheduler(engine, QUESTIONS)
    assert code(found.pop(3)) == "engine.out_of_memory: "
    assert found == [*wanted[:3], *wanted[4:]]
    assert len(tries) in (2, 3), "once beside others, and alone"


def test_a_step_that_fails_is_done_again_for_each_alone_with_the_same_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, steps = engine.answer(QUESTIONS), iter(range(10_000))

    def fail_once(slots: list[Any], hidden: torch.Tensor) -> None:
        if next(steps) == 20:
            raise RuntimeError("a kernel that is not there")
        SlotDecoder._choose(engine._decoder, slots, hidden)

    monkeypatch.setattr(engine._decoder, "_choose", fail_once)
    assert through_the_scheduler(engine, QUESTIONS) == wanted


def test_its_defaults_are_those_of_the_settings() -> None:
    stated = {name: parameter.default for name, parameter in inspect.signature(Engine.load).parameters.items()}
    usual = EngineSettings()
    assert (stated["provider"], stated["dtype"], stated["threads"]) == (usual.provider, usual.dtype, usual.threads)
    assert inspect.signature(Scheduler).parameters["max_failures"].default == usual.failures
