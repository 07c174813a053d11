"""What a good reader would write of an ECG: what is seen, what speaks for and against ischemia, and the weighing.

Every word follows from the measured waveform, the picture's faults and the clinical text's cues; only the name of the
pattern is the simulator's knowledge. Sentences are plain enough for `worker.verdict.claims` to take claims from.

Thresholds. T flat below 0.1 mV, deep from 0.5 mV: AHA/ACCF/HRS 2009 IV. QRS wide from 120 ms: the same, III. High
voltage from 3.5 mV: Sokolow and Lyon, 1949. QT long from a QTc of 480 ms: the second step of the Schwartz score, 1993.
ST raised or depressed from 0.05 mV: 4th universal definition of MI, 2018. A T wave is called symmetric if its halves
last equally long within a third: ischemic ones do, those of strain fall slowly and rise fast.
"""

from collections.abc import Mapping
from typing import Final, Literal

from schemas.ecg import LEADS
from schemas.finding import Measurements
from worker.waveform.measure import INVERSION_MV, Measured

TWave = Literal["upright", "flat", "inverted", "deeply inverted", "biphasic", "unreadable"]

READ_LEADS: Final = tuple(lead for lead in LEADS if lead != "aVR")
"""The leads whose T wave is named: in aVR a negative one is normal."""

_DEEP_MV: Final = -0.5
_WIDE_MS: Final = 120.0
_HIGH_MV: Final = 3.5
_LONG_QTC_MS: Final = 480.0
_ST_MV: Final = 0.05
_SYMMETRIC: Final = 1.35

# What a clinical cue is called, and which way it points: at ischemia, or at another cause of an inverted T wave.
_FOR: Final[Mapping[str, str]] = {
    "chest_pain": "chest pain",
    "arm_pain": "radiating pain",
    "pain_resolved": "pain that has gone",
    "recent_mi": "recent infarction",
    "diabetes": "diabetes",
    "smoker": "smoking",
    "coronary_disease": "coronary disease",
    "stent": "stent",
    "troponin_raised": "troponin raised",
}
_AGAINST: Final[Mapping[str, str]] = {
    "pleuritic_pain": "pleuritic pain",
    "headache": "headache",
    "coma": "coma",
    "stress": "emotional stress",
    "fever": "fever",
    "nausea": "nausea",
    "weakness": "weakness",
    "check": "routine check",
    "stenosis": "aortic stenosis",
    "pulmonary_hypertension": "pulmonary hypertension",
    "thrombosis": "thrombosis",
    "cancer": "cancer",
    "cardiomyopathy": "cardiomyopathy",
    "pacemaker": "pacemaker",
    "pacing_ended": "pacing before",
    "ablation": "ablation",
    "svt": "tachycardia before",
    "endurance": "endurance sport",
    "family_history": "family history",
    "bleeding": "intracranial bleeding",
    "viral": "viral infection",
    "digoxin": "digoxin",
    "diuretic": "low potassium",
    "vomiting": "low potassium",
    "troponin_normal": "troponin normal",
}

PATTERNS: Final[Mapping[str, str]] = {
    "nste_acs_anterior": "anterior ischemia",
    "nste_acs_inferior": "inferior ischemia",
    "nste_acs_lateral": "lateral ischemia",
    "nste_acs_anterolateral": "anterolateral ischemia",
    "nste_acs_wraparound": "ischemia around the apex",
    "wellens_a": "Wellens pattern, biphasic",
    "wellens_b": "Wellens pattern, deep",
    "post_mi_anterior": "anterior infarction",
    "post_mi_inferior": "inferior infarction",
    "lvh_strain": "left ventricular strain",
    "rvh_strain": "right ventricular strain",
    "pulmonary_embolism": "pulmonary embolism",
    "lbbb": "left bundle branch block",
    "rbbb": "right bundle branch block",
    "paced": "paced rhythm",
    "wpw": "pre-excitation",
    "memory_t": "cardiac memory",
    "juvenile": "juvenile pattern",
    "athlete": "athlete's heart",
    "normal": "normal variant",
    "apical_hcm": "apical cardiomyopathy",
    "cns": "cerebral T waves",
    "takotsubo": "takotsubo",
    "pericarditis_iii": "late pericarditis",
    "digoxin": "digoxin effect",
    "hypokalaemia": "low potassium",
}
"""The simulator's entities in a reader's words."""


def t_waves(measured: Measured) -> dict[str, TWave]:
    """What the T wave of each of `READ_LEADS` does."""
    return {lead: _t_wave(measured, lead) for lead in READ_LEADS}


def deepest(measurements: Measurements) -> str | None:
    """The lead with the lowest T wave of those that are inverted."""
    depths = [(_t_mv(measurements, lead), lead) for lead in measurements.t_wave_inversion]
    return min(depths)[1] if depths else None


def write_reasoning(measured: Measured, pattern: str, cues: tuple[str, ...], ischemic: bool) -> str:
    """The reasoning for a readable picture. `cues` are the simulator's names for what the clinical text speaks of."""
    supports, opposes = _shown(measured)
    supports += [_FOR[cue] for cue in cues if cue in _FOR]
    opposes += [_AGAINST[cue] for cue in cues if cue in _AGAINST]
    return f"{_read_off(measured)} {_weighed(supports, opposes)} Most likely {pattern}: " + _concluded(
        supports, opposes, ischemic
    )


def reasoning_from_waveform(measured: Measured, ischemic: bool) -> str:
    """The reasoning where nobody has named a pattern or picked out what the text says: the waveform alone."""
    supports, opposes = _shown(measured)
    conclusion = _concluded(supports, opposes, ischemic)
    return f"{_read_off(measured)} {_weighed(supports, opposes)} {conclusion[0].upper()}{conclusion[1:]}"


def reasoning_without_waveform(cues: tuple[str, ...], ischemic: bool) -> str:
    """The reasoning where no picture can be seen: nothing is claimed of any lead."""
    supports = [_FOR[cue] for cue in cues if cue in _FOR]
    opposes = [_AGAINST[cue] for cue in cues if cue in _AGAINST]
    conclusion = "likely" if ischemic else "unlikely"
    return f"No ECG can be seen. {_weighed(supports, opposes)} By the text alone: ischemia {conclusion}."


def _read_off(measured: Measured) -> str:
    numbers = measured.measurements
    leads = ", ".join(f"{lead} {state}" for lead, state in t_waves(measured).items())
    return " ".join([_intervals(numbers), f"T waves: {leads}.", *_depth(numbers), *_st(numbers)])


def _weighed(supports: list[str], opposes: list[str]) -> str:
    return f"For ischemia: {', '.join(supports) or 'nothing'}. Against: {', '.join(opposes) or 'nothing'}."


def _concluded(supports: list[str], opposes: list[str], ischemic: bool) -> str:
    """The stronger word where two reasons more speak for the conclusion than against it."""
    balance = len(supports) - len(opposes) if ischemic else len(opposes) - len(supports)
    return f"ischemia {'very ' if balance >= 2 else ''}{'likely' if ischemic else 'unlikely'}."


def _t_mv(measurements: Measurements, lead: str) -> float:
    found = measurements.leads[lead].t_mv
    return 0.0 if found is None else found


def _t_wave(measured: Measured, lead: str) -> TWave:
    found = measured.measurements.leads.get(lead)
    if found is None or found.t_mv is None:
        return "unreadable"
    if lead in measured.biphasic:
        return "biphasic"
    if found.t_mv <= INVERSION_MV:
        return "deeply inverted" if found.t_mv <= _DEEP_MV else "inverted"
    return "upright" if found.t_mv >= -INVERSION_MV else "flat"


def _intervals(numbers: Measurements) -> str:
    wide = numbers.qrs_ms is not None and numbers.qrs_ms >= _WIDE_MS
    high = numbers.sokolow_lyon_mv is not None and numbers.sokolow_lyon_mv >= _HIGH_MV
    long = numbers.qtc_ms is not None and numbers.qtc_ms >= _LONG_QTC_MS
    return (
        f"QRS {'wide' if wide else 'narrow'}, voltage {'high' if high else 'normal'}, "
        f"QT {'long' if long else 'normal'}."
    )


def _depth(numbers: Measurements) -> list[str]:
    lead = deepest(numbers)
    if lead is None:
        return []
    ratio = numbers.leads[lead].t_symmetry
    shape = "" if ratio is None else (", symmetric" if _is_symmetric(ratio) else ", asymmetric")
    return [f"Deepest in {lead}, about {-_t_mv(numbers, lead):.1f} mV{shape}."]


def _is_symmetric(ratio: float) -> bool:
    return 1 / _SYMMETRIC <= ratio <= _SYMMETRIC


def _st(numbers: Measurements) -> list[str]:
    levels = {lead: numbers.leads[lead].st_mv for lead in READ_LEADS if lead in numbers.leads}
    raised = [lead for lead, level in levels.items() if level is not None and level >= _ST_MV]
    low = [lead for lead, level in levels.items() if level is not None and level <= -_ST_MV]
    return [
        *([f"ST raised in {', '.join(raised)}."] if raised else []),
        *([f"ST depressed in {', '.join(low)}."] if low else []),
    ]


def _shown(measured: Measured) -> tuple[list[str], list[str]]:
    """What the waveform itself says for ischemia and against it."""
    numbers = measured.measurements
    lead = deepest(numbers)
    ratio = None if lead is None else numbers.leads[lead].t_symmetry
    supports = ["symmetric inversion"] if ratio is not None and _is_symmetric(ratio) else []
    if set(measured.biphasic) & {"V2", "V3"}:
        supports.append("biphasic T")
    opposes = ["asymmetric inversion"] if ratio is not None and not _is_symmetric(ratio) else []
    intervals = _intervals(numbers)
    opposes += [word for word in ("wide", "high", "long") if f" {word}" in intervals]
    names = {"wide": "wide QRS", "high": "high voltage", "long": "long QT"}
    return supports, [names.get(word, word) for word in opposes]
