from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from adapters.hl7v2.identity import AGE_UNUSABLE
from adapters.recording.site import ZONE_ASSUMED, SiteDefaults
from adapters.recording.texts import MAX_CLINICAL_CHARACTERS
from schemas.ecg import Patient
from schemas.rejection import Reason
from tests.support.hl7_messages import MSH, OBR, PID, RATE, array, arrays, decoded, message, refused

EASTERN = timezone(timedelta(hours=-5))


def with_pid(field: int, text: str) -> str:
    fields = PID.split("|")
    fields[field] = text
    return message(pid="|".join(fields))


def obr(**fields: str) -> str:
    parts = [*OBR.split("|"), *[""] * 40]
    for name, text in fields.items():
        parts[int(name[1:])] = text
    return "|".join(parts).rstrip("|")


def test_a_full_message_gives_patient_order_time_and_device() -> None:
    ecg = decoded(message(before=["TQ1|1||||||||S"], pid=PID + "\rPV1|1|E" + "|" * 17 + "V77^^^HOSP"))
    assert ecg.format == "hl7v2"
    assert ecg.message_id == "M1"
    assert ecg.patient == Patient("123", "HOSP", 67.0, "female")
    assert (ecg.order.encounter, ecg.order.placer, ecg.order.filler) == ("V77", "P1", "F1")
    assert ecg.order.priority == "stat"
    assert ecg.acquired_at == datetime(2026, 3, 23, 8, 55, tzinfo=EASTERN)
    assert ecg.device == "CART"
    assert ecg.notes == ()


def test_no_name_address_or_birth_date_reaches_the_ecg() -> None:
    ecg = decoded(message(pid=PID + "|||1 MAIN ST^^SPRINGFIELD|||555-1234"))
    shown = repr((ecg.patient, ecg.order, ecg.device, ecg.notes, ecg.message_id))
    assert not any(secret in shown for secret in ("DOE", "JANE", "1958", "MAIN", "555"))


@pytest.mark.parametrize(
    ("identifiers", "patient_id", "assigner"),
    [
        ("1^^^A^PI~2^^^B^MR~3^^^C^MR", "2", "B"),
        ("1^^^A^PI~3^^^C^SS", "1", "A"),
        ("~5^^^A^PI", "5", "A"),
        ('""^^^A^MR~5^^^&1.2.3&ISO^PI', "5", "1.2.3"),
        ("007", "007", None),
        (r"A\T\B^^^H\S\1", "A&B", "H^1"),
    ],
)
def test_the_medical_record_number_is_preferred(identifiers: str, patient_id: str, assigner: str | None) -> None:
    patient = decoded(with_pid(3, identifiers)).patient
    assert (patient.id, patient.assigner) == (patient_id, assigner)


@pytest.mark.parametrize("identifiers", ["", '""', "^^^HOSP^MR", "~", " "])
def test_without_an_identifier_there_is_no_patient(identifiers: str) -> None:
    assert refused(with_pid(3, identifiers)) is Reason.ECG_NO_PATIENT


@pytest.mark.parametrize(
    ("born", "age_years"),
    [
        ("19580323", 68.0),
        ("19580324", 67.0),
        ("195803230101-0500", 68.0),
        ("1958", 67.0),
        ("195804", 67.0),
        ("20250901", 0.5),
        ("20260323", 0.0),
        ("", None),
        ('""', None),
    ],
)
def test_age_is_that_at_the_time_of_the_ecg(born: str, age_years: float | None) -> None:
    ecg = decoded(with_pid(7, born))
    assert ecg.patient.age_years == age_years
    assert AGE_UNUSABLE not in ecg.notes


@pytest.mark.parametrize("born", ["20260401", "18500101", "19581301", "unknown", "58"])
def test_a_birth_date_that_gives_no_age_is_noted(born: str) -> None:
    ecg = decoded(with_pid(7, born))
    assert ecg.patient.age_years is None
    assert AGE_UNUSABLE in ecg.notes


@pytest.mark.parametrize(
    ("written", "sex"),
    [("F", "female"), ("m", "male"), ("M^Male^HL70001", "male"), ("U", None), ('""', None), ("", None)],
)
def test_sex_is_female_male_or_unknown(written: str, sex: str | None) -> None:
    assert decoded(with_pid(8, written)).patient.sex == sex


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20260323085500+0100", datetime(2026, 3, 23, 7, 55, tzinfo=UTC)),
        ("20260323085500.2500-0500", datetime(2026, 3, 23, 13, 55, 0, 250000, tzinfo=UTC)),
        ("202603230855", datetime(2026, 3, 23, 13, 55, tzinfo=UTC)),
        ("20260323085560", datetime(2026, 3, 23, 13, 55, 59, tzinfo=UTC)),
        ("20260323085500^S", datetime(2026, 3, 23, 13, 55, tzinfo=UTC)),
    ],
)
def test_the_ecg_is_dated_by_obr_7_in_its_zone_or_the_messages(written: str, expected: datetime) -> None:
    ecg = decoded(message(obr=obr(f7=written)))
    assert ecg.acquired_at == expected
    assert ecg.notes == ()


def test_without_any_zone_the_sites_is_assumed_and_noted() -> None:
    text = message(msh=MSH.replace("-0500", ""))
    ecg = decoded(text, SiteDefaults(zone=ZoneInfo("Europe/Berlin")))
    assert ecg.acquired_at == datetime(2026, 3, 23, 7, 55, tzinfo=UTC)
    assert ecg.notes == (ZONE_ASSUMED,)


@pytest.mark.parametrize("written", ["", '""', "20260323", "2026032308", "20261323085500", "20260323245500", "today"])
def test_without_obr_7_the_results_own_time_counts_and_without_both_the_ecg_is_rejected(written: str) -> None:
    undated = obr(f7=written)
    dated = [
        RATE,
        *(array(lead, f14="20260323090000-0500") for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")),
    ]
    assert decoded(message(obr=undated, obx=dated)).acquired_at == datetime(2026, 3, 23, 9, 0, tzinfo=EASTERN)
    assert refused(message(obr=undated)) is Reason.ECG_NO_TIME


def test_an_offset_beyond_a_day_is_no_time() -> None:
    assert refused(message(obr=obr(f7="20260323085500+9900"))) is Reason.ECG_NO_TIME


@pytest.mark.parametrize(
    ("before", "fields", "priority"),
    [
        (["TQ1|1||||||||S"], {"f5": "R"}, "stat"),
        (["TQ1|1||||||||A^as soon as possible^HL70485"], {}, "asap"),
        (["TQ1|1||||||||R"], {"f5": "S"}, "routine"),
        ([], {"f27": "1^once^^^^S"}, "stat"),
        ([], {"f5": "STAT"}, "stat"),
        ([], {"f5": "T"}, "routine"),
        ([], {}, "routine"),
    ],
)
def test_priority_is_read_where_each_version_puts_it(before: list[str], fields: dict[str, str], priority: str) -> None:
    assert decoded(message(obr=obr(**fields), before=before)).order.priority == priority


def test_order_numbers_come_from_orc_where_obr_has_none() -> None:
    text = message(obr="ORC|RE|P9^EHR|F9^CART||||^^^^^A\r" + obr(f2="", f3='""'))
    order = decoded(text).order
    assert (order.placer, order.filler, order.priority) == ("P9", "F9", "asap")


def test_clinical_texts_are_gathered_unescaped_and_without_the_results_own_comments() -> None:
    before = [
        "NTE|1||since noon~worse now",
        "DG1|1||I20.0^Unstable angina^I10",
        r"DG1|2||R07.9^^I10|Chest \T\ arm pain",
    ]
    results = ["NTE|1||after TQ1", RATE, *arrays(), "NTE|1||READ AS NORMAL"]
    text = message(
        obr=obr(f13=r"smoker \.br\ diabetic", f31="R07.9^chest pain^I10~^dyspnoea"),
        before=[*before, "TQ1|1||||||||S"],
        obx=results,
    )
    assert decoded(text).order.clinical_texts == (
        "smoker \n diabetic",
        "chest pain",
        "dyspnoea",
        "since noon\nworse now",
        "after TQ1",
        "Unstable angina",
        "Chest & arm pain",
        "R07.9",
    )


def test_notes_about_the_patient_are_no_clinical_text_and_a_visits_diagnosis_is() -> None:
    pid = PID + "\rNTE|1||speaks French\rPV1|1|E\rDG1|1||I25^Old infarction^I10"
    assert decoded(message(pid=pid)).order.clinical_texts == ("Old infarction",)


def test_another_orders_texts_stay_with_it() -> None:
    other = "OBR|1|P0|F0|CBC|||20260323060000\rNTE|1||anaemia?\rDG1|1||D64^Anaemia^I10\rTQ1|1||||||||S"
    order = decoded(message(obr=other + "\r" + OBR)).order
    assert (order.clinical_texts, order.priority) == ((), "routine")


def test_a_book_of_clinical_text_is_rejected() -> None:
    assert refused(message(before=["NTE|1||" + "x" * (MAX_CLINICAL_CHARACTERS + 1)])) is Reason.HL7_TOO_COMPLEX


def test_the_device_is_the_results_equipment_else_the_sender() -> None:
    named = {lead: array(lead, f18="ELI-250^MORTARA") for lead in ("I",)}
    assert decoded(message(obx=[RATE, *arrays(named)])).device == "ELI-250"
    assert decoded(message(msh=MSH.replace("|CART|", "||"))).device == "WARD"
    assert decoded(message(msh=MSH.replace("|CART|WARD|", "|||"))).device is None


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_withdrawn_results_are_not_read(status: str) -> None:
    text = message(obx=[RATE, *(line + "|" * 5 + status for line in arrays())])
    assert refused(text) is Reason.HL7_NO_WAVEFORM


def test_a_cancelled_order_is_not_read() -> None:
    assert refused(message(obr=obr(f25="X"))) is Reason.HL7_NO_WAVEFORM


@pytest.mark.parametrize("status", ["P", "F", "C", "R", ""])
def test_preliminary_final_and_corrected_results_are_read(status: str) -> None:
    text = message(obr=obr(f25=status), obx=[RATE, *(line + "|" * 5 + status for line in arrays())])
    assert decoded(text).patient.id == "123"
