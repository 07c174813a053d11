"""Examples from the simulator: endless, the same for the same seed, and only ECGs that the worker would ask about."""

import hashlib
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

import numpy as np

from schemas.ecg import Ecg
from simulator.generate import simulate_one
from simulator.hospital import Hospital
from simulator.truth import Truth
from training.data.example import Example, MadeExamples
from training.data.reasoning import PATTERNS, reasoning_without_waveform, write_reasoning
from training.data.restyle import blank, restyle
from worker.model.facts import PromptFacts
from worker.picture.layout import Layout
from worker.picture.raster import Picture, image_digest, render_image
from worker.verdict.screening import screen
from worker.waveform.measure import Measured, measure

_DIGESTED: Final = 32  # examples enough to notice any change, in half a second


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How lessons differ from what a worker shows, so that a model does not lean on one form or one source.

    Shares of examples: `restyle`d in another dark ink and up to `shift_px` aside, without clinical text, with blank
    paper instead of the picture. A blank one teaches to say that nothing can be seen.
    """

    restyle: float = 0.5
    shift_px: int = 4
    darkest_ink: int = 60
    without_text: float = 0.1
    blank: float = 0.03


NO_AUGMENTATION: Final = Augmentation(restyle=0.0, without_text=0.0, blank=0.0)
"""No variety: the very pictures and texts that a worker would show."""


class Synthetic(MadeExamples):
    """`len` examples of one hospital and seed. Each is made when it is asked for, in about 12 ms."""

    def __init__(
        self, site: Hospital, seed: int, length: int, layout: Layout, augmentation: Augmentation = NO_AUGMENTATION
    ) -> None:
        self._site = site
        self._seed = seed
        self._length = length
        self._layout = layout
        self._augmentation = augmentation

    def __len__(self) -> int:
        return self._length

    @property
    def source(self) -> str:
        """What these examples are, for a run's records."""
        return (
            f"simulated: hospital {self._site.name}, seed {self._seed}, {self._length} examples, {self._augmentation}"
        )

    @property
    def digest(self) -> str:
        """SHA-256 over what these are and over the first pictures and targets, which change with the simulator."""
        digest = hashlib.sha256(self.source.encode())
        for example in self[:_DIGESTED]:
            digest.update(image_digest(example.image).encode())
            digest.update(example.target.encode())
        return digest.hexdigest()

    def make(self, at: int) -> Example:
        """The example at this place: the first drawn there that the worker would ask about."""
        for attempt in count():
            rng = np.random.default_rng([self._seed, ord(self._site.name), at, attempt])
            ecg, truth = simulate_one(rng, self._seed, self._site, at)
            measured = measure(ecg)
            if screen(ecg, measured).verdict is None:
                break
        return self._varied(rng, self._example(ecg, truth, measured), truth)

    def _example(self, ecg: Ecg, truth: Truth, measured: Measured) -> Example:
        return Example(
            name=f"{truth.site}{truth.seed}-{truth.index}",
            image=self._printed(render_image(ecg, self._layout)),
            facts=PromptFacts(ecg.patient.age_years, ecg.patient.sex, ecg.order.clinical_texts),
            ischemic=truth.ischemic,
            measured=measured,
            reasoning=write_reasoning(measured, PATTERNS[truth.entity], truth.cues, truth.ischemic),
            entity=truth.entity,
            inverted=truth.leads,
        )

    def _printed(self, image: Picture) -> Picture:
        """As the hospital prints."""
        right_px, down_px = (round(mm * self._layout.px_per_mm) for mm in self._site.offset_mm)
        if not (right_px or down_px or any(self._site.ink_rgb)):
            return image
        return restyle(image, self._site.ink_rgb, right_px, down_px)

    def _varied(self, rng: np.random.Generator, example: Example, truth: Truth) -> Example:
        augmentation, cues = self._augmentation, truth.cues
        if rng.random() < augmentation.without_text:
            cues = ()
            example = replace(
                example,
                facts=replace(example.facts, clinical_texts=()),
                reasoning=write_reasoning(example.measured, PATTERNS[truth.entity], cues, truth.ischemic),
            )
        if rng.random() < augmentation.restyle:
            red, green, blue = (int(value) for value in rng.integers(0, augmentation.darkest_ink + 1, 3))
            right, down = (int(value) for value in rng.integers(-augmentation.shift_px, augmentation.shift_px + 1, 2))
            example = replace(example, image=restyle(example.image, (red, green, blue), right, down))
        if rng.random() < augmentation.blank:
            example = replace(
                example, image=blank(example.image), reasoning=reasoning_without_waveform(cues, truth.ischemic)
            )
        return example
