"""From the model's written reasoning to claims that can be checked: which lead is said to have which T wave.

Only what is stated plainly is taken for a claim. A sentence that this parser does not understand yields none, and
reasoning without a checkable claim is never grounded: silence cannot pass for evidence.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from schemas.ecg import LEADS

Direction = Literal["inverted", "not_inverted", "flat", "upright"]


@dataclass(frozen=True, slots=True)
class StatedClaim:
    """What the reasoning says of the T wave in one lead. `text` is the sentence it stands in."""

    text: str
    lead: str
    stated: Direction


# AHA/ACCF/HRS 2009 IV names these groups.
_TERRITORIES: Final = {
    "septal": ("V1", "V2"),
    "anterior": ("V3", "V4"),
    "anteroseptal": ("V1", "V2", "V3", "V4"),
    "anterolateral": ("V3", "V4", "V5", "V6", "I", "aVL"),
    "inferior": ("II", "III", "aVF"),
    "inferolateral": ("II", "III", "aVF", "V5", "V6"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "precordial": ("V1", "V2", "V3", "V4", "V5", "V6"),
}
_LEAD_BY_UPPER: Final = {lead.upper(): lead for lead in LEADS}
_PRECORDIAL: Final = LEADS[6:]

_LEAD = r"(?:V[1-6]|aV[RLF]|I{1,3})"
_TERRITORY = "|".join(sorted(_TERRITORIES, key=len, reverse=True))
_TOKEN: Final = re.compile(
    rf"(?P<range>\bV[1-6]\s*(?:-|–|to|through)\s*V?[1-6]\b)"
    rf"|(?P<lead>\b{_LEAD}\b)"
    rf"|(?P<territory>\b(?:{_TERRITORY})(?=\s+(?:and\s+\w+\s+)?(?:leads?|T\b)))"
    r"|(?P<inverted>\b(?:inver(?:ted|sions?)|TWI)\b)"
    r"|(?P<upright>\bupright\b)"
    r"|(?P<negative>\b(?:negative|deep)\b)|(?P<positive>\bpositive\b)|(?P<flat>\bflat(?:tened)?\b)"
    r"|(?P<negation>\b(?:no|not|without)\b(?!-))"
    r"|(?P<other_wave>\b(?:ST|PR|QT|QRS|(?:P|Q|R|S|U)(?=[\s-]+waves?\b))\b)"
    r"|(?P<t_wave>\bT(?=[\s-]+waves?\b|\s+(?:is|are)\b)|\bT\b(?=\s*:))"
    r"|(?P<joint>,|\band\b|&|/)"
    r"|(?P<preposition>\b(?:in|at|over|across|of|involving|from|leads?)\b)"
    r"|(?P<word>[^\s,]+)",
    re.IGNORECASE,
)
_DIRECTIONS: Final[dict[str, Direction]] = {
    "inverted": "inverted",
    "negative": "inverted",
    "flat": "flat",
    "upright": "upright",
    "positive": "upright",
}
# "deep Q waves" and "negative P waves" are no statements about T: these words need a T wave for a subject.
_NEED_T_WAVE: Final = {"negative", "positive", "flat"}
# What may stand between a direction and the leads it belongs to.
_FILLERS: Final = {
    "wave", "waves", "t", "is", "are", "was", "were", "the", "seen", "present", "deeply", "deep", "symmetric",
    "symmetrical", "symmetrically", "asymmetric", "also", "shows", "show", "with", "-wave", "-waves", "both", "all",
}  # fmt: skip


@dataclass(slots=True)
class _Leads:
    names: list[str]
    start: int
    end: int


@dataclass(slots=True)
class _Stated:
    direction: Direction
    negated: bool
    start: int
    end: int
    used_before: bool = False


def interpret(reasoning: str) -> tuple[StatedClaim, ...]:
    """The claims about T waves in `reasoning`, in order, each lead and direction of a sentence once."""
    claims: dict[tuple[str, str, Direction], StatedClaim] = {}
    for sentence in re.split(r"(?<=[.;!?])\s+|\n+", reasoning):
        for lead, direction in _claims_of(sentence):
            claims.setdefault((sentence, lead, direction), StatedClaim(sentence.strip(), lead, direction))
    return tuple(claims.values())


def _claims_of(sentence: str) -> list[tuple[str, Direction]]:
    tokens = [(match.lastgroup or "word", match[0]) for match in _TOKEN.finditer(sentence)]
    groups, stated = _lead_groups(tokens), _directions(tokens)
    claims: list[tuple[str, Direction]] = []
    for group in groups:
        binding = _direction_of(group, stated, tokens)
        if binding is None:
            continue
        if not binding.negated:
            claims += [(lead, binding.direction) for lead in group.names]
        elif binding.direction == "inverted":  # "not upright" leaves open what it is instead: no claim
            claims += [(lead, "not_inverted") for lead in group.names]
    return claims


def _lead_groups(tokens: list[tuple[str, str]]) -> list[_Leads]:
    """Runs of leads joined by nothing but commas and "and"."""
    groups: list[_Leads] = []
    for at, (kind, text) in enumerate(tokens):
        if kind == "range":
            first, last = (int(digit) for digit in re.findall(r"\d", text))
            names = list(_PRECORDIAL[first - 1 : last])
        elif kind == "lead":
            names = [_LEAD_BY_UPPER[text.upper()]]
        elif kind == "territory":
            names = list(_TERRITORIES[text.lower()])
        else:
            continue
        joined = groups and all(k == "joint" for k, _ in tokens[groups[-1].end : at])
        if joined:
            groups[-1].names += names
            groups[-1].end = at + 1
        else:
            groups.append(_Leads(names, at, at + 1))
    return groups


def _directions(tokens: list[tuple[str, str]]) -> list[_Stated]:
    stated: list[_Stated] = []
    subject_is_t = negated = False
    for at, (kind, text) in enumerate(tokens):
        if kind in ("t_wave", "other_wave"):
            subject_is_t = kind == "t_wave"
        if kind == "negation":
            negated = True
        elif kind in ("other_wave", "joint") or text.lower() == "but":  # "no ST elevation but T inversion in V2"
            negated = False
        elif kind in _DIRECTIONS and (subject_is_t or kind not in _NEED_T_WAVE):
            stated.append(_Stated(_DIRECTIONS[kind], negated, at, at + 1))
            negated = False
    return stated


def _direction_of(group: _Leads, stated: list[_Stated], tokens: list[tuple[str, str]]) -> _Stated | None:
    """The direction just before the leads ("inverted in V2") or else just after them ("V2 is inverted")."""

    def only_fillers(start: int, end: int) -> bool:
        between = tokens[start:end]
        return all(kind in ("preposition", "t_wave") or text.lower() in _FILLERS for kind, text in between)

    def has_preposition(start: int, end: int) -> bool:
        return any(kind == "preposition" for kind, _ in tokens[start:end])

    for direction in reversed(stated):
        if direction.end <= group.start and only_fillers(direction.end, group.start):
            if direction.used_before and not has_preposition(direction.end, group.start):
                break
            return direction
    for direction in stated:
        if direction.start >= group.end:
            between = tokens[group.end : direction.start]
            if all(kind in ("negation", "t_wave") or text.lower() in _FILLERS for kind, text in between):
                direction.used_before = True
                return direction
            break
    return None
