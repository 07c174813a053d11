"""Screening decides before the model, the waveform over it, and the answer itself otherwise."""

import pytest

from schemas.finding import Measurements
from tests.support.results import answer, measurements
from worker.verdict.assessment import ANSWERED, CONTRADICTED, REASONS, assess
from worker.verdict.grounding import ground
from worker.verdict.screening import Screening

ASK = Screening(None, "question_applies")
MEASURED = measurements(V2=-0.3, V5=0.3)
SUPPORTED = ground("T wave inversion in V2.", MEASURED)


def verdict(text: str, yes: bool, measured: Measurements = MEASURED) -> tuple[str, str]:
    assessment = assess(ASK, answer(yes=yes), ground(text, measured), 0.5)
    return assessment.verdict, assessment.reason


def test_the_verdict_is_the_answer_unless_the_waveform_contradicts_its_reasoning() -> None:
    assert verdict("T wave inversion in V2.", yes=True) == ("ischemic", "model_answer")
    assert verdict("T wave inversion in V2.", yes=False) == ("non_ischemic", "model_answer")
    assert verdict("T wave inversion in V5.", yes=True) == ("indeterminate", "claims_contradicted")
    assert verdict("T wave inversion in V5.", yes=False) == ("indeterminate", "claims_contradicted")


def test_one_contradicted_claim_among_those_that_hold_is_enough() -> None:
    assert verdict("T wave inversion in V2 and V5.", yes=True) == ("indeterminate", CONTRADICTED)


@pytest.mark.parametrize("text", ["T wave inversion in V6.", "It looks ischemic to me.", ""])
def test_reasoning_that_cannot_be_checked_leaves_the_answer_as_it_is(text: str) -> None:
    assert verdict(text, yes=True) == ("ischemic", ANSWERED)
    assert verdict(text, yes=False) == ("non_ischemic", ANSWERED)


@pytest.mark.parametrize("verdict", ["no_t_wave_inversion", "indeterminate"])
def test_screening_decides_before_the_model(verdict: str) -> None:
    screening = Screening(verdict, "why")  # type: ignore[arg-type] # parametrize only knows str
    for model_said in (None, answer()):
        assessment = assess(screening, model_said, SUPPORTED if model_said else None, 0.4)
        assert (assessment.verdict, assessment.reason) == (verdict, "why")
        assert (assessment.probability, assessment.threshold) == (None, 0.4)


def test_a_question_that_applies_needs_an_answer_with_its_reasoning() -> None:
    for model_said, reasoning in ((None, None), (None, SUPPORTED), (answer(), None)):
        with pytest.raises(ValueError, match="needs an answer"):
            assess(ASK, model_said, reasoning, 0.5)


def test_the_probability_is_the_calibrated_one_and_kept_beside_a_contradiction() -> None:
    unsure = answer(probability_yes=0.6, raw_probability_yes=0.99)
    for text in ("T wave inversion in V2.", "T wave inversion in V5."):
        assessment = assess(ASK, unsure, ground(text, MEASURED), 0.7)
        assert (assessment.probability, assessment.threshold) == (0.6, 0.7)


def test_the_word_decides_the_verdict_and_not_the_threshold() -> None:
    assert assess(ASK, answer(yes=True, probability_yes=0.6), SUPPORTED, 0.99).verdict == "ischemic"
    assert assess(ASK, answer(yes=False, probability_yes=0.4), SUPPORTED, 0.01).verdict == "non_ischemic"


def test_every_reason_is_published() -> None:
    assert set(REASONS) == {ANSWERED, CONTRADICTED}
    assert all(meaning.endswith(".") for meaning in REASONS.values())
