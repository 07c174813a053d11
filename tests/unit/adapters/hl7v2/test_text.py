import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.text import STANDARD, Delimiters

OTHER = Delimiters("#", "@", "*", "!", "%")


@given(st.text(), st.sampled_from([STANDARD, OTHER]))
def test_escaping_and_unescaping_any_text_gives_it_back(text: str, delimiters: Delimiters) -> None:
    assert delimiters.unescaped(delimiters.escaped(text)) == text


@given(st.text())
def test_escaped_text_cannot_end_a_component_a_field_or_a_segment(text: str) -> None:
    assert not set("|^~&\r\n") & set(STANDARD.escaped(text))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\T\b \S\ \F\ \R\ \E\ ", "a&b ^ | ~ \\ "),
        (r"\H\loud\N\ ", "loud "),
        (r"one\.br\two\X0D0A\three", "one\ntwo\r\nthree"),
        (r"\.sp2\x\.sk 3\y\.in+4\\.ti-2\\.fi\z\.ce\ ", "\n\nx   yz\n "),
        (r"\X41c3a9\ ", "Aé "),
    ],
)
def test_known_sequences_are_resolved(written: str, meant: str) -> None:
    assert STANDARD.unescaped(written) == meant


@pytest.mark.parametrize(
    "written", [r"\C2842\ ", r"\M284A4B\ ", r"\Zxx\ ", r"\X4\ ", r"\XFF\ ", r"\.ab\ ", "open \\ end"]
)
def test_unknown_and_unclosed_sequences_stay_as_they_are(written: str) -> None:
    assert STANDARD.unescaped(written) == written


def test_a_lone_backslash_does_not_swallow_the_sequence_after_it() -> None:
    assert STANDARD.unescaped(r"C:\dir and \T\ too") == r"C:\dir and & too"


def test_hexadecimal_bytes_are_read_in_the_character_set_of_the_message() -> None:
    assert STANDARD.unescaped(r"\XE9\ ", "latin-1") == "é "
