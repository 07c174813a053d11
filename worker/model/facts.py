"""What the model is told about the patient, in words. Nothing is inferred: what was not received is "not provided".

Clinical texts are free text from outside. They are brought to one line each and cannot form a control token or a tag.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

from schemas.ecg import Sex

NOT_PROVIDED: Final = "not provided"
WORDING: Final = "Age: {age}.\nSex: {sex}.\nClinical information: {clinical}\n\n{question}"

# Below this age a paediatrician counts in months, and T waves change with them.
_MONTHS_BELOW_YEARS: Final = 2


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """The facts about the patient that the model may use. `clinical_texts` are as received, and untrusted."""

    age_years: float | None = None
    sex: Sex | None = None
    clinical_texts: tuple[str, ...] = ()


def question_text(facts: PromptFacts, clinical: str, question: str) -> str:
    """The text of the user's message. `clinical` is what `clinical_line` made of the texts, maybe shortened."""
    return WORDING.format(
        age=_age(facts.age_years),
        sex=facts.sex or NOT_PROVIDED,
        clinical=clinical or f"{NOT_PROVIDED}.",
        question=question,
    )


def clinical_line(texts: tuple[str, ...]) -> str:
    """The clinical texts as one line in which no tag or control token can stand; "" if they say nothing.

    Every tag and control token of a bundle is of the form `<...>` (`PromptBuilder` checks that), so that a space after
    each "<" is enough to break it, and "<50" still reads as it was meant.
    """
    return "; ".join(line for text in texts if (line := _plain(text)))


def _plain(text: str) -> str:
    """Text without control, format and private characters, in one line, each "<" set apart."""
    composed = unicodedata.normalize("NFC", text)
    visible = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in composed)
    return " ".join(visible.replace("<", "< ").split())


def _age(age_years: float | None) -> str:
    if age_years is None:
        return NOT_PROVIDED
    if age_years < _MONTHS_BELOW_YEARS:
        return f"{int(age_years * 12)} months"
    return f"{int(age_years)} years"
