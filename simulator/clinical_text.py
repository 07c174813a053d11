"""The few words that come with an ECG: why it was ordered, what is known, the troponin. Age and sex travel elsewhere.

Most texts match the entity. A stated share mixes in the history of an entity of the other kind, and a stated share
contradicts: symptom and history are those of the other kind. Whoever reads must look at the ECG.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from simulator.entities import ENTITIES, Entity
from simulator.hospital import Hospital

Kind = Literal["matching", "mixed", "contradictory"]

MIXED_RATE: Final = 0.2
CONTRADICTORY_RATE: Final = 0.1
_TROPONIN_KNOWN: Final = 0.75

_SYMPTOMS: Final[Mapping[str, tuple[str, ...]]] = {
    "chest_pain": ("chest pressure for 2 h", "central chest pain since this morning", "chest pain at rest"),
    "arm_pain": ("pain in the left arm and jaw", "epigastric pain with sweating"),
    "pain_resolved": ("chest pain yesterday, now pain-free", "intermittent chest pain, none at present"),
    "recent_mi": ("day 2 after myocardial infarction", "follow-up after PCI for infarction"),
    "dyspnoea": ("shortness of breath", "dyspnoea on exertion", "breathless since yesterday"),
    "pleuritic_pain": ("sharp chest pain on breathing in", "pleuritic chest pain"),
    "palpitations": ("palpitations", "feels the heart racing at times"),
    "syncope": ("syncope", "collapsed this morning"),
    "oedema": ("swollen legs", "ankle oedema and fatigue"),
    "headache": ("sudden severe headache", "thunderclap headache"),
    "coma": ("found unconscious", "reduced consciousness"),
    "stress": ("chest pain after a bereavement", "chest tightness after severe emotional stress"),
    "fever": ("fever and chest discomfort", "flu-like illness"),
    "nausea": ("nausea and loss of appetite", "nausea, blurred vision"),
    "weakness": ("muscle weakness", "weak legs and cramps"),
    "check": ("routine check", "pre-participation screening", "preoperative assessment"),
    "none": ("no symptoms", "incidental finding", "no complaints"),
}
_HISTORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "diabetes": ("diabetes", "type 2 diabetes on metformin"),
    "smoker": ("smoker", "smokes 20 a day"),
    "coronary_disease": ("known coronary disease", "two-vessel coronary disease"),
    "stent": ("recent stent", "PCI three days ago"),
    "hypertension": ("hypertension", "high blood pressure for 20 years"),
    "stenosis": ("aortic stenosis", "severe aortic valve stenosis"),
    "pulmonary_hypertension": ("pulmonary hypertension",),
    "copd": ("COPD", "severe COPD on home oxygen"),
    "thrombosis": ("recent deep vein thrombosis", "raised d-dimer, swollen calf"),
    "cancer": ("cancer under chemotherapy", "metastatic cancer"),
    "cardiomyopathy": ("dilated cardiomyopathy", "reduced ejection fraction"),
    "pacemaker": ("pacemaker", "ventricular pacemaker implanted last year"),
    "pacing_ended": ("pacemaker, now in sinus rhythm", "temporary pacing until yesterday"),
    "ablation": ("ablation of an accessory pathway last week", "ventricular tachycardia, recently terminated"),
    "svt": ("episodes of tachycardia", "known short PR interval"),
    "endurance": ("endurance athlete", "competitive rower"),
    "family_history": ("sudden death in the family", "brother with cardiomyopathy"),
    "bleeding": ("subarachnoid haemorrhage on CT", "intracranial bleeding"),
    "viral": ("viral infection two weeks ago", "pericarditis last month"),
    "digoxin": ("digoxin, atrial fibrillation", "on digoxin for atrial fibrillation"),
    "diuretic": ("thiazide diuretic, K 2.6", "furosemide, potassium 2.8"),
    "vomiting": ("vomiting for three days, K 2.7",),
    "no_history": ("no previous illness", "no relevant history"),
}
_TROPONIN: Final[Mapping[bool, tuple[str, ...]]] = {
    True: ("troponin raised", "troponin elevated and rising"),
    False: ("troponin normal", "troponin negative"),
}
_SHORT: Final[Mapping[str, str]] = {
    "chest pain": "CP",
    "shortness of breath": "SOB",
    "hypertension": "HTN",
    "diabetes": "DM",
    "coronary disease": "CAD",
    "myocardial infarction": "MI",
    "deep vein thrombosis": "DVT",
    "atrial fibrillation": "AF",
    "troponin normal": "trop neg",
    "troponin negative": "trop neg",
    "troponin raised": "trop pos",
    "no previous illness": "PMH nil",
    "no relevant history": "PMH nil",
}


@dataclass(frozen=True, slots=True)
class ClinicalText:
    """Texts as an order carries them: the reason first, then what else is known; `cues` name what they speak of."""

    texts: tuple[str, ...]
    kind: Kind
    cues: tuple[str, ...]


def sample_text(rng: np.random.Generator, entity: Entity, hospital: Hospital) -> ClinicalText:
    """A text for one ECG of this entity, in the style of the hospital."""
    kind = _kind(float(rng.random()))
    other = _of_the_other_kind(rng, entity)
    history_of = other if kind == "contradictory" else entity
    cues = [_one(rng, history_of.symptoms)]
    reason = _one(rng, _SYMPTOMS[cues[0]])
    facts = []
    for source in [history_of, other] if kind == "mixed" else [history_of]:
        cues.append(_one(rng, source.histories))
        facts.append(_one(rng, _HISTORIES[cues[-1]]))
    if rng.random() < _TROPONIN_KNOWN:
        raised = bool(rng.random() < history_of.raised_troponin)
        cues.append("troponin_raised" if raised else "troponin_normal")
        facts.append(_one(rng, _TROPONIN[raised]))
    if hospital.text_style == "sentences":
        texts: tuple[str, ...] = (_sentence([reason]), _sentence(facts))
    else:
        texts = (_shortened("; ".join([reason, *facts])),)
    return ClinicalText(texts, kind, tuple(cues))


def _kind(drawn: float) -> Kind:
    if drawn < CONTRADICTORY_RATE:
        return "contradictory"
    return "mixed" if drawn < CONTRADICTORY_RATE + MIXED_RATE else "matching"


def _of_the_other_kind(rng: np.random.Generator, entity: Entity) -> Entity:
    others = [other for other in ENTITIES.values() if other.ischemic != entity.ischemic]
    return others[int(rng.integers(len(others)))]


def _one(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _sentence(parts: list[str]) -> str:
    joined = ". ".join(part[0].upper() + part[1:] for part in parts)
    return joined + "."


def _shortened(text: str) -> str:
    """As notes are typed in a hurry."""
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    return text
