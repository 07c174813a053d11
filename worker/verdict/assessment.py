"""The verdict: what screening decided, or what the model answered, unless the waveform contradicts its reasoning."""

from typing import Final

from schemas.finding import Assessment, Reasoning
from worker.engine.question import Answer
from worker.verdict.grounding import contradicted
from worker.verdict.screening import Screening

ANSWERED: Final = "model_answer"
CONTRADICTED: Final = "claims_contradicted"
REASONS: Final = {
    ANSWERED: "The model's answer; no claim of its reasoning is contradicted by the waveform.",
    CONTRADICTED: "The model's reasoning says something of a T wave that the waveform contradicts.",
}
"""Reasons beside those of screening, with what `docs/finding.md` says of them."""


def assess(screening: Screening, answer: Answer | None, reasoning: Reasoning | None, threshold: float) -> Assessment:
    """Bring screening, answer and grounding together."""
    if screening.verdict is not None:
        return Assessment(verdict=screening.verdict, probability=None, threshold=threshold, reason=screening.reason)
    if answer is None or reasoning is None:
        raise ValueError("a question that applies needs an answer")
    if contradicted(reasoning):
        verdict, reason = "indeterminate", CONTRADICTED
    else:
        verdict, reason = ("ischemic" if answer.yes else "non_ischemic"), ANSWERED
    return Assessment.model_validate(
        {"verdict": verdict, "probability": answer.probability_yes, "threshold": threshold, "reason": reason}
    )
