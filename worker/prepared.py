"""An ECG on its way: what is known of it before the model is asked, small enough to travel between processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.ecg import Priority
from schemas.finding import EcgSummary, Measurements, OrderRef, PatientRef, Quality, Source
from worker.engine.question import Question
from worker.model.facts import PromptFacts
from worker.verdict.screening import Screening


@dataclass(frozen=True, slots=True, eq=False)
class PreparedEcg:
    """Everything a finding says but the answer. `image` is None when the question does not apply."""

    source: Source
    ecg_digest: str
    recording_digest: str
    patient: PatientRef
    encounter: str | None
    order: OrderRef
    priority: Priority
    ecg: EcgSummary
    quality: Quality
    measurements: Measurements
    screening: Screening
    facts: PromptFacts
    image: NDArray[np.uint8] | None
    image_digest: str | None

    @property
    def question(self) -> Question | None:
        """What to ask the model, or None if it is not to be asked."""
        return None if self.image is None else Question(self.image, self.facts)
