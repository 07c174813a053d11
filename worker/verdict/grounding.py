"""Does the waveform bear out what the model says of it? Each claim is held against the measured T wave."""

from typing import Final

from schemas.finding import Claim, Measurements, Reasoning
from worker.verdict.claims import Direction, StatedClaim, interpret
from worker.waveform.measure import INVERSION_MV

# AHA/ACCF/HRS 2009 IV: inverted from -0.1 mV on, flat in between, upright from +0.1 mV on. A claim is contradicted only
# more than half a class (0.05 mV) outside its own, which covers the reading error of a 25 mm/s print (1 mm is 0.1 mV)
# and of the measurement: "inverted" above -0.05 mV, "not inverted" below -0.15 mV, "flat" beyond 0.15 mV either way,
# "upright" below +0.05 mV.
TOLERANCE_MV: Final = 0.05


def ground(reasoning: str, measurements: Measurements) -> Reasoning:
    """Check every claim of the reasoning.

    `grounded` is True only if at least one claim could be checked and none is contradicted.
    """
    claims = tuple(_check(claim, measurements) for claim in interpret(reasoning))
    checked = [claim.holds for claim in claims if claim.holds is not None]
    return Reasoning(text=reasoning, claims=claims, grounded=bool(checked) and all(checked))


def contradicted(reasoning: Reasoning) -> bool:
    """Whether the waveform contradicts at least one claim."""
    return any(claim.holds is False for claim in reasoning.claims)


def _check(claim: StatedClaim, measurements: Measurements) -> Claim:
    lead = measurements.leads.get(claim.lead)
    t_mv = None if lead is None else lead.t_mv
    return Claim(
        text=claim.text,
        lead=claim.lead,
        kind="t_direction",
        stated=claim.stated,
        measured=None if t_mv is None else f"{t_mv:+.2f} mV",
        holds=None if t_mv is None else _holds(claim.stated, t_mv),
    )


def _holds(stated: Direction, t_mv: float) -> bool:
    match stated:
        case "inverted":
            return t_mv <= INVERSION_MV + TOLERANCE_MV
        case "not_inverted":
            return t_mv >= INVERSION_MV - TOLERANCE_MV
        case "flat":
            return abs(t_mv) <= -INVERSION_MV + TOLERANCE_MV
        case "upright":
            return t_mv >= -INVERSION_MV - TOLERANCE_MV
