"""What can lie behind an inverted T wave, as data: where, how deep, of what shape, in whom, with which history.

Thresholds. Classes of T amplitude (flat below 0.1 mV, inverted, deep from 0.5, giant from 1.0 mV): AHA/ACCF/HRS 2009
part IV. Ischemic: inversion over 0.1 mV in two contiguous leads: 4th universal definition of MI, 2018. Deep inversion
in V2 to V4 with a long QT as the proximal LAD's: AHA/ACCF/HRS 2009 part VI. Voltages of hypertrophy: Sokolow and Lyon,
1949. QRS from 120 ms as a block: AHA/ACCF/HRS 2009 part III.

Depths. Acute coronary syndrome: 0.35 ± 0.23 mV in V4 and 0.47 ± 0.33 mV at its deepest; pulmonary embolism: 0.34 ±
0.20 mV at its deepest; apical cardiomyopathy: 0.85 ± 0.69 mV in V4 with an R in V5 of 3.13 ± 1.08 mV, as published
series report them. They are narrowed here to what shows the entity; where no distribution is known, it is the range
that defines the entity. Nothing was fitted to patients.
"""

from dataclasses import dataclass, replace
from typing import Final

from simulator import qrs_shapes as qrs
from simulator.qrs_shapes import Chest, Qrs, Span

_NORMAL_T: Final[Chest] = (0.04, 0.3, 0.42, 0.4, 0.33, 0.25)
_NO_CHEST: Final[Chest] = (0, 0, 0, 0, 0, 0)
_SYMMETRIC: Final[Span] = (0.85, 1.2)  # onset to nadir over nadir to end: ischemic 0.8 to 1.25
_STRAIN: Final[Span] = (1.6, 2.4)  # down slowly, up fast: above 1.5


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep the T wave is where it is deepest, mV: a normal distribution, cut at `least` and `most`."""

    mean: float
    sd: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Entity:
    """One cause. Chest profiles run from V1 to V6; ST is in mV by independent lead.

    An ECG's inverted chest T waves lie between the profiles `t_down` and `t_down_2`, times its depth; `t_up` in mV is
    added, for the leads that stay upright. In the frontal plane the T wave is a vector at `t_axis_deg`: of the depth
    times `t_frontal` if that is not zero, else a normal upright one. `t_width` is its length in shares of J to T end.
    """

    ischemic: bool
    symptoms: tuple[str, ...]
    histories: tuple[str, ...]
    weight: float = 1.0
    raised_troponin: float = 0.1
    age_years: Span = (40, 85)
    female: float = 0.45
    rate_bpm: Span = (55, 98)
    irregularity: float = 0.02
    p_share: float = 1.0
    pr_ms: Span = (140, 185)
    qtc_ms: Span = (390, 440)
    qrs: Qrs = qrs.NORMAL
    depth: Depth = Depth(0.0, 0.0, 0.0, 0.0)
    t_down: Chest = _NO_CHEST
    t_down_2: Chest = _NO_CHEST
    t_up: Chest = _NORMAL_T
    t_axis_deg: Span = (20, 65)
    t_frontal: Span = (0.0, 0.0)
    symmetry: Span = (1.3, 1.8)
    t_width: Span = (0.62, 0.74)
    biphasic_mv: Span = (0.0, 0.0)
    """The upright first half of a biphasic T, in the leads whose second half is inverted."""
    st: tuple[tuple[str, Span], ...] = ()
    st_sags: bool = False
    """The ST segment is rounded (scooped or domed), not level."""
    u: Chest = _NO_CHEST


_ACS_SYMPTOMS: Final = ("chest_pain", "chest_pain", "chest_pain", "dyspnoea", "arm_pain", "palpitations", "none")
_ACS_HISTORIES: Final = ("diabetes", "smoker", "coronary_disease", "hypertension", "no_history")
_ACS_DEPTH: Final = Depth(0.42, 0.2, 0.16, 0.9)
_LATERAL_ST: Final = (("I", (-0.09, -0.02)), ("V5", (-0.14, -0.04)), ("V6", (-0.16, -0.05)))

_ACS: Final = {
    "nste_acs_anterior": Entity(
        ischemic=True, weight=2.0, raised_troponin=0.6, symptoms=_ACS_SYMPTOMS, histories=_ACS_HISTORIES,
        qtc_ms=(410, 460), depth=_ACS_DEPTH, symmetry=_SYMMETRIC, t_width=(0.5, 0.62),
        t_down=(-0.15, -0.6, -1.0, -1.0, -0.5, -0.15), t_down_2=(-0.3, -0.9, -1.0, -0.6, 0.1, 0.4),
        t_up=(0, 0, 0, 0, 0, 0.08), st=(("V3", (-0.08, 0.02)), ("V4", (-0.1, 0.02))),
    ),
    "nste_acs_inferior": Entity(
        ischemic=True, weight=1.5, raised_troponin=0.6, symptoms=_ACS_SYMPTOMS, histories=_ACS_HISTORIES,
        qtc_ms=(400, 450), depth=Depth(0.38, 0.15, 0.2, 0.8), symmetry=_SYMMETRIC, t_width=(0.5, 0.62),
        t_axis_deg=(-95, -65), t_frontal=(0.9, 1.1), st=(("II", (-0.1, 0.0)),),
    ),
    "nste_acs_lateral": Entity(
        ischemic=True, weight=1.5, raised_troponin=0.6, symptoms=_ACS_SYMPTOMS, histories=_ACS_HISTORIES,
        qtc_ms=(400, 450), depth=Depth(0.36, 0.12, 0.2, 0.75), symmetry=_SYMMETRIC, t_width=(0.5, 0.62),
        t_down=(0, 0, 0, -0.1, -0.7, -1.0), t_down_2=(0, 0, 0, -0.7, -1.0, -0.8), t_up=(0.08, 0.32, 0.36, 0.15, 0, 0),
        t_axis_deg=(115, 155), t_frontal=(0.7, 1.0), st=(("I", (-0.07, 0)), ("V5", (-0.1, 0)), ("V6", (-0.1, 0))),
    ),
    "nste_acs_anterolateral": Entity(
        ischemic=True, weight=1.5, raised_troponin=0.65, symptoms=_ACS_SYMPTOMS, histories=_ACS_HISTORIES,
        qtc_ms=(410, 460), depth=_ACS_DEPTH, symmetry=_SYMMETRIC, t_width=(0.5, 0.62),
        t_down=(-0.05, -0.3, -0.8, -1.0, -0.9, -0.6), t_down_2=(-0.2, -0.6, -1.0, -1.0, -0.75, -0.5),
        t_up=_NO_CHEST, t_axis_deg=(110, 150), t_frontal=(0.5, 0.7), st=(("V4", (-0.1, 0)), ("V5", (-0.1, 0))),
    ),
    "wellens_a": Entity(
        ischemic=True, raised_troponin=0.25, symptoms=("pain_resolved",), histories=_ACS_HISTORIES, age_years=(42, 80),
        qtc_ms=(430, 475), depth=Depth(0.25, 0.08, 0.15, 0.45), symmetry=_SYMMETRIC, t_width=(0.72, 0.82),
        t_down=(0, -0.9, -1.0, -0.3, 0, 0), t_down_2=(0, -1.0, -0.9, -0.7, 0, 0), t_up=(0.06, 0, 0, 0.1, 0.3, 0.25),
        biphasic_mv=(0.15, 0.35),
    ),
    "wellens_b": Entity(
        ischemic=True, weight=2.0, raised_troponin=0.25, symptoms=("pain_resolved",), histories=_ACS_HISTORIES,
        age_years=(42, 80), qtc_ms=(440, 490), depth=Depth(0.75, 0.18, 0.5, 1.2), symmetry=(0.9, 1.15),
        t_width=(0.55, 0.66), t_down=(-0.1, -0.8, -1.0, -0.85, -0.3, -0.05),
        t_down_2=(-0.2, -0.85, -1.0, -1.0, -0.7, -0.35), t_up=(0, 0, 0, 0, 0, 0.05),
    ),
    "post_mi_anterior": Entity(
        ischemic=True, raised_troponin=0.7, symptoms=("recent_mi", "chest_pain", "none"),
        histories=("coronary_disease", "stent", "diabetes", "smoker"), qrs=qrs.ANTERIOR_Q, qtc_ms=(420, 475),
        depth=Depth(0.5, 0.2, 0.2, 1.1), symmetry=_SYMMETRIC, t_width=(0.52, 0.64),
        t_down=(-0.3, -0.8, -1.0, -0.9, -0.5, -0.2), t_down_2=(-0.4, -0.9, -1.0, -0.7, -0.2, 0.1), t_up=_NO_CHEST,
        st=(("V2", (0.0, 0.1)), ("V3", (0.0, 0.1))),
    ),
    "post_mi_inferior": Entity(
        ischemic=True, raised_troponin=0.7, symptoms=("recent_mi", "chest_pain", "none"),
        histories=("coronary_disease", "stent", "diabetes", "smoker"), qrs=qrs.INFERIOR_Q, qtc_ms=(410, 460),
        depth=Depth(0.4, 0.15, 0.2, 0.8), symmetry=_SYMMETRIC, t_width=(0.52, 0.64), t_axis_deg=(-90, -60),
        t_frontal=(0.9, 1.1), st=(("II", (-0.02, 0.06)),),
    ),
}  # fmt: skip

_OVERLOAD: Final = {
    "lvh_strain": Entity(
        ischemic=False, weight=2.0, symptoms=("dyspnoea", "none", "chest_pain"), histories=("hypertension", "stenosis"),
        qrs=qrs.LEFT_VOLTAGE, depth=Depth(0.32, 0.12, 0.14, 0.6), symmetry=_STRAIN, t_width=(0.8, 0.92),
        t_down=(0, 0, 0, -0.1, -0.8, -1.0), t_down_2=(0, 0, 0, -0.5, -0.9, -1.0), t_up=(0.3, 0.5, 0.45, 0.1, 0, 0),
        t_axis_deg=(125, 160), t_frontal=(0.8, 1.0), st=(*_LATERAL_ST, ("V1", (0.03, 0.1)), ("V2", (0.04, 0.14))),
    ),
    "rvh_strain": Entity(
        ischemic=False, symptoms=("dyspnoea", "oedema"), histories=("pulmonary_hypertension", "copd"),
        qrs=qrs.RIGHT_VOLTAGE, depth=Depth(0.3, 0.1, 0.15, 0.55), symmetry=_STRAIN, t_width=(0.76, 0.9),
        t_down=(-1.0, -0.9, -0.6, -0.1, 0, 0), t_down_2=(-0.9, -1.0, -0.9, -0.4, 0, 0), t_up=(0, 0, 0, 0.05, 0.2, 0.2),
        t_axis_deg=(-25, 0), t_frontal=(0.6, 0.8), st=(("V1", (-0.1, -0.02)), ("V2", (-0.1, -0.02))),
    ),
    "pulmonary_embolism": Entity(
        ischemic=False, weight=1.5, raised_troponin=0.4, symptoms=("dyspnoea", "pleuritic_pain", "syncope"),
        histories=("thrombosis", "cancer", "no_history"), rate_bpm=(98, 140), pr_ms=(125, 150), qrs=qrs.S1Q3,
        depth=Depth(0.34, 0.15, 0.18, 0.7), symmetry=(0.95, 1.6), t_down=(-1.0, -1.0, -0.7, -0.3, 0, 0),
        t_down_2=(-0.9, -1.0, -0.9, -0.6, -0.1, 0), t_up=(0, 0, 0, 0, 0.15, 0.2), t_axis_deg=(-40, -15),
        t_frontal=(0.85, 1.1),
    ),
}  # fmt: skip

_CONDUCTION: Final = {
    "lbbb": Entity(
        ischemic=False, weight=1.5, symptoms=("dyspnoea", "none", "chest_pain"), age_years=(50, 88),
        histories=("hypertension", "cardiomyopathy", "no_history"), qrs=qrs.LEFT_BUNDLE, qtc_ms=(440, 480),
        depth=Depth(0.3, 0.08, 0.16, 0.5), symmetry=(1.6, 2.2), t_width=(0.85, 0.95),
        t_down=(0, 0, 0, 0, -0.7, -1.0), t_down_2=(0, 0, 0, -0.2, -0.9, -1.0), t_up=(0.35, 0.6, 0.55, 0.2, 0, 0),
        t_axis_deg=(130, 165), t_frontal=(0.8, 1.0), st=(*_LATERAL_ST, ("V1", (0.08, 0.18)), ("V2", (0.1, 0.22)),
                                                         ("V3", (0.08, 0.18))),
    ),
    "rbbb": Entity(
        ischemic=False, weight=1.5, symptoms=("none", "dyspnoea", "palpitations"), age_years=(45, 88),
        histories=("hypertension", "copd", "no_history"), qrs=qrs.RIGHT_BUNDLE, qtc_ms=(430, 465),
        depth=Depth(0.3, 0.08, 0.16, 0.5), symmetry=(1.4, 2.0), t_width=(0.74, 0.86),
        t_down=(-1.0, -0.6, 0, 0, 0, 0), t_down_2=(-1.0, -0.9, -0.5, 0, 0, 0), t_up=(0, 0, 0.1, 0.3, 0.3, 0.25),
    ),
    "paced": Entity(
        ischemic=False, symptoms=("none", "dyspnoea", "check"), histories=("pacemaker",), age_years=(60, 92),
        rate_bpm=(60, 75), irregularity=0.005, qrs=qrs.APICAL_PACED, qtc_ms=(450, 490),
        depth=Depth(0.32, 0.08, 0.18, 0.5), symmetry=(1.5, 2.1), t_width=(0.84, 0.94),
        t_down=(0, 0, 0, 0, -0.3, -0.8), t_down_2=(0, 0, 0, 0, -0.6, -1.0), t_up=(0.4, 0.65, 0.6, 0.45, 0.1, 0),
        t_axis_deg=(110, 125), t_frontal=(0.9, 1.2), st=(("V1", (0.05, 0.14)), ("V2", (0.08, 0.2)), ("V6", (-0.1, 0))),
    ),
    "wpw": Entity(
        ischemic=False, symptoms=("palpitations", "syncope", "none"), histories=("svt", "no_history"),
        age_years=(15, 45), pr_ms=(85, 115), qrs=qrs.PREEXCITATION, qtc_ms=(410, 450),
        depth=Depth(0.25, 0.07, 0.14, 0.45), symmetry=(1.4, 2.0), t_width=(0.74, 0.86),
        t_down=(0, 0, 0, -0.3, -0.9, -1.0), t_down_2=(0, 0, -0.3, -0.9, -1.0, -0.9), t_up=(0.15, 0.3, 0.2, 0, 0, 0),
        t_axis_deg=(130, 165), t_frontal=(0.8, 1.0), st=(("V5", (-0.08, -0.02)), ("V6", (-0.08, -0.02))),
    ),
    "memory_t": Entity(
        ischemic=False, weight=1.5, symptoms=("none", "palpitations", "chest_pain"), histories=("pacing_ended",
                                                                                              "ablation"),
        age_years=(50, 88), qtc_ms=(420, 470), depth=Depth(0.5, 0.15, 0.25, 0.9), symmetry=_SYMMETRIC,
        t_width=(0.54, 0.66), t_down=(-0.2, -0.7, -1.0, -1.0, -0.7, -0.5),
        t_down_2=(-0.3, -0.9, -1.0, -0.9, -0.8, -0.6), t_up=_NO_CHEST, t_axis_deg=(-80, -60), t_frontal=(0.5, 0.75),
    ),
}  # fmt: skip

# The same picture as cardiac memory, from an LAD that wraps around the apex: only the history tells the two apart.
_TWIN: Final = {
    "nste_acs_wraparound": replace(
        _CONDUCTION["memory_t"],
        ischemic=True,
        raised_troponin=0.6,
        symptoms=_ACS_SYMPTOMS,
        histories=_ACS_HISTORIES,
    )
}

_HEALTHY: Final = {
    "juvenile": Entity(
        ischemic=False, symptoms=("palpitations", "check", "chest_pain"), histories=("no_history",), age_years=(13, 35),
        female=0.75, depth=Depth(0.19, 0.04, 0.12, 0.29), symmetry=(1.3, 1.9), t_down=(-1.0, -0.9, -0.3, 0, 0, 0),
        t_down_2=(-0.9, -1.0, -0.8, 0, 0, 0), t_up=(0, 0, 0, 0.22, 0.3, 0.25),
    ),
    "athlete": Entity(
        ischemic=False, symptoms=("check", "none"), histories=("endurance",), age_years=(16, 34), female=0.25,
        rate_bpm=(40, 58), pr_ms=(160, 215), qtc_ms=(380, 425), qrs=qrs.ATHLETIC, depth=Depth(0.28, 0.08, 0.15, 0.5),
        symmetry=(1.2, 1.7), t_down=(-0.5, -1.0, -0.9, -0.4, 0, 0), t_down_2=(-0.5, -0.9, -1.0, -0.8, 0, 0),
        t_up=(0, 0, 0, 0, 0.4, 0.35), st=(("V2", (0.1, 0.22)), ("V3", (0.12, 0.25)), ("V4", (0.08, 0.18))),
        st_sags=True,
    ),
    "normal": Entity(
        ischemic=False, weight=3.0, symptoms=("check", "none", "palpitations", "chest_pain"), rate_bpm=(50, 110),
        histories=("no_history", "hypertension", "smoker"), age_years=(18, 85), female=0.5, t_axis_deg=(3, 70),
    ),
}  # fmt: skip

_OTHERS: Final = {
    "apical_hcm": Entity(
        ischemic=False, symptoms=("syncope", "palpitations", "chest_pain"), histories=("family_history", "no_history"),
        age_years=(20, 60), female=0.3, qrs=qrs.APICAL_VOLTAGE, qtc_ms=(420, 460), depth=Depth(0.95, 0.4, 0.4, 1.9),
        symmetry=(1.0, 1.6), t_width=(0.7, 0.84), t_down=(0, 0, -0.6, -1.0, -0.75, -0.4),
        t_down_2=(0, -0.3, -0.9, -1.0, -0.85, -0.55), t_up=(0.1, 0.25, 0, 0, 0, 0), t_axis_deg=(185, 215),
        t_frontal=(0.3, 0.5), st=(("V4", (-0.2, -0.06)), ("V5", (-0.25, -0.1)), ("V6", (-0.15, -0.05))),
    ),
    "cns": Entity(
        ischemic=False, raised_troponin=0.25, symptoms=("headache", "coma"), histories=("bleeding", "hypertension"),
        rate_bpm=(45, 70), qtc_ms=(510, 590), depth=Depth(0.9, 0.2, 0.55, 1.4), symmetry=(0.85, 1.3),
        t_width=(0.84, 0.95), t_down=(-0.2, -0.8, -1.0, -1.0, -0.8, -0.6),
        t_down_2=(-0.3, -0.9, -1.0, -0.9, -0.9, -0.7), t_up=_NO_CHEST, t_axis_deg=(195, 235), t_frontal=(0.4, 0.6),
        u=(0, 0.05, 0.08, 0.06, 0.04, 0.02),
    ),
    "takotsubo": Entity(
        ischemic=False, raised_troponin=0.85, symptoms=("stress", "chest_pain", "dyspnoea"),
        histories=("no_history", "hypertension"), age_years=(60, 88), female=0.92, rate_bpm=(60, 100),
        qtc_ms=(490, 545), depth=Depth(0.6, 0.18, 0.35, 1.1), symmetry=_SYMMETRIC, t_width=(0.64, 0.78),
        t_down=(0, -0.5, -0.9, -1.0, -0.95, -0.8), t_down_2=(0, -0.7, -1.0, -1.0, -0.9, -0.7),
        t_up=(0.1, 0, 0, 0, 0, 0), t_axis_deg=(205, 245), t_frontal=(0.6, 0.8),
    ),
    "pericarditis_iii": Entity(
        ischemic=False, raised_troponin=0.3, symptoms=("pleuritic_pain", "fever"), histories=("viral", "no_history"),
        age_years=(18, 55), female=0.35, depth=Depth(0.22, 0.06, 0.13, 0.45), symmetry=(1.0, 1.5),
        t_down=(-0.1, -0.6, -0.8, -1.0, -1.0, -0.9), t_down_2=(0, -0.8, -1.0, -0.9, -0.9, -0.8), t_up=_NO_CHEST,
        t_axis_deg=(212, 240), t_frontal=(0.9, 1.1),
    ),
    "digoxin": Entity(
        ischemic=False, symptoms=("dyspnoea", "nausea", "none"), histories=("digoxin",), age_years=(58, 90),
        rate_bpm=(55, 90), irregularity=0.14, p_share=0.0, qtc_ms=(335, 375), depth=Depth(0.19, 0.04, 0.14, 0.3),
        symmetry=(1.2, 1.8), t_width=(0.5, 0.6), t_down=(0, 0, -0.1, -0.7, -1.0, -1.0),
        t_down_2=(0, 0, -0.3, -0.9, -1.0, -0.9), t_up=(0.05, 0.2, 0.2, 0.05, 0, 0), t_axis_deg=(215, 240),
        t_frontal=(0.7, 1.0), st_sags=True,
        st=(("I", (-0.08, -0.03)), ("II", (-0.09, -0.04)), ("V4", (-0.08, -0.04)), ("V5", (-0.13, -0.06)),
            ("V6", (-0.13, -0.06))),
    ),
    "hypokalaemia": Entity(
        ischemic=False, symptoms=("weakness", "palpitations"), histories=("diuretic", "vomiting"),
        qtc_ms=(400, 440), depth=Depth(0.13, 0.05, 0.05, 0.25), symmetry=(1.2, 1.8),
        t_down=(0, -0.6, -0.9, -1.0, -0.9, -0.8), t_down_2=(0, -0.8, -1.0, -1.0, -0.8, -0.6), t_up=_NO_CHEST,
        t_axis_deg=(215, 240), t_frontal=(0.5, 0.9), u=(0.05, 0.22, 0.28, 0.25, 0.18, 0.12),
        st=(("II", (-0.08, -0.03)), ("V3", (-0.1, -0.03)), ("V4", (-0.12, -0.05)), ("V5", (-0.12, -0.05)),
            ("V6", (-0.08, -0.03))),
    ),
}  # fmt: skip

ENTITIES: Final[dict[str, Entity]] = {**_ACS, **_TWIN, **_OVERLOAD, **_CONDUCTION, **_HEALTHY, **_OTHERS}
"""Every entity by its name, in a fixed order. `weight` says how often one is drawn."""
