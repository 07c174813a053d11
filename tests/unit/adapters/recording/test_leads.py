"""Lead names and codes as ECG systems write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.recording.leads import MAX_NAME_CHARACTERS, lead_from_code, lead_from_name, lead_from_number
from schemas.ecg import LEADS

# IEEE 11073-10102, as DICOM's CID 3001 and the HL7 and FHIR tables give it.
NUMBERS = {"I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8} | {
    "III": 61,
    "aVR": 62,
    "aVL": 63,
    "aVF": 64,
}


@pytest.mark.parametrize("lead", LEADS)
def test_one_number_stands_for_a_lead_in_every_code_system(lead: str) -> None:
    number = NUMBERS[lead]
    assert lead_from_number(number) == lead
    for code in (f"2:{number}", f"5.6.3-9-{number}", f"{131328 + number}", f" 2:{number} "):
        assert lead_from_code(code) == lead


@pytest.mark.parametrize(
    "code",
    ["", "1", "2:0", "2:9", "2:65", "2:1000", "3:1", "5.6.3-9-65", "131328", "131393", "1313291", "2:1x", "２:１"],
)
def test_what_is_no_code_of_a_standard_lead_names_none(code: str) -> None:
    assert lead_from_code(code) is None


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(
    "form", ["{}", "Lead {}", "lead_{}", "MDC_ECG_LEAD_{}", "MDC_ECG_ELEC_POTL_{}", "Lead {} (Einthoven)", " {} "]
)
def test_a_lead_is_known_by_every_common_form_of_its_name(form: str, lead: str) -> None:
    for name in (form.format(lead), form.format(lead).upper(), form.format(lead).lower()):
        assert lead_from_name(name) == lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("aVR, augmented voltage, right", "aVR"),
        ("aVL, augmented voltage, left", "aVL"),
        ("aVF, augmented voltage, foot", "aVF"),
    ],
)
def test_the_meanings_that_dicom_gives_the_augmented_leads(name: str, lead: str) -> None:
    assert lead_from_name(name) == lead


@pytest.mark.parametrize(
    "name", ["", "Lead", "-aVR", "−aVR", "V7", "V3R", "IV", "X", "1", "Leads I", "I II", "MDC_ECG_LEAD_"]
)
def test_other_names_name_no_standard_lead(name: str) -> None:
    assert lead_from_name(name) is None


@given(st.text(max_size=40))
def test_any_text_names_a_standard_lead_or_none(text: str) -> None:
    assert lead_from_name(text) in (*LEADS, None)
    assert lead_from_code(text) in (*LEADS, None)


def test_a_name_longer_than_any_is_no_leads() -> None:
    """Taking decorations off needs the square of the length: minutes for a megabyte of blanks."""
    blanks = " " * (MAX_NAME_CHARACTERS - len("I(Einthoven)"))
    assert lead_from_name(f"I{blanks}(Einthoven)") == "I"
    assert lead_from_name(f"I{blanks} (Einthoven)") is None
    assert lead_from_name("I" + " " * 1_000_000 + "I") is None
