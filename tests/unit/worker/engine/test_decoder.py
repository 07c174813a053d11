"""Slots, cache and loop against transformers' own `generate`, and against themselves in other company."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from schemas.rejection import Reason, Rejected
from tests.support.pixels import pixel_values
from worker.engine.decoder import Decision, Decoded, SlotDecoder
from worker.engine.grammar import NO, UNDECIDED, YES, Grammar, answer_grammar, least_tokens, token_bytes
from worker.engine.vision import OrtVisionEncoder
from worker.model.bundle import ModelBundle
from worker.model.errors import EngineError
from worker.model.facts import PromptFacts
from worker.model.huggingface import convert, load_model
from worker.model.prompt import Prompt, PromptBuilder

CPU: Final = torch.device("cpu")
COUNT: Final = 12
NEW_TOKENS: Final = 32
IMAGES: Final[NDArray[np.uint8]] = np.random.default_rng(2).integers(0, 256, (COUNT, 336, 448, 3), np.uint8)
FACTS: Final = [
    PromptFacts(20.0 + 5 * i, ("female", "male", None)[i % 3], ("chest pain, troponin raised",) * (i % 4))
    for i in range(COUNT)
]


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> ModelBundle:
    return ModelBundle.load(tiny_model)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prompts(bundle: ModelBundle) -> list[Prompt]:
    builder = PromptBuilder(bundle)
    return [builder.build(facts) for facts in FACTS]


@pytest.fixture(scope="module")
def embeddings(bundle: ModelBundle) -> list[torch.Tensor]:
    encoder = OrtVisionEncoder(bundle.directory / "vision.onnx", "cpu", threads=1)
    return [encoder.encode(image) for image in IMAGES]


@pytest.fixture(scope="module")
def grammar(bundle: ModelBundle) -> Grammar:
    return answer_grammar(token_bytes(bundle.tokenizer), bundle.config.text_config.vocab_size)


def anything_goes(vocabulary: int) -> Grammar:
    """A grammar that allows every token and never ends, so that the model alone decides."""
    return Grammar(
        table=np.zeros((1, vocabulary), np.uint8),
        start=0,
        done=frozenset(),
        branch=np.full(256, UNDECIDED, np.uint8),
        closing=np.zeros(1, np.uint8),
        reserve=0,
    )


def make_decoder(
    bundle: ModelBundle,
    grammar: Grammar,
    *,
    slots: int = 4,
    max_new_tokens: int = 64,
    dtype: torch.dtype = torch.float32,
) -> SlotDecoder:
    model = load_model(bundle.directory)
    convert(model, dtype, CPU)
    return SlotDecoder(model, grammar, slots, bundle.manifest.prompt_tokens, max_new_tokens)


def decode(
    decoder: SlotDecoder, prompts: list[Prompt], embeddings: list[torch.Tensor], order: list[int], *, every: int = 1
) -> dict[int, Decoded]:
    """Answer all questions in this order, at most one admitted in `every` steps."""
    waiting, work, done, steps = list(order), dict[int, int](), dict[int, Decoded](), 0
    while waiting or work:
        if waiting and decoder.free and steps % every == 0:
            slot, number = decoder.free[-1 if every > 1 else 0], waiting.pop(0)
            decoder.admit(slot, prompts[number], embeddings[number])
            work[slot] = number
        done |= {work.pop(slot): decoded for slot, decoded in decoder.step().items()}
        steps += 1
    return done


@pytest.mark.slow
def test_tokens_are_those_of_plain_generate(
    bundle: ModelBundle, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    """ONNX vision, own prompt, positions, cache and loop on one side; pixel values and `generate` on the other."""
    model = load_model(bundle.directory)
    grid = torch.tensor([[1, bundle.grid.rows, bundle.grid.columns]])
    wanted = []
    for prompt, image in zip(prompts, IMAGES, strict=True):
        ids = prompt.ids[None, : prompt.length]
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == bundle.config.image_token_id).long(),
            pixel_values=pixel_values(image, bundle),
            image_grid_thw=grid,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
        wanted.append(out[0, prompt.length :].tolist())
    assert all(len(set(tokens)) > NEW_TOKENS // 3 for tokens in wanted), "a model that repeats itself proves little"
    assert len({tuple(tokens) for tokens in wanted}) > COUNT // 2, "nor does one that always says the same"

    decoder = make_decoder(bundle, anything_goes(bundle.config.text_config.vocab_size), max_new_tokens=NEW_TOKENS)
    found = decode(decoder, prompts, embeddings, list(range(COUNT)))
    assert [found[number].tokens for number in range(COUNT)] == wanted


@pytest.mark.parametrize(
    ("dtype", "threads", "count"),
    # Two threads, because which of them computes a slot must not matter either; few questions, because two threads on
    # a machine with other work mostly wait for each other.
    [
        (torch.float32, 1, 5),
        (torch.bfloat16, 1, 5),
        (torch.float32, 2, 2),
        pytest.param(torch.float32, 2, 4, marks=pytest.mark.slow),
        pytest.param(torch.float32, 1, COUNT, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 1, COUNT, marks=pytest.mark.slow),
    ],
)
def test_an_answer_is_the_same_to_the_bit_in_any_company(
    bundle: ModelBundle,
    grammar: Grammar,
    prompts: list[Prompt],
    embeddings: list[torch.Tensor],
    dtype: torch.dtype,
    threads: int,
    count: int,
) -> None:
    torch.set_num_threads(threads)
    decoder = make_decoder(bundle, grammar, dtype=dtype, max_new_tokens=least_tokens(grammar))
    alone = {n: decode(decoder, prompts, embeddings, [n])[n] for n in range(count)}
    assert len({answer.decision for answer in alone.values()}) > count // 2
    forward = list(range(count))
    for order, every in ((forward, 1), (forward[::-1], 1), (forward[::-1], 7)):
        assert decode(decoder, prompts, embeddings, order, every=every) == alone


def test_nothing_of_an_earlier_answer_is_left_in_a_slot(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    decoder = make_decoder(bundle, grammar)
    wanted = decode(decoder, prompts, embeddings, [3])
    for layer in decoder._cache._layers:
        for tensor in layer:
            tensor.fill_(float("nan"))
    assert decode(decoder, prompts, embeddings, [3]) == wanted


def test_the_decision_is_weighed_as_the_whole_model_weighs_it(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    """P(yes) and the format mass against one forward pass of transformers over prompt and answer."""
    model = load_model(bundle.directory)
    grid = torch.tensor([[1, bundle.grid.rows, bundle.grid.columns]])
    answers = decode(make_decoder(bundle, grammar), prompts, embeddings, list(range(COUNT)))
    for number in range(COUNT):
        prompt, answer = prompts[number], answers[number]
        states = [grammar.start]
        for place, token in enumerate(answer.tokens):
            if 64 - place <= grammar.reserve:
                states[-1] = int(grammar.closing[states[-1]])
            states.append(int(grammar.table[states[-1], token]))
        decided = next(place for place, state in enumerate(states[1:]) if grammar.branch[state] != UNDECIDED)
        ids = torch.cat([prompt.ids[: prompt.length], torch.tensor(answer.tokens)])[None]
        with torch.inference_mode():
            logits = model(
                input_ids=ids,
                mm_token_type_ids=(ids == bundle.config.image_token_id).long(),
                pixel_values=pixel_values(IMAGES[number], bundle),
                image_grid_thw=grid,
            ).logits[0, prompt.length - 1 + decided]
        share = logits.double().softmax(0)
        branch = torch.from_numpy(grammar.branch[grammar.table[states[decided]]])
        yes, no = float(share[branch == YES].sum()), float(share[branch == NO].sum())
        assert answer.decision is not None
        assert answer.decision.probability_yes == pytest.approx(yes / (yes + no), abs=1e-5)
        assert answer.decision.format_mass == pytest.approx(yes + no, rel=1e-4)


def test_bfloat16_keeps_the_decision_finer_than_its_own_steps(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    answers = decode(make_decoder(bundle, grammar, dtype=torch.bfloat16), prompts, embeddings, list(range(COUNT)))
    odds = [
        np.log(a.decision.probability_yes / (1 - a.decision.probability_yes)) for a in answers.values() if a.decision
    ]
    assert len(odds) == COUNT
    assert any(float(torch.tensor(o).bfloat16()) != pytest.approx(o, rel=1e-6) for o in odds)


def test_forced_says_who_ended_the_reasoning(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    decoder = make_decoder(bundle, grammar)
    assert decode(decoder, prompts, embeddings, [0])[0].forced  # random weights never come to an end by themselves
    close = bundle.tokenizer.convert_tokens_to_ids("</think>")
    with torch.no_grad():
        # A row along the mean output that the closing tag gets from now on: it is the most liked wherever allowed.
        decoder._head.bias = torch.nn.Parameter(torch.zeros(decoder._head.out_features))
        decoder._head.bias[close] = 1e4
    answer = decode(decoder, prompts, embeddings, [0])[0]
    assert not answer.forced
    assert len(answer.tokens) < 12


def test_output_that_is_not_finite_is_an_error(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    decoder = make_decoder(bundle, grammar)
    wanted = decode(decoder, prompts, embeddings, [1])
    for spoilt in (float("nan"), float("inf")):
        with pytest.raises(Rejected) as caught:
            decoder.admit(0, prompts[0], embeddings[0] * spoilt)
        assert (caught.value.reason, caught.value.stage) == (Reason.ENGINE_NOT_FINITE, "ask")
        assert decoder.free == [0, 1, 2, 3]
    assert decode(decoder, prompts, embeddings, [1]) == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_that_stop_being_finite_end_their_own_answer_and_change_no_bit_of_the_others(
    bundle: ModelBundle,
    grammar: Grammar,
    prompts: list[Prompt],
    embeddings: list[torch.Tensor],
    dtype: torch.dtype,
) -> None:
    decoder = make_decoder(bundle, grammar, dtype=dtype, max_new_tokens=least_tokens(grammar))
    wanted = decode(decoder, prompts, embeddings, list(range(4)))
    for spoilt in (float("nan"), float("inf")):
        for number in range(4):
            decoder.admit(number, prompts[number], embeddings[number])
        assert not [done for _ in range(3) for done in decoder.step()]
        for layer in decoder._cache._layers:
            for tensor in layer:
                tensor[1, :, :5] = spoilt
        (broken,) = (ended := decoder.step()).values()
        assert (list(ended), broken.finite, len(broken.tokens), broken.decision) == ([1], False, 4, None)
        decoder.admit(1, prompts[1], embeddings[1])  # at once, beside the others
        found = dict[int, Decoded]()
        while len(found) < 4:
            found |= decoder.step()
        assert found == wanted


def test_a_decision_that_is_not_finite_ends_its_answer(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    decoder = make_decoder(bundle, grammar, max_new_tokens=least_tokens(grammar))
    nan = float("nan")
    decoder._decide = lambda *_: Decision(nan, 1.0)  # type: ignore[method-assign]
    answer = decode(decoder, prompts, embeddings, [0])[0]
    assert not answer.finite
    assert Decision(0.5, 0.5).finite
    assert not any(Decision(*weights).finite for weights in ((nan, 1.0), (0.5, nan), (0.5, float("inf"))))


def test_what_is_abandoned_leaves_nothing_behind(
    bundle: ModelBundle, grammar: Grammar, prompts: list[Prompt], embeddings: list[torch.Tensor]
) -> None:
    decoder = make_decoder(bundle, grammar, max_new_tokens=least_tokens(grammar))
    wanted = decode(decoder, prompts, embeddings, [3])
    for number in range(3):
        decoder.admit(number, prompts[number], embeddings[number])
    decoder.step()
    decoder.abandon()
    assert decoder.free == [0, 1, 2, 3]
    assert decoder.step() == {}
    assert decode(decoder, prompts, embeddings, [3]) == wanted


def test_a_model_without_a_finite_number_is_refused_for_that(bundle: ModelBundle, grammar: Grammar) -> None:
    decoder = make_decoder(bundle, grammar)
    with torch.no_grad():
        decoder._head.weight[7, 0] = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        decoder.check_slots()


def test_a_machine_on_which_slots_differ_is_refused(bundle: ModelBundle, grammar: Grammar) -> None:
    decoder = make_decoder(bundle, grammar)
    decoder.check_slots()

    def differ(_module: torch.nn.Module, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        changed = logits.clone()
        changed[-1, 0] = changed[-1, 0].nextafter(torch.tensor(torch.inf))
        return changed

    decoder._head.register_forward_hook(differ)
    with pytest.raises(EngineError, match="multiple of 4"):
        decoder.check_slots()
