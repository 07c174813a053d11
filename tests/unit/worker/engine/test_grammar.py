"""Whatever a model wants to write, the answer has the agreed shape, ends in time, and can be yes as well as no."""

import re
import unicodedata
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.models.build import build_tokenizer
from worker.engine.grammar import (
    DEAD,
    NO,
    UNDECIDED,
    YES,
    Grammar,
    answer_grammar,
    least_tokens,
    reasoning_and_answer,
    token_bytes,
)
from worker.model.errors import BundleError

TEXTS: Final = (
    "<think>T waves inverted in V2 V3, deep.</think><answer>yes</answer>",
    "<think>Strain pattern, asymmetric. </think>\n<answer>no</answer>",
    "ST < 0.1 mV, µV, naïve – ≥ 50 %; QT\tlong\r\n\n",
)
ANSWER: Final = re.compile(
    r"<think>(?:(?!</?think>|</?answer>).)*\S(?:(?!</?think>|</?answer>).)*</think>\n?<answer>(yes|no)</answer>",
    re.DOTALL,
)


class Speller:
    """A tokenizer with its grammar."""

    def __init__(self, *, tag_tokens: bool) -> None:
        self.tokenizer: Any = build_tokenizer(TEXTS * 30, 420, tag_tokens=tag_tokens)
        self.bytes = token_bytes(self.tokenizer)
        self.grammar: Grammar = answer_grammar(self.bytes, len(self.tokenizer) + 3)

    def accepts(self, text: str) -> bool:
        """Whether the text, in the tokenizer's own tokens, is a whole answer."""
        state = self.grammar.start
        for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]:
            if state in self.grammar.done:
                return False
            state = int(self.grammar.table[state, token])
            if state == DEAD:
                return False
        return state in self.grammar.done

    def write(self, rng: np.random.Generator, budget: int, liking: NDArray[np.float64]) -> list[int]:
        """An answer by a model that likes each token this much, and is otherwise random."""
        grammar, tokens, state = self.grammar, list[int](), self.grammar.start
        while state not in grammar.done:
            assert len(tokens) < budget, "the answer did not end in time"
            if budget - len(tokens) <= grammar.reserve:
                state = int(grammar.closing[state])
            allowed = grammar.table[state] != DEAD
            logits = np.where(allowed, liking + rng.gumbel(size=len(liking)), -np.inf)
            tokens.append(int(logits.argmax()))
            state = int(grammar.table[state, tokens[-1]])
        return tokens

    def text(self, tokens: list[int]) -> str:
        return b"".join(self.bytes[token] or b"" for token in tokens).decode("utf-8")


@pytest.fixture(scope="module", params=[True, False], ids=["tags are tokens", "tags are spelled"])
def speller(request: pytest.FixtureRequest) -> Speller:
    return Speller(tag_tokens=request.param)


def test_answers_as_tokenisers_write_them_are_accepted(speller: Speller) -> None:
    assert speller.accepts(TEXTS[0])
    assert speller.accepts(TEXTS[1])
    assert speller.accepts("<think>\nST < 0.1 mV, a<b, </thin> is no tag</think><answer>no</answer>")


def test_tokens_merge_across_the_edges_of_tags() -> None:
    """The reason to work on bytes; if this ceases to be, the other tests prove less than they seem to."""
    spelled = Speller(tag_tokens=False)
    tokens = spelled.tokenizer.tokenize(TEXTS[0])
    assert ".</" in tokens
    assert ">yes" in tokens


@pytest.mark.parametrize(
    "text",
    [
        "<answer>yes</answer>",
        "<think></think><answer>yes</answer>",
        "<think> \n</think><answer>yes</answer>",
        "<think>a</think> <answer>yes</answer>",
        "<think>a</think>\n\n<answer>yes</answer>",
        "<think>a</think><answer>maybe</answer>",
        "<think>a</think><answer>yesno</answer>",
        "<think>a</think><answer> yes</answer>",
        "<think>a</think><answer>Yes</answer>",
        "<think>a<think>b</think><answer>yes</answer>",
        "<think>a<answer>no</answer></think><answer>yes</answer>",
        "<think>a</answer>b</think><answer>yes</answer>",
        "<think>a</think><answer>yes</answer><answer>no</answer>",
        "<think>a</think><answer>yes</answer>\n",
        "<think>a<|im_end|></think><answer>yes</answer>",
        "<think>a\tb</think><answer>yes</answer>",
        "<think>a\u202eb</think><answer>yes</answer>",
    ],
)
def test_anything_else_is_not(speller: Speller, text: str) -> None:
    assert not speller.accepts(text)


@given(seed=st.integers(0, 2**32), extra=st.integers(0, 60), bias=st.floats(0, 30))
def test_random_models_always_write_a_whole_answer_in_time(
    speller: Speller, seed: int, extra: int, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    budget = least_tokens(speller.grammar) + extra
    liking = rng.normal(scale=bias, size=speller.grammar.table.shape[1:])
    text = speller.text(speller.write(rng, budget, liking))
    assert ANSWER.fullmatch(text)
    assert not {unicodedata.category(c) for c in text.replace("\n", "")} & {"Cc", "Cf", "Co", "Cn", "Cs"}
    reasoning, yes = reasoning_and_answer(text)
    assert reasoning
    assert yes == text.endswith("<answer>yes</answer>")


@given(seed=st.integers(0, 2**32), favourite=st.sampled_from([" ", "\n", "<", "</", "t", "a", "/"]))
def test_a_model_in_love_with_one_token_still_ends(speller: Speller, seed: int, favourite: str) -> None:
    liking = np.zeros(speller.grammar.table.shape[1])
    liking[speller.bytes.index(favourite.encode())] = 100
    budget = least_tokens(speller.grammar)
    assert ANSWER.fullmatch(speller.text(speller.write(np.random.default_rng(seed), budget, liking)))


@pytest.mark.parametrize("wanted", [b"yes", b"no"])
def test_the_budget_favours_neither_answer(speller: Speller, wanted: bytes) -> None:
    """Even when every token is a single byte, and the reasoning goes on for ever."""
    single = [token for token, text in enumerate(speller.bytes) if text is not None and len(text) == 1]
    liking = np.full(speller.grammar.table.shape[1], -1000.0)
    liking[single] = 0.0
    liking[speller.bytes.index(wanted[:1])] = 100
    liking[speller.bytes.index(b"<")] = -500
    text = speller.text(speller.write(np.random.default_rng(0), least_tokens(speller.grammar), liking))
    assert text.endswith(f"<answer>{wanted.decode()}</answer>")


def test_branches_begin_where_yes_and_no_part(speller: Speller) -> None:
    grammar = speller.grammar
    for text, branch in ((TEXTS[0], YES), (TEXTS[1], NO)):
        state, branches = grammar.start, []
        for token in speller.tokenizer(text, add_special_tokens=False)["input_ids"]:
            state = int(grammar.table[state, token])
            branches.append(int(grammar.branch[state]))
        assert branches[0] == UNDECIDED
        assert branches[-1] == branch
        assert branches == sorted(branches)


def test_an_answer_that_is_one_token_is_a_decision_too() -> None:
    single: list[bytes | None] = [bytes([byte]) for byte in range(256)]
    grammar = answer_grammar([*single, b"<think>a</think><answer>", b"yes</answer>", b"no</answer>"], 259)
    before = int(grammar.table[grammar.start, 256])
    assert grammar.branch[before] == UNDECIDED
    yes, no = (int(grammar.table[before, token]) for token in (257, 258))
    assert {yes, no} == grammar.done
    assert (grammar.branch[yes], grammar.branch[no]) == (YES, NO)


def test_rows_beyond_the_tokenizer_are_never_written(speller: Speller) -> None:
    assert (speller.grammar.table[:, len(speller.tokenizer) :] == DEAD).all()


def test_a_tokenizer_that_cannot_spell_the_tags_is_refused() -> None:
    with pytest.raises(BundleError, match="byte-level BPE"):
        answer_grammar([b"<think>", b"a", b"</think>", b"<answer>", b"yes"], 5)


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=Tokenizer(models.WordLevel({"▁chest": 0, "pain": 1}, unk_token="pain")))
    with pytest.raises(BundleError, match="no byte-level BPE"):
        token_bytes(tokenizer)
