"""May the model be asked? It answers whether a T-wave inversion is ischemic; without one there is no question.

The rule is that of the fourth universal definition of myocardial infarction (2018): T inverted by 0.1 mV or more in two
contiguous leads. Its further condition, a prominent R wave, is left to the model: this gate must not miss what the
model is there to judge, and Wellens' syndrome is at home in leads with a small R.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

from schemas.ecg import Ecg
from schemas.finding import Verdict
from worker.waveform.measure import INVERSION_MV, Measured

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "t_wave_inversion": "T is inverted, or ends inverted, in two contiguous leads: the model is asked.",
        "no_contiguous_t_wave_inversion": "No two contiguous leads have an inverted T wave.",
        "too_few_beats": "Fewer than three complete beats of one shape were found.",
        "too_few_good_leads": "Fewer than six of the eight independent leads can be used.",
        "lead_reversal_suspected": "The limb electrodes seem exchanged; the ECG has to be recorded again.",
        "unusable_lead_beside_inversion": "A lead that cannot be used may hide an inversion in two contiguous leads.",
    }
)
"""Every reason code of screening, and what it means."""

CONTIGUOUS: Final = (
    ("V1", "V2", "V3", "V4", "V5", "V6"),
    ("aVL", "I", "-aVR", "II", "aVF", "III"),
)
"""Chest leads in order, limb leads in Cabrera's: neighbours look at neighbouring parts of the heart."""

_State = Literal["inverted", "upright", "unknown"]


@dataclass(frozen=True, slots=True)
class Screening:
    """`verdict` is the answer without the model; None means: ask the model. `reason` is in `REASONS`."""

    verdict: Verdict | None
    reason: str


def screen(ecg: Ecg, measured: Measured) -> Screening:
    """Decide whether the question applies to this ECG. A lead that the ECG lacks counts as one that cannot be used."""
    if not measured.quality.usable:
        return Screening("indeterminate", _why_unusable(measured))
    pairs = [
        {_state(ecg, measured, one), _state(ecg, measured, other)}
        for chain in CONTIGUOUS
        for one, other in pairwise(chain)
    ]
    if {"inverted"} in pairs:
        return Screening(None, "t_wave_inversion")
    if any("unknown" in pair and "upright" not in pair for pair in pairs):
        return Screening("indeterminate", "unusable_lead_beside_inversion")
    return Screening("no_t_wave_inversion", "no_contiguous_t_wave_inversion")


def _why_unusable(measured: Measured) -> str:
    problems = {flag.problem for flag in measured.quality.flags if flag.lead is None}
    return next(
        (code for code in ("too_few_beats", "lead_reversal_suspected") if code in problems), "too_few_good_leads"
    )


def _state(ecg: Ecg, measured: Measured, name: str) -> _State:
    """What the T wave of a lead does; "-aVR" is aVR upside down, so that an upright T there is inverted here."""
    lead = name.removeprefix("-")
    t_mv = measured.measurements.leads[lead].t_mv if lead in ecg.leads else None
    if t_mv is None:
        return "unknown"
    if name != lead:
        return "inverted" if -t_mv <= INVERSION_MV else "upright"
    return "inverted" if t_mv <= INVERSION_MV or lead in measured.biphasic else "upright"
