"""Synthetic 12-lead ECGs with known truth: endless, the same for the same seed and site, whatever the clock says."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import numpy as np

from schemas.ecg import LEADS, Ecg, Filters, Order, Patient, Priority
from simulator.clinical_text import ClinicalText, sample_text
from simulator.entities import ENTITIES, Entity
from simulator.faults import Fault, sample_fault, with_fault
from simulator.hospital import Hospital
from simulator.parameters import RATE_HZ, sample_parameters
from simulator.truth import HeartTruth, Truth, heart_truths
from simulator.waveform import Samples, beats_uv, waveform
from simulator.writers.dicom import derived_uid

BLOCK: Final = 64
"""ECGs are drawn so many at a time, each block from a seed of its own: how many are wanted changes none of them."""

_FIRST: Final = datetime(2026, 3, 2, 7, 30)  # in the zone of the hospital
_EVERY: Final = timedelta(minutes=7)
_PRIORITIES: Final[tuple[Priority, ...]] = ("stat", "asap", "routine")
_PRIORITY_SHARES: Final = (0.2, 0.15, 0.65)
_AGE_LIMITS: Final = (12, 95)


def simulate(n: int, seed: int, site: Hospital) -> Iterator[tuple[Ecg, Truth]]:
    """The first `n` ECGs of this seed and site, each with what is true of it. `seed` is 0 or more."""
    for first in range(0, n, BLOCK):
        rng = np.random.default_rng([seed, ord(site.name), first // BLOCK])
        yield from islice(_drawn(rng, BLOCK, seed, site, first), n - first)


def simulate_one(rng: np.random.Generator, seed: int, site: Hospital, at: int) -> tuple[Ecg, Truth]:
    """One ECG from a generator of the caller's own, for who wants them in any order; `seed` and `at` name it."""
    return next(_drawn(rng, 1, seed, site, at))


def _drawn(rng: np.random.Generator, count: int, seed: int, site: Hospital, first: int) -> Iterator[tuple[Ecg, Truth]]:
    parameters = sample_parameters(rng, count, site)
    beats = beats_uv(parameters, site)
    samples_uv = waveform(parameters, site, beats)
    for index, heart in enumerate(heart_truths(parameters, site, beats)):
        entity = ENTITIES[heart.entity]
        text = sample_text(rng, entity, site)
        fault = sample_fault(rng, site.fault_rate)
        recorded = samples_uv[index] if fault is None else with_fault(samples_uv[index], fault, rng, site)
        ecg = _ecg(rng, recorded, entity, text, site, seed, first + index)
        yield ecg, _truth(heart, fault, text, site, seed, first + index)


def _ecg(
    rng: np.random.Generator,
    samples_uv: Samples,
    entity: Entity,
    text: ClinicalText,
    site: Hospital,
    seed: int,
    at: int,
) -> Ecg:
    samples = samples_uv.copy()
    samples.setflags(write=False)
    age = np.clip(rng.uniform(*entity.age_years) + site.years_older, *_AGE_LIMITS)
    number = f"{site.name}{seed}-{at:06d}"
    return Ecg(
        format="simulated",
        message_id=derived_uid("simulated", site.name, seed, at),
        leads=LEADS,
        samples_uv=samples,
        sampling_hz=float(RATE_HZ),
        acquired_at=_FIRST.replace(tzinfo=site.zone) + at * _EVERY,
        patient=Patient(
            id=f"P{number}",
            assigner=f"HOSPITAL {site.name}",
            age_years=float(int(age)),
            sex="female" if rng.random() < entity.female + site.more_female else "male",
        ),
        order=Order(
            encounter=f"E{number}",
            placer=f"O{number}",
            filler=f"F{number}",
            priority=_PRIORITIES[int(rng.choice(len(_PRIORITIES), p=_PRIORITY_SHARES))],
            clinical_texts=text.texts,
        ),
        filters=Filters(low_pass_hz=site.low_pass_hz),
        device=f"SIMULATOR {site.name}",
    )


def _truth(heart: HeartTruth, fault: Fault | None, text: ClinicalText, site: Hospital, seed: int, at: int) -> Truth:
    return Truth(
        entity=heart.entity,
        ischemic=ENTITIES[heart.entity].ischemic,
        verdict=heart.verdict,
        leads=heart.leads,
        biphasic=heart.biphasic,
        territories=heart.territories,
        rate_bpm=heart.rate_bpm,
        qrs_ms=heart.qrs_ms,
        qt_ms=heart.qt_ms,
        per_lead=heart.per_lead,
        faults=() if fault is None else (fault,),
        text=text.kind,
        cues=text.cues,
        site=site.name,
        seed=seed,
        index=at,
    )
