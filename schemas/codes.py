"""Stable codes that carry what the published tables say of them."""

from enum import StrEnum


class Code(StrEnum):
    """A member is its code, a plain string everywhere; `meaning` is the sentence that explains it."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> "Code":
        """Called by the enum machinery for each `NAME = code, meaning`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member
