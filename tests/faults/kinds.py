"""The kinds of records that the harness feeds, and what each record says of itself."""

from typing import Final, Literal, get_args

Kind = Literal[
    "asked", "not_asked", "leads_off", "too_short", "routine", "stat", "cut_off", "noise", "two_patients",
    "fatal", "sickening", "hostile_good", "hostile_bad",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
POISON: Final[tuple[Kind, ...]] = ("cut_off", "noise", "two_patients")
HOSTILE: Final[tuple[Kind, ...]] = ("hostile_good", "hostile_bad")
REJECTED: Final[tuple[Kind, ...]] = (*POISON, "too_short", "fatal", "sickening", "hostile_bad")

# In years, of patients whose ECGs `tests.faults.fragile` breaks on.
FATAL_AGE: Final = 121
SICKENING_AGE: Final = 122


def message_id(number: int) -> str:
    """What the record with this number says of itself, and its finding of it."""
    return f"2.25.1{number:030d}"
