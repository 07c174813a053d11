"""A decoded 12-lead ECG: what every inbound format becomes, before anything is measured.

An `Ecg` never holds a name, an address or a birth date: a decoder takes age and sex out of them and leaves them behind.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.finding import QualityFlag

LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in the order in which every `Ecg` holds the leads it has."""

INDEPENDENT_LEADS: Final = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight leads that an electrocardiograph records; the other four follow from I and II."""

Sex = Literal["female", "male"]
Priority = Literal["stat", "asap", "routine"]


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a record says of its urgency before it is decoded: its order's priority, and the units that it names."""

    priority: Priority = "routine"
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Patient:
    """Who the ECG belongs to, and the two facts about them that change how it is read."""

    id: str
    assigner: str | None = None
    age_years: float | None = None
    sex: Sex | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The request that the ECG answers, with ids as received."""

    encounter: str | None = None
    placer: str | None = None
    filler: str | None = None
    priority: Priority = "routine"
    clinical_texts: tuple[str, ...] = ()
    """Indication, reason for study and clinical information, as free text; never published, only shown to the model."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters the electrocardiograph says it applied; None is "not stated"."""

    high_pass_hz: float | None = None
    low_pass_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Ecg:
    """One resting ECG.

    `samples_uv` is float32, leads x samples, microvolts, read-only; a sample that the source marks as padding is NaN.
    `leads` names its rows, in the order of `LEADS`; `derived_leads` are those computed from I and II, not recorded.
    `acquired_at` always has a zone.
    """

    format: str
    message_id: str | None
    leads: tuple[str, ...]
    samples_uv: NDArray[np.float32]
    sampling_hz: float
    acquired_at: datetime
    patient: Patient
    order: Order = Order()
    derived_leads: tuple[str, ...] = ()
    filters: Filters = Filters()
    device: str | None = None
    notes: tuple[QualityFlag, ...] = ()
    """What the decoder had to assume or could not use, as flags that end up in the finding's `quality`."""

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return float(self.samples_uv.shape[1] / self.sampling_hz)

    def lead_uv(self, name: str) -> NDArray[np.float32]:
        """The samples of one lead in microvolts; raises ValueError if the ECG lacks it."""
        row: NDArray[np.float32] = self.samples_uv[self.leads.index(name)]
        return row
