"""HL7 v2 text: a message's delimiters, and its escape sequences in both directions.

hl7apy neither resolves escape sequences when it reads nor escapes `^`, `&` and line ends when it writes, and it escapes
formatting sequences a second time: text goes through here instead. Chapter 2.7 of the standard defines the sequences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

_LINE: Final = "\n"


@dataclass(frozen=True)
class Delimiters:
    """The five delimiters of one message, as MSH-1 and MSH-2 declare them."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent

    @cached_property
    def literals(self) -> Mapping[str, str]:
        """What the one-letter sequences stand for; highlighting (H, N) has no meaning in plain text."""
        return MappingProxyType(
            {
                "F": self.field,
                "S": self.component,
                "T": self.subcomponent,
                "R": self.repetition,
                "E": self.escape,
                "H": "",
                "N": "",
            }
        )

    @cached_property
    def _sequence(self) -> re.Pattern[str]:
        mark = re.escape(self.escape)
        return re.compile(
            rf"{mark}([FSTREHN]|X(?:[0-9A-Fa-f]{{2}})+|\.(?:br|ce|fi|nf|sp|sk|in|ti)[ ]?[+-]?\d{{0,3}}){mark}"
        )

    @cached_property
    def _table(self) -> dict[int, str]:
        mark = self.escape
        letters = {self.field: "F", self.component: "S", self.subcomponent: "T", self.repetition: "R", mark: "E"}
        return str.maketrans({char: mark + code + mark for char, code in {**letters, "\r": "X0D", "\n": "X0A"}.items()})

    def escaped(self, text: str) -> str:
        """The text as it may stand in a field: delimiters and line ends replaced, so that it cannot end one."""
        return text.translate(self._table)

    def unescaped(self, text: str, codec: str = "utf-8") -> str:
        r"""The text that a field means. Sequences that are unknown or unclosed stay as they are.

        `codec` is the message's character set, in which the bytes of `\Xhh..\` are read.
        """
        if self.escape not in text:
            return text
        return self._sequence.sub(lambda match: self._meaning(match, codec), text)

    def _meaning(self, match: re.Match[str], codec: str) -> str:
        code = match[1]
        if code in self.literals:
            return self.literals[code]
        if code[0] == "X":
            try:
                return bytes.fromhex(code[1:]).decode(codec)
            except UnicodeDecodeError:
                return match[0]
        command, digits = code[1:3], re.sub(r"\D", "", code[3:])
        count = int(digits) if digits else 1
        # Line breaks and skipped spaces are content; filling, indents and margins are layout.
        return {"br": _LINE, "ce": _LINE, "sp": _LINE * count, "sk": " " * count}.get(command, "")


STANDARD = Delimiters()
