"""A few real payloads, each written so that any number of records can be made of it that are told apart.

Decoding, measuring and drawing are the worker's own work and stay; only writing a new ECG for each record would be the
harness's, so a record is a template with another message id and order number. Both are part of what the worker
publishes: two records never have the same finding.
"""

import dataclasses
import random
from collections.abc import Mapping
from functools import cache
from itertools import islice
from types import MappingProxyType
from typing import Final

import numpy as np

from schemas.ecg import INDEPENDENT_LEADS, Ecg, Priority
from simulator.edits import resample
from simulator.generate import simulate
from simulator.hospital import A
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import write_hl7v2
from tests.faults.kinds import FATAL_AGE, POISON, SICKENING_AGE, Kind, message_id

_SEED: Final = 6
_DRAWN: Final = 64
_RATE_HZ: Final = 250.0  # small records: it is not the size that is tried here
_MESSAGE_ID: Final = "2.25.1" + "0" * 30
_ORDER: Final = "ORDER-" + "0" * 10


def payload(kind: Kind, number: int) -> bytes:
    """The record with this number."""
    order = f"ORDER-{number:010d}"
    return _templates()[kind].replace(_MESSAGE_ID.encode(), message_id(number).encode()).replace(
        _ORDER.encode(), order.encode()
    )  # fmt: skip


def draw(drawn: random.Random, shares: Mapping[Kind, float]) -> Kind:
    """Which kind the next record is, in these shares."""
    return drawn.choices(list(shares), list(shares.values()))[0]


ORDINARY: Final[Mapping[Kind, float]] = MappingProxyType(
    {"asked": 0.05, "not_asked": 0.03, "leads_off": 0.918, "routine": 0.002}
)
"""Some of everything that becomes a finding. Most is of the cheapest kind, so that a hundred thousand are affordable;
those that the engine is asked about are overtaken by the others."""

LIGHT: Final[Mapping[Kind, float]] = MappingProxyType(
    {"asked": 0.02, "not_asked": 0.01, "leads_off": 0.118, "too_short": 0.85, "routine": 0.002}
)
"""Mostly rejections, the cheapest of results, so that two cores can do a hundred thousand records eight times."""

WITH_POISON: Final[Mapping[Kind, float]] = MappingProxyType({**ORDINARY, **dict.fromkeys(POISON, 0.01 / len(POISON))})


@cache
def _templates() -> Mapping[Kind, bytes]:
    inverted, upright = _drawn("ischemic"), _drawn("no_t_wave_inversion")
    asked = write_dicom(inverted, leads=INDEPENDENT_LEADS)
    routine = write_hl7v2(_ordered(inverted, "routine"), variant="na")
    head, _, tail = routine.partition(b"\rOBR|")
    return {
        "asked": asked,
        "not_asked": write_dicom(upright, leads=INDEPENDENT_LEADS),
        "leads_off": write_dicom(_flat(upright, 8), leads=INDEPENDENT_LEADS),
        "too_short": write_dicom(_flat(upright, 1), leads=INDEPENDENT_LEADS),
        "routine": routine,
        "stat": write_hl7v2(_ordered(inverted, "stat"), variant="na"),
        "cut_off": asked[: len(asked) // 2],
        "noise": random.Random(_SEED).randbytes(2000),
        "fatal": write_dicom(_aged(inverted, FATAL_AGE), leads=INDEPENDENT_LEADS),
        "sickening": write_dicom(_aged(inverted, SICKENING_AGE), leads=INDEPENDENT_LEADS),
        "two_patients": head + b"\rPID|2||999^^^HOSP^MR\rOBR|" + tail,
    }


def _drawn(verdict: str) -> Ecg:
    """The first simulated ECG of which this is true, with nothing wrong with it."""
    ecg = next(e for e, t in islice(simulate(_DRAWN, _SEED, A), _DRAWN) if t.verdict == verdict and not t.faults)
    numbered = dataclasses.replace(ecg.order, placer=_ORDER)
    return dataclasses.replace(resample(ecg, _RATE_HZ), message_id=_MESSAGE_ID, order=numbered)


def _flat(ecg: Ecg, duration_s: int) -> Ecg:
    """As recorded before the electrodes are on: no beat to measure, nothing to draw. 8 s are the least that is read."""
    return dataclasses.replace(ecg, samples_uv=np.zeros((len(ecg.leads), round(duration_s * _RATE_HZ)), np.float32))


def _aged(ecg: Ecg, age_years: float) -> Ecg:
    return dataclasses.replace(ecg, patient=dataclasses.replace(ecg.patient, age_years=age_years))


def _ordered(ecg: Ecg, priority: Priority) -> Ecg:
    return dataclasses.replace(ecg, order=dataclasses.replace(ecg.order, priority=priority))
