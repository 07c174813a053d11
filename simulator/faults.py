"""Electrode faults, put into recorded samples on purpose: one at most in an ECG, and the truth names it."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from schemas.ecg import INDEPENDENT_LEADS, LEADS
from simulator.hospital import Hospital
from simulator.waveform import Samples, noise_of, twelve_leads

Problem = Literal["flat", "saturated", "noisy", "arm_electrodes_swapped"]
PROBLEMS: Final[tuple[Problem, ...]] = ("flat", "saturated", "noisy", "arm_electrodes_swapped")

# Leads whose QRS is tall in every entity, so that a cut at a third of it is one.
_SATURATED: Final = ("V2", "V3")
_CUT: Final = 0.35
_RESIDUAL_UV: Final = 1.0  # what an amplifier without an electrode still shows
_NOISE_UV: Final = (200.0, 400.0)
_RECORDED: Final = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and in which independent lead; no lead where the fault is that of the limb electrodes."""

    problem: Problem
    lead: str | None


def sample_fault(rng: np.random.Generator, rate: float) -> Fault | None:
    """A fault in a share of `rate` of the calls."""
    if rng.random() >= rate:
        return None
    problem = PROBLEMS[rng.integers(len(PROBLEMS))]
    if problem == "arm_electrodes_swapped":
        return Fault(problem, None)
    leads = _SATURATED if problem == "saturated" else INDEPENDENT_LEADS
    return Fault(problem, leads[rng.integers(len(leads))])


def with_fault(samples_uv: Samples, fault: Fault, rng: np.random.Generator, hospital: Hospital) -> Samples:
    """The twelve leads as recorded with the fault; leads that follow from a disturbed one follow it."""
    recorded = samples_uv[_RECORDED].copy()
    if fault.lead is None:
        # Right and left arm exchanged: I turns round, II becomes what III was. The chest leads' reference stays.
        recorded[0], recorded[1] = -samples_uv[0], samples_uv[1] - samples_uv[0]
    else:
        row = recorded[INDEPENDENT_LEADS.index(fault.lead)]
        noise = noise_of(hospital, int(rng.integers(1 << 17)))
        if fault.problem == "flat":
            row[:] = _RESIDUAL_UV * noise
        elif fault.problem == "noisy":
            row += np.float32(rng.uniform(*_NOISE_UV)) * noise
        else:
            middle = np.median(row)
            reach = _CUT * np.abs(row - middle).max()
            np.clip(row, middle - reach, middle + reach, out=row)
    out = np.empty_like(samples_uv)
    twelve_leads(recorded, out)
    return out
