"""Claims are held against the measured T wave; a contradiction makes the verdict indeterminate."""

import pytest

from schemas.finding import Measurements
from tests.support.results import measurements
from worker.engine.question import Answer
from worker.verdict.assessment import assess
from worker.verdict.grounding import ground
from worker.verdict.screening import Screening

ASK = Screening(None, "question_applies")


def answer(yes: bool = True) -> Answer:
    probability = 0.9 if yes else 0.1
    return Answer("", yes, probability, probability, 1.0, False, False, 10)


MEASURED = measurements(V1=0.2, V2=-0.3, V3=-0.25, V4=-0.02, V5=0.3)


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


def test_a_reading_error_of_half_a_millimetre_is_no_contradiction() -> None:
    assert ground("T wave inversion in V2.", measurements(V2=-0.06)).grounded
    assert not ground("T wave inversion in V2.", measurements(V2=-0.04)).grounded


def test_a_claim_about_an_unmeasured_lead_neither_supports_nor_contradicts() -> None:
    reasoning = ground("T wave inversion in V6.", MEASURED)
    assert [(claim.holds, claim.measured) for claim in reasoning.claims] == [(None, None)]
    assert not reasoning.grounded
    assert assess(ASK, answer(), reasoning, 0.5).verdict == "ischemic"


def test_every_claim_shows_what_was_measured() -> None:
    (claim,) = ground("T wave inversion in V2.", MEASURED).claims
    assert (claim.lead, claim.stated, claim.measured, claim.holds) == ("V2", "inverted", "-0.30 mV", True)


def verdict(text: str, yes: bool, measured: Measurements = MEASURED) -> tuple[str, str]:
    assessment = assess(ASK, answer(yes), ground(text, measured), 0.5)
    return assessment.verdict, assessment.reason


def test_the_verdict_is_the_answer_unless_the_waveform_contradicts_its_reasoning() -> None:
    assert verdict("T wave inversion in V2.", yes=True) == ("ischemic", "model_answer")
    assert verdict("T wave inversion in V2.", yes=False) == ("non_ischemic", "model_answer")
    assert verdict("T wave inversion in V5.", yes=True) == ("indeterminate", "claims_contradicted")
    assert verdict("T wave inversion in V5.", yes=False) == ("indeterminate", "claims_contradicted")


def test_screening_decides_before_the_model() -> None:
    assessment = assess(Screening("no_t_wave_inversion", "none"), None, None, 0.5)
    assert (assessment.verdict, assessment.probability) == ("no_t_wave_inversion", None)
    with pytest.raises(ValueError, match="needs an answer"):
        assess(ASK, None, None, 0.5)
