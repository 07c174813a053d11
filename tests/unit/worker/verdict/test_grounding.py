"""Claims are held against the measured T wave, each with half a class to spare."""

from typing import Any

import pytest

from schemas.finding import LeadMeasurements
from tests.support.results import measurements
from worker.verdict.grounding import contradicted, ground

MEASURED = measurements(V1=0.2, V2=-0.3, V3=-0.25, V4=-0.02, V5=0.3)
SAID = {
    "inverted": "T wave inversion in V2.",
    "not_inverted": "No T wave inversion in V2.",
    "flat": "The T wave is flat in V2.",
    "upright": "The T wave is upright in V2.",
}


@pytest.mark.parametrize(
    ("text", "grounded"),
    [
        ("T wave inversion in V2 and V3.", True),
        ("T wave inversion in V2 and V3, upright in V5.", True),
        ("T wave inversion in V2 and V5.", False),
        ("The T wave is upright in V2.", False),
        ("No T wave inversion in V2.", False),
        ("The T wave is flat in V4.", True),
        ("The T wave is flat in V5.", False),
        ("Looks ischemic to me.", False),
        ("", False),
    ],
)
def test_reasoning_is_grounded_only_if_the_waveform_bears_it_out(text: str, grounded: bool) -> None:
    assert ground(text, MEASURED).grounded is grounded


@pytest.mark.parametrize(
    ("stated", "t_mv", "holds"),
    [
        # Measurements have three digits, so the next one on either side of an edge is a thousandth away.
        ("inverted", -0.1, True),
        ("inverted", -0.051, True),
        ("inverted", -0.05, True),
        ("inverted", -0.049, False),
        ("not_inverted", -0.1, True),
        ("not_inverted", -0.149, True),
        ("not_inverted", -0.15, True),
        ("not_inverted", -0.151, False),
        ("flat", -0.151, False),
        ("flat", -0.15, True),
        ("flat", -0.149, True),
        ("flat", 0.0, True),
        ("flat", 0.149, True),
        ("flat", 0.15, True),
        ("flat", 0.151, False),
        ("upright", 0.1, True),
        ("upright", 0.051, True),
        ("upright", 0.05, True),
        ("upright", 0.049, False),
        ("upright", 0.0, False),
    ],
)
def test_a_claim_is_contradicted_only_more_than_half_a_class_outside_its_own(
    stated: str, t_mv: float, holds: bool
) -> None:
    reasoning = ground(SAID[stated], measurements(V2=t_mv))
    assert [(claim.stated, claim.holds) for claim in reasoning.claims] == [(stated, holds)]
    assert reasoning.grounded is holds
    assert contradicted(reasoning) is not holds


def unmeasured(**t_mv: float) -> Any:
    """Measurements in which V6 was recorded and could not be measured."""
    nothing = LeadMeasurements(t_mv=None, st_mv=None, r_mv=None, s_mv=None, t_symmetry=None)
    known = measurements(**t_mv)
    return known.model_copy(update={"leads": {**known.leads, "V6": nothing}})


@pytest.mark.parametrize("measured", [MEASURED, unmeasured()], ids=["not recorded", "not measured"])
def test_a_claim_about_an_unmeasured_lead_neither_supports_nor_contradicts(measured: Any) -> None:
    reasoning = ground("T wave inversion in V6.", measured)
    assert [(claim.holds, claim.measured) for claim in reasoning.claims] == [(None, None)]
    assert not reasoning.grounded
    assert not contradicted(reasoning)


def test_what_cannot_be_checked_takes_nothing_from_what_holds() -> None:
    assert ground("T wave inversion in V2 and V6.", unmeasured(V2=-0.3)).grounded
    half_wrong = ground("T wave inversion in V2 and V6, upright in V3.", unmeasured(V2=-0.3, V3=-0.3))
    assert not half_wrong.grounded
    assert contradicted(half_wrong)


def test_every_claim_shows_what_was_measured() -> None:
    (claim,) = ground("T wave inversion in V2.", MEASURED).claims
    assert (claim.lead, claim.stated, claim.measured, claim.holds) == ("V2", "inverted", "-0.30 mV", True)
    (upright,) = ground("The T wave is upright in V5.", MEASURED).claims
    assert upright.measured == "+0.30 mV"
