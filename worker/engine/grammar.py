"""The shape of every answer, enforced token by token:

    <think> reasoning </think> [newline] <answer> yes|no </answer>

The automaton is built on bytes and then lifted to tokens, because tokenisers merge across the edges of tags (`.</`,
`>yes`). The reasoning is never empty, holds no further tag, no control or format character, and only tokens that are
whole UTF-8, so that what is published is valid text whatever the model does.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.model.errors import BundleError

DEAD: Final = 255
UNDECIDED: Final = 0
YES: Final = 1
NO: Final = 2

_OPEN: Final = b"<think>"
_CLOSE: Final = b"</think>"
_TAGS: Final = (_OPEN, _CLOSE, b"<answer>", b"</answer>")
_ANSWERS: Final = {YES: b"yes</answer>", NO: b"no</answer>"}

# States, as (kind, ...) with the bytes that matter for what may follow.
_State = tuple[str, int, bytes]
_START: Final[_State] = ("open", 0, b"")

# Unicode categories that a reader cannot see or that no font shows.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_LONGEST_ENDING: Final = _CLOSE + b"\n<answer>" + _ANSWERS[YES]


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """An automaton over tokens.

    `table` is uint8 [states, vocabulary]: the state after a token, or DEAD if the token is not allowed. An answer ends
    in a state of `done`; the end-of-turn token that a model would write next is implied. `branch` is uint8 [256]:
    UNDECIDED, YES or NO for each state. `closing` is uint8 [states]: the state to go on from when only `reserve` tokens
    are left; every token is at least one byte, so from there the answer always fits, and yes and no fit equally well.
    """

    table: NDArray[np.uint8]
    start: int
    done: frozenset[int]
    branch: NDArray[np.uint8]
    closing: NDArray[np.uint8]
    reserve: int


def answer_grammar(vocabulary: Sequence[bytes | None], size: int) -> Grammar:
    """Build the grammar for a vocabulary as `token_bytes` gives it, for a model with `size` token rows.

    Raises BundleError if the vocabulary cannot spell every answer.
    """
    states = _reachable()
    index = {state: number for number, state in enumerate(states)}
    by_byte = np.full((256, 256), DEAD, np.uint8)
    for state, number in index.items():
        for byte in range(256):
            if (after := _next(state, byte)) is not None:
                by_byte[number, byte] = index[after]
    table = np.full((len(states), size), DEAD, np.uint8)
    allowed = [token for token, text in enumerate(vocabulary) if text and _publishable(text)]
    table[:, allowed] = _lift(by_byte, len(states), [vocabulary[token] or b"" for token in allowed])
    stuck = (table == DEAD).all(axis=1)
    done = frozenset(number for (kind, _, _), number in index.items() if kind == "done")
    stuck[list(done)] = False
    if stuck.any():
        raise BundleError("The tokenizer cannot spell the answer's tags byte by byte. A byte-level BPE is needed.")
    branch = np.zeros(256, np.uint8)
    for (kind, answer, _), number in index.items():
        branch[number] = answer if kind in ("answer", "done") else UNDECIDED
    closing = np.array([index[_closing(state)] for state in states], np.uint8)
    return Grammar(table, index[_START], done, branch, closing, reserve=len(_LONGEST_ENDING))


def least_tokens(grammar: Grammar) -> int:
    """The smallest `max_new_tokens` that leaves the model its own words before the budget closes the answer."""
    # Until the first byte of reasoning: the opening tag, one white byte, and a tag that was begun and given up.
    return grammar.reserve + len(_OPEN) + 1 + max(len(tag) for tag in _TAGS)


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """The bytes that each token of a byte-level BPE stands for; None for added tokens other than the answer's tags.

    Raises BundleError if the tokenizer is no byte-level BPE.
    """
    added = {number: content for content, number in tokenizer.get_added_vocab().items()}
    decode = _byte_decoder()
    vocabulary: list[bytes | None] = []
    for number, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        if number in added:
            tag = added[number].encode()
            vocabulary.append(tag if tag in _TAGS else None)
        elif token is None:
            vocabulary.append(None)
        elif any(character not in decode for character in token):
            raise BundleError("The tokenizer is no byte-level BPE, so that its tokens' bytes are not known.")
        else:
            vocabulary.append(bytes(decode[character] for character in token))
    return vocabulary


def _next(state: _State, byte: int) -> _State | None:
    """The automaton over bytes. States of reasoning carry the part of a tag that is being written, if any."""
    kind, extra, written = state
    now = written + bytes([byte])
    match kind:
        case "open":
            return _literal(_OPEN, now, ("begin", 0, b""), state)
        case "begin" | "reason":
            return _reasoning(state, byte)
        case "close":
            return _literal(_CLOSE, now, ("after", 0, b""), state)
        case "after":
            if now == b"\n":
                return ("tag", 0, b"")
            return _literal(b"<answer>", now, ("decide", 0, b""), ("tag", 0, b""))
        case "tag":
            return _literal(b"<answer>", now, ("decide", 0, b""), state)
        case "decide":
            return next((("answer", answer, now) for answer, text in _ANSWERS.items() if text[0] == byte), None)
        case "answer":
            return _literal(_ANSWERS[extra], now, ("done", extra, b""), state)
    return None


def _literal(text: bytes, now: bytes, then: _State, state: _State) -> _State | None:
    """One more byte of fixed text: `then` when it is complete, None if it was the wrong byte."""
    if now == text:
        return then
    return (state[0], state[1], now) if text.startswith(now) else None


def _reasoning(state: _State, byte: int) -> _State | None:
    """Free text. In "begin" nothing but at most one white byte (counted by `extra`) has been written yet."""
    kind, white, written = state
    now = written + bytes([byte])
    if now in _TAGS:
        return ("after", 0, b"") if now == _CLOSE and kind == "reason" else None
    if any(tag.startswith(now) for tag in _TAGS):
        return (kind, white, now)
    if kind == "begin" and not written and byte in b" \n":
        return None if white else ("begin", 1, b"")
    # Every tag begins with "<" and has no other, so that what failed as a tag can only begin anew at this byte.
    return ("reason", 0, b"<" if byte == ord("<") else b"")


def _closing(state: _State) -> _State:
    """Where to go on when the budget ends the reasoning: at `</think>`, or within it if it is half written."""
    kind, _, written = state
    if kind != "reason":
        return state
    return ("close", 0, written if _CLOSE.startswith(written) else b"")


def _reachable() -> list[_State]:
    """All states, by breadth from the start; the closing states too, which only the budget enters."""
    states: dict[_State, None] = {_START: None}
    queue = [_START]
    while queue:
        state = queue.pop(0)
        for after in [_closing(state), *(_next(state, byte) for byte in range(256))]:
            if after is not None and after not in states:
                states[after] = None
                queue.append(after)
    assert len(states) < DEAD
    return list(states)


def _lift(by_byte: NDArray[np.uint8], states: int, texts: Sequence[bytes]) -> NDArray[np.uint8]:
    """Run every token's bytes from every state at once: uint8 [states, tokens]."""
    lengths = np.array([len(text) for text in texts])
    after = np.repeat(np.arange(states, dtype=np.uint8)[:, None], len(texts), axis=1)
    for position in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > position)
        bytes_here = np.array([texts[token][position] for token in longer.tolist()])
        # Row DEAD of by_byte is all DEAD, so that a dead token stays dead.
        after[:, longer] = by_byte[after[:, longer], bytes_here]
    return after


def _publishable(text: bytes) -> bool:
    """Whole UTF-8, and nothing but visible characters, spaces and newlines."""
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(c == "\n" or unicodedata.category(c) not in _HIDDEN for c in characters)


def _byte_decoder() -> dict[str, int]:
    """The printable stand-ins by which byte-level BPE writes bytes: themselves, or 256 and up for the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def reasoning_and_answer(text: str) -> tuple[str, bool]:
    """The reasoning and whether the answer was yes, from an answer that the grammar let through."""
    reasoning, _, rest = text.removeprefix("<think>").partition("</think>")
    return reasoning.strip(), "yes" in rest
