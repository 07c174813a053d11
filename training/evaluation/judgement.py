"""What a model said of one example, beside what is true; kept as JSON lines, so that no model is asked twice."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from training.data.example import Example
from worker.engine.question import Answer
from worker.verdict.grounding import ground


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer to the example at place `at`. `raw_probability` is the model's P(yes) before calibration.

    `stated` and `inverted` are the leads said to have an inverted T wave and those that truly have one, among the leads
    that could be measured; `inverted` is None where the truth is not known. `grounded` as in a finding.
    """

    at: int
    name: str
    ischemic: bool
    yes: bool
    raw_probability: float
    text: str
    stated: tuple[str, ...]
    inverted: tuple[str, ...] | None
    grounded: bool
    entity: str | None = None

    @classmethod
    def of(cls, at: int, example: Example, answer: Answer) -> Self:
        """An answer held against the example's truth and its waveform."""
        numbers = example.measured.measurements
        reasoning = ground(answer.text, numbers)
        readable = {lead for lead, found in numbers.leads.items() if found.t_mv is not None and lead != "aVR"}
        stated = {claim.lead for claim in reasoning.claims if claim.stated == "inverted" and claim.lead}
        return cls(
            at=at,
            name=example.name,
            ischemic=example.ischemic,
            yes=answer.yes,
            raw_probability=answer.raw_probability_yes,
            text=answer.text,
            stated=tuple(sorted(stated & readable)),
            inverted=None if example.inverted is None else tuple(sorted(set(example.inverted) & readable)),
            grounded=reasoning.grounded,
            entity=example.entity,
        )


def append(path: Path, judgements: Iterable[Judgement]) -> None:
    """Add judgements to a file, each in one write: a process that is stopped leaves whole lines."""
    with path.open("a", encoding="utf-8", buffering=1) as file:
        for judgement in judgements:
            file.write(json.dumps(asdict(judgement)) + "\n")


def read(path: Path) -> Iterator[Judgement]:
    """The judgements of a file; none if there is no file yet."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            fields = json.loads(line)
            fields["stated"] = tuple(fields["stated"])
            fields["inverted"] = None if fields["inverted"] is None else tuple(fields["inverted"])
            yield Judgement(**fields)
