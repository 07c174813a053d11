"""Asks a model about many examples, as the worker would: its engine, its grammar. Goes on where it was stopped.

Or lets it write without the grammar, to see whether it keeps the form by itself.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from schemas.rejection import Rejected
from training.data.batch import Collator
from training.data.example import Example, Examples
from training.evaluation import judgement
from training.evaluation.judgement import Judgement
from worker.engine.engine import Engine
from worker.engine.question import Question
from worker.model.bundle import ModelBundle
from worker.model.errors import EngineError
from worker.model.prompt import PromptBuilder

# Examples at once. An answer does not depend on how many are written beside it; 32 take half the time that 8 do.
_CHUNK: Final = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, what it is asked, and the file that keeps its judgements: one file for one model and one data set."""

    model: Path
    examples: Examples
    file: Path


def ask(asked: Asked, processes: int, on_progress: Callable[[int], None]) -> list[Judgement]:
    """All judgements, in the order of the examples. `told` hears how many were added, as they come."""
    held = {known.at for known in judgement.read(asked.file)}
    missing = [at for at in range(len(asked.examples)) if at not in held]
    on_progress(len(held))
    chunks = [missing[first : first + _CHUNK] for first in range(0, len(missing), _CHUNK)]
    if chunks:
        # Spawned, not forked: a fork of a process with torch's threads can stand still for ever.
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(processes, len(chunks)), _load, (asked.model, asked.examples)) as pool:
            for answered in pool.imap_unordered(_answer, chunks):
                judgement.append(asked.file, answered)
                on_progress(len(answered))
    by_place = {known.at: known for known in judgement.read(asked.file)}
    return [by_place[at] for at in range(len(asked.examples))]


def generate_unconstrained(model: Any, bundle: ModelBundle, examples: Sequence[Example]) -> list[str]:
    """What the model writes to each example without the grammar, greedily, up to its end-of-turn token."""
    tokenizer, prompts = bundle.tokenizer, PromptBuilder(bundle)
    ids = [prompts.token_ids(example.facts) for example in examples]
    length = max(map(len, ids))
    # Padded on the left: what is written begins at the same place in every row.
    padded = torch.tensor([[tokenizer.pad_token_id] * (length - len(row)) + row for row in ids])
    attended = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids])
    with torch.inference_mode():
        written = model.generate(
            input_ids=padded,
            attention_mask=attended,
            mm_token_type_ids=(padded == bundle.config.image_token_id).long(),
            **Collator(bundle).pixels(examples),
            max_new_tokens=bundle.manifest.max_new_tokens + 1,  # the end of the turn is a token too
            do_sample=False,
        )
    return [_until_end(tokenizer, row.tolist()) for row in written[:, length:]]


def _until_end(tokenizer: Any, row: list[int]) -> str:
    """The text before the end of the turn; all of it, the end's sign included, if padding came first."""
    end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row)
    text: str = tokenizer.decode(row[:end], skip_special_tokens=False)
    return text


@dataclass(slots=True)
class _Kept:
    """What each process of the pool keeps from task to task."""

    engine: Engine
    examples: Examples


_kept: list[_Kept] = []


def _load(model: Path, examples: Examples) -> None:
    _kept.append(_Kept(Engine.load(model, threads=1, slots=_CHUNK), examples))


def _answer(places: Sequence[int]) -> list[Judgement]:
    (kept,) = _kept
    chosen = [kept.examples[at] for at in places]
    try:
        answers = kept.engine.answer([Question(example.image, example.facts) for example in chosen])
    except Rejected as rejected:  # the figures would be of other examples without it
        raise EngineError(
            f"The model cannot answer one of the examples {places[0]} to {places[-1]} ({rejected.reason.value}): "
            f"{rejected.reason.meaning} Leave it out of the data, or evaluate where it can be answered."
        ) from rejected
    return [Judgement.of(at, example, answer) for at, example, answer in zip(places, chosen, answers, strict=True)]
