"""An engine without a model, for trying out everything around it: delivery under faults, capacity, a new installation.

It answers every question after a stated time with something made up from the question's own bytes: the same question
always gets the same answer, whatever it was asked with. It calls itself `echo` and untrained, so that every finding
says what it is and none raises a flag. Only the setting `engine` can choose it. It loads no model library.
"""

import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from schemas.ecg import LEADS
from worker.engine.question import Answer, Question
from worker.model.errors import EngineError
from worker.model.manifest import IdentityCalibration, LayoutSettings, ModelSettings, PromptSettings

# Raised with every change of what is answered: findings of another version must have other ids.
_VERSION: Final = "echo/1"

# A quarter of the usual picture: the drawing is real work, but not what is tried out here.
_LAYOUT: Final = LayoutSettings(name="3x4+II", width_px=560, height_px=420, speed_mm_per_s=25, gain_mm_per_mv=10)


@dataclass(frozen=True, slots=True)
class EchoBundle:
    """What stands in for a model directory."""

    manifest: ModelSettings
    digest: str
    prompt_digest: str


@dataclass(frozen=True, slots=True)
class EchoDescription:
    """How the answers are computed: by nothing that has an execution provider or a number type."""

    shapes: dict[str, int]
    provider: str = "none"
    dtype: str = "none"


class EchoEngine:
    """Answers up to `slots` questions at once, in `batch_s` for the batch and `question_s` for each question in it."""

    def __init__(
        self, slots: int, batch_s: float, question_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.bundle = EchoBundle(_settings(slots), _digest("bundle"), _digest("prompt"))
        self.description = EchoDescription({"slots": slots})
        self._slots = slots
        self._batch_s = batch_s
        self._question_s = question_s
        self._sleep = sleep
        self._asked: list[tuple[Hashable, Question]] = []

    @property
    def free(self) -> int:
        """How many questions can be admitted now."""
        return self._slots - len(self._asked)

    @property
    def busy(self) -> bool:
        """Whether any answer is open."""
        return bool(self._asked)

    def admit(self, tag: Hashable, question: Question) -> None:
        """Put a question into a free slot. Raises EngineError."""
        if not self.free:
            raise EngineError("Every slot is taken.")
        self._asked.append((tag, question))

    def step(self) -> list[tuple[Hashable, Answer]]:
        """Answer everything that was asked, as one batch."""
        asked, self._asked = self._asked, []
        if asked:
            self._sleep(self._batch_s + self._question_s * len(asked))
        return [(tag, answer(question)) for tag, question in asked]

    def abandon(self) -> None:
        """Forget everything that was asked."""
        self._asked.clear()

    def release(self) -> None:
        """Give back memory, of which it holds none."""


def answer(question: Question) -> Answer:
    """The answer that follows from the question's digest: a word, its probability, and inversions in two leads."""
    digest = hashlib.sha256(repr(question.facts).encode())
    digest.update(question.image.tobytes())
    drawn = digest.digest()
    yes = drawn[0] % 2 == 1
    share = 0.5 + drawn[1] / 510  # of the word that it says
    probability_yes = share if yes else 1.0 - share
    first = drawn[2] % (len(LEADS) - 1)
    text = f"Made up, by no model. T waves are inverted in {LEADS[first]} and {LEADS[first + 1]}."
    return Answer(
        text=text,
        yes=yes,
        probability_yes=probability_yes,
        raw_probability_yes=probability_yes,
        format_mass=1.0,
        forced=False,
        truncated_context=False,
        tokens=len(text.split()),
    )


def _settings(slots: int) -> ModelSettings:
    return ModelSettings(
        name="echo",
        training="untrained",
        layout=_LAYOUT,
        prompt=PromptSettings(system="", question="none"),
        prompt_tokens=1,
        max_new_tokens=1,
        slots=slots,
        threshold=0.5,
        calibration=IdentityCalibration(),
        vision_onnx=None,
    )


def _digest(part: str) -> str:
    return hashlib.sha256(f"{_VERSION} {part}".encode()).hexdigest()
