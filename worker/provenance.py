"""What made a finding: digests, the model's identity, the worker's version.

Digests tell one ECG, one finding and one way of computing from another.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np

from schemas.ecg import INDEPENDENT_LEADS, Ecg
from schemas.finding import (
    EngineRef,
    ModelRef,
)

VERSION: Final = version("ecg-r1-worker")
"""The worker's version, from the installed package: said once, in `pyproject.toml`."""


def ecg_digest(ecg: Ecg) -> str:
    """What this ECG is, whichever message brought it: owner, order, time, leads and samples.

    A retransmission with another message id has the same digest; a corrected recording or another patient has not.
    """
    facts = (
        ecg.patient.id,
        ecg.patient.assigner,
        ecg.patient.age_years,
        ecg.patient.sex,
        ecg.order.encounter,
        ecg.order.placer,
        ecg.order.filler,
        ecg.order.clinical_texts,
        ecg.acquired_at.isoformat(),
        ecg.leads,
        ecg.derived_leads,
        ecg.sampling_hz,
    )
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(ecg.samples_uv.tobytes())
    return digest.hexdigest()


def recording_digest(ecg: Ecg) -> str:
    """What was recorded, and nothing that is said of it: the samples of the independent leads, in whole microvolts.

    A recording that comes by two formats has the same digest, if both hold the same samples: derived leads are left
    out, because one format sends them and the other does not, and so is what lies beneath the recorder's resolution.
    """
    digest = hashlib.sha256()
    for lead in INDEPENDENT_LEADS:
        if lead in ecg.leads:
            whole_uv = np.rint(ecg.lead_uv(lead)).astype("<f4") + np.float32(0)  # adding 0 makes -0 a plain zero
            whole_uv[np.isnan(whole_uv)] = np.nan  # padding has one bit pattern
            digest.update(f"{lead}:{whole_uv.size}:".encode())
            digest.update(whole_uv.tobytes())
    return digest.hexdigest()


def finding_id(ecg: str, bundle: str) -> str:
    """The finding's id, from the ECG's digest and the model bundle's: the same two always give the same id."""
    return hashlib.sha256(f"{ecg}:{bundle}".encode()).hexdigest()[:32]


def fingerprint(parts: Mapping[str, object]) -> str:
    """One digest over everything that can change a finding but the ECG itself."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who reads: the model bundle and the engine that a finding's provenance names."""

    model: ModelRef
    threshold: float
    prompt_digest: str
    engine: EngineRef
    layout: str
    fingerprint: str
