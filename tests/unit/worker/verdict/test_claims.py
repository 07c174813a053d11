"""Which claims about T waves a reasoning makes."""

import pytest

from worker.verdict.claims import interpret


def claims(text: str) -> dict[str, str]:
    return {claim.lead: claim.stated for claim in interpret(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T wave inversion in V2, V3 and V4.", {"V2": "inverted", "V3": "inverted", "V4": "inverted"}),
        ("There are T-wave inversions in leads V1-V3.", {"V1": "inverted", "V2": "inverted", "V3": "inverted"}),
        ("T waves are inverted in V2 through V4.", {"V2": "inverted", "V3": "inverted", "V4": "inverted"}),
        ("V5 and V6 are inverted.", {"V5": "inverted", "V6": "inverted"}),
        (
            "T waves: I upright, II flat, V2 inverted, V3 deep.",
            {"I": "upright", "II": "flat", "V2": "inverted", "V3": "inverted"},
        ),
        ("Inversion symmetric in V2 V3: anterior.", {"V2": "inverted", "V3": "inverted"}),
        ("T waves are inverted in the inferior leads.", {"II": "inverted", "III": "inverted", "aVF": "inverted"}),
        ("No T wave inversion in V5.", {"V5": "not_inverted"}),
        ("T wave in aVL is not inverted.", {"aVL": "not_inverted"}),
        ("The T wave is flat in III and upright in aVF.", {"III": "flat", "aVF": "upright"}),
        ("Non-ischemic T wave inversion in V2.", {"V2": "inverted"}),
        ("No ST elevation, but T wave inversion in V2.", {"V2": "inverted"}),
        ("No Q waves and T inversion in V3.", {"V3": "inverted"}),
        ("No significant T-wave inversion in V4.", {"V4": "not_inverted"}),
        ("TWI V3-4.", {"V3": "inverted", "V4": "inverted"}),
        ("T wave inversion in avl.", {"aVL": "inverted"}),
    ],
)
def test_plain_statements_are_understood(text: str, expected: dict[str, str]) -> None:
    assert claims(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ST depression in V4-V6.",
        "Deep Q waves in V1 and V2.",
        "Negative P wave in V1.",
        "Sinus rhythm. Normal axis.",
        "I think this is ischemic.",
        "qwv zz inverted lorem",
    ],
)
def test_statements_about_other_things_are_no_claims(text: str) -> None:
    assert claims(text) == {}


def test_a_direction_belongs_to_its_own_leads_only() -> None:
    assert claims("T inverted in V2, upright in V5 and V6.") == {"V2": "inverted", "V5": "upright", "V6": "upright"}
    assert claims("V1 upright V2 inverted V3 upright") == {"V1": "upright", "V2": "inverted", "V3": "upright"}


def test_each_claim_carries_its_sentence() -> None:
    (claim,) = interpret("Sinus rhythm. T wave inversion in V2. Context unknown.")
    assert claim.text == "T wave inversion in V2."
