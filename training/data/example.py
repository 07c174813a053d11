"""One thing to learn from: the picture and the facts as the worker would ask, and what is right."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, overload

from worker.model.facts import PromptFacts
from worker.picture.raster import Picture
from worker.waveform.measure import Measured


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A question with its answer.

    `name` says where it came from, without patient data. `measured` is what the waveform shows, for rewards and for
    teaching the eye. `reasoning` is what a model should write, without tags; None where nobody has written any.
    `entity` and `inverted`, the leads whose T wave is truly inverted, are known for simulated ECGs alone.
    """

    name: str
    image: Picture
    facts: PromptFacts
    ischemic: bool
    measured: Measured
    reasoning: str | None = None
    entity: str | None = None
    inverted: tuple[str, ...] | None = None

    @property
    def target(self) -> str:
        """What a model should answer, tags included. The reasoning is never empty: the worker's grammar wants some."""
        answer = "yes" if self.ischemic else "no"
        return f"<think>{self.reasoning or UNEXPLAINED}</think><answer>{answer}</answer>"


UNEXPLAINED: Final = "Read by a clinician."


class MadeExamples(Sequence[Example], ABC):
    """Examples that are made when they are asked for, the same every time."""

    @abstractmethod
    def make(self, at: int) -> Example:
        """The example at this place, from 0 on."""

    @overload
    def __getitem__(self, at: int) -> Example: ...

    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...

    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return [self.make(index) for index in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self.make(at)


Examples = Sequence[Example]
"""Examples in a fixed order; each may be made anew whenever it is asked for, and is the same every time."""
