"""A finding as an HL7 message: what stands where, and that nothing in a finding can change the message's structure."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.oru.message import Event, Route, build_oru, control_id
from adapters.hl7v2.text import STANDARD
from schemas.finding import Assessment, Finding, ModelRef, OrderRef, PatientRef, Reasoning
from tests.support.flagged import finding_id, flagged

ROUTE = Route("ECG-LAB", "EHR", "HOSP")
NASTY = 'a|b^c~d\\e&f\r\ng\nMSH|^~\\&|x\rPID|2||evil\x0b\x1c\x00"" \\.br\\ µV 心'


def segments(finding: Finding, route: Route = ROUTE, late_h: int | None = None) -> list[list[str]]:
    """The message as a list of fields for each segment; a field's number is its place."""
    message = build_oru(finding, route, late_h).decode()
    assert message.endswith("\r")
    found = [segment.split("|") for segment in message.removesuffix("\r").split("\r")]
    found[0].insert(1, "|")
    return found


def segment(finding: Finding, name: str, route: Route = ROUTE, late_h: int | None = None) -> list[str]:
    (found,) = [fields for fields in segments(finding, route, late_h) if fields[0] == name]
    return found


def observations(finding: Finding, late_h: int | None = None) -> dict[tuple[str, str], list[str]]:
    """OBX by code and sub-id."""
    return {(s[3].split("^")[0], s[4]): s for s in segments(finding, late_h=late_h) if s[0] == "OBX"}


def test_the_example_in_the_documentation_is_what_is_sent() -> None:
    page = (Path(__file__).parents[5] / "docs" / "ehr.md").read_text(encoding="utf-8")
    sent = build_oru(flagged(), ROUTE).decode().replace("\r", "\n")
    assert "".join(f"    {line}\n" for line in sent.splitlines()) in page


def test_the_same_finding_gives_the_same_bytes() -> None:
    again = Finding.model_validate_json(flagged().to_json())
    assert build_oru(flagged(), ROUTE) == build_oru(again, ROUTE)


def test_the_header_names_the_message_its_route_and_its_character_set() -> None:
    header = segment(flagged(), "MSH")
    assert header[1:7] == ["|", "^~\\&", "ECG-R1", "ECG-LAB", "EHR", "HOSP"]
    assert header[9] == "ORU^R01^ORU_R01"
    assert (header[11], header[12], header[18]) == ("P", "2.5.1", "UNICODE UTF-8")


def test_the_control_id_is_that_of_the_finding_and_of_why_it_is_sent() -> None:
    finding = flagged()
    assert segment(finding, "MSH")[10] == control_id(finding.finding_id, "alert")
    assert segment(finding, "MSH", late_h=31)[10] == control_id(finding.finding_id, "review")
    assert segment(finding, "MSH", late_h=32)[10] == control_id(finding.finding_id, "review")


def test_no_two_statements_share_a_control_id_and_each_fits_the_field() -> None:
    events: tuple[Event, ...] = ("alert", "review")
    # What begins alike, and what could be read as another one's event or revision.
    ids = [finding_id(1), finding_id(2), f"{finding_id(1)}x", "0/x", "x", ""]
    found = {control_id(one, event, revision) for one in ids for event in events for revision in (0, 1, 10)}
    assert len(found) == len(ids) * len(events) * 3
    assert all(re.fullmatch("[0-9a-f]{20}", one) for one in found)
    assert control_id("a", "alert") == control_id("a", "alert", 0)


def test_every_status_is_preliminary() -> None:
    finding = flagged()
    assert segment(finding, "OBR")[25] == "P"
    assert {fields[11] for fields in observations(finding).values()} == {"P"}


def test_the_result_is_filed_under_its_own_number_beside_the_order_and_the_ecg() -> None:
    finding = flagged()
    order = segment(finding, "OBR")
    assert order[2] == segment(finding, "ORC")[2] == "P1"
    assert order[3] == segment(finding, "ORC")[3] == f"{finding.finding_id}^ECG-R1"
    assert (order[24], order[29]) == ("EC", "P1^F1")


def test_without_an_order_there_is_no_parent() -> None:
    finding = flagged(order=OrderRef(placer=None, filler=None))
    assert segment(finding, "OBR")[2] == ""
    assert len(segment(finding, "OBR")) == 26


@pytest.mark.parametrize(
    ("assigner", "field"), [("HOSP", "4711^^^HOSP"), (None, "4711"), ("2.16.840.1", "4711^^^&2.16.840.1&ISO")]
)
def test_the_patient_is_an_identifier_without_a_name(assigner: str | None, field: str) -> None:
    patient = segment(flagged(patient=PatientRef(id="4711", assigner=assigner)), "PID")
    assert patient[3] == field
    assert patient[5:] == ["~^^^^^^U"]


def test_the_encounter_is_sent_if_there_is_one() -> None:
    assert segment(flagged(), "PV1")[19] == "E42"
    assert not [s for s in segments(flagged(encounter=None)) if s[0] == "PV1"]


@pytest.mark.parametrize(("priority", "abnormal"), [("stat", "AA"), ("urgent", "A")])
def test_the_verdict_has_its_probability_and_is_abnormal(priority: str, abnormal: str) -> None:
    flag = flagged().flag.model_copy(update={"priority": priority})
    verdict = observations(flagged(flag=flag))["TWI-VERDICT", ""]
    assert verdict[2] == "CWE"
    assert verdict[5] == "ischemic^T-wave inversion, possibly ischemic^99ECG"
    assert (verdict[8], verdict[9]) == (abnormal, "0.873")


@pytest.mark.parametrize("priority", ["stat", "urgent"])
def test_a_review_asks_for_no_urgency_anywhere_and_says_how_late_it_is(priority: str) -> None:
    finding = flagged(flag=flagged().flag.model_copy(update={"priority": priority}))
    sent = observations(finding, late_h=31)
    said = "Late by 31 h, for review, no alert: recorded 2026-03-03 08:00+00:00, delivered after 2026-03-04 15:00+00:00"
    assert sent["TWI-VERDICT", ""][5] == "ischemic^T-wave inversion, possibly ischemic^99ECG"
    assert {fields[8] for fields in sent.values()} == {""}
    assert sent["FLAG-SUMMARY", ""][3] == "FLAG-SUMMARY^Review^99ECG"
    assert sent["FLAG-SUMMARY", ""][5] == f"{said}. {finding.flag.summary}"
    assert sent["FLAG-PRIORITY", ""][5] == "routine"
    assert sent["FLAG-LATE", ""][5:7] == ["31", "h^hour^UCUM"]
    assert ("FLAG-EXPIRES", "") not in sent
    assert segment(finding, "OBR", late_h=31)[27] == "^^^^^R"
    assert next(s[3] for s in segments(finding, late_h=31) if s[0] == "NTE") == said
    assert priority not in build_oru(finding, ROUTE, 31).decode()


def test_a_review_says_what_its_alert_would_have_said_otherwise() -> None:
    """Only where it must differ does it differ; the result is filed under the same number."""
    differing = {"MSH", "NTE", "OBR", "TWI-VERDICT", "FLAG-SUMMARY", "FLAG-PRIORITY", "FLAG-LATE", "FLAG-EXPIRES"}

    def rest(late_h: int | None) -> list[list[str]]:
        found = [[s[0], *s[2:]] for s in segments(flagged(), late_h=late_h)]  # without the numbers of repeated ones
        return [s for s in found if not differing & {s[0], (s + [""] * 3)[2].split("^")[0]}]

    assert rest(None) == rest(31)
    assert segment(flagged(), "ORC")[3] == segment(flagged(), "OBR", late_h=31)[3]


def test_a_lifetime_under_an_hour_does_not_make_a_review_late_by_nothing() -> None:
    assert observations(flagged(), late_h=0)["FLAG-SUMMARY", ""][5].startswith("Late by less than 1 h, for review")


def test_an_alert_says_nothing_of_lateness() -> None:
    assert ("FLAG-LATE", "") not in observations(flagged())
    assert len(segment(flagged(), "OBR")) == 30
    assert segment(flagged(), "OBR")[27] == ""


@pytest.mark.parametrize("verdict", ["non_ischemic", "no_t_wave_inversion", "indeterminate"])
def test_the_absence_of_ischemia_is_not_called_normal(verdict: Any) -> None:
    finding = flagged(assessment=Assessment(verdict=verdict, probability=None, threshold=0.5, reason="none"))
    sent = observations(finding)
    assert sent["TWI-VERDICT", ""][8:10] == ["", ""]
    assert ("TWI-PROBABILITY", "") not in sent


def test_the_probability_stands_beside_its_threshold() -> None:
    sent = observations(flagged())
    assert sent["TWI-PROBABILITY", ""][5:8] == ["0.8731", "1^unity^UCUM", "<0.5000"]
    assert sent["TWI-THRESHOLD", ""][5] == "0.5000"


def test_the_inverted_leads_have_their_depth_in_millivolts() -> None:
    sent = observations(flagged())
    assert sent["TWI-LEADS", ""][5] == "V2, V3"
    amplitudes = {lead: s[5:7] for (code, lead), s in sent.items() if code == "T-AMPLITUDE"}
    assert amplitudes == {"V2": ["-0.310", "mV^millivolt^UCUM"], "V3": ["-0.254", "mV^millivolt^UCUM"]}


def test_what_limits_the_recording_is_told() -> None:
    assert observations(flagged())["QUALITY", "V6"][5] == "baseline_wander"


def test_reasoning_is_formatted_text_with_what_was_checked_of_it() -> None:
    found = segments(flagged())
    (place,) = [i for i, s in enumerate(found) if s[0] == "OBX" and s[3].startswith("TWI-REASONING")]
    assert found[place][2] == "FT"
    assert found[place][5] == "Inverted in V2-V3.\\.br\\Deep \\T\\ symmetric."
    assert "Of 2 claims about the waveform, 1 agree" in found[place + 1][3]


def test_reasoning_that_no_field_can_hold_is_cut_and_says_so() -> None:
    reasoning = Reasoning(text="|" * 70_000, claims=(), grounded=True)
    sent = observations(flagged(reasoning=reasoning))["TWI-REASONING", ""][5]
    assert len(sent) < 65_536
    assert sent.endswith(f"[cut; the whole text is in finding {flagged().finding_id}]")


def test_the_over_read_notice_and_the_provenance_come_as_notes() -> None:
    finding = flagged()
    notes = [s[3] for s in segments(finding) if s[0] == "NTE"]
    assert notes[0] == finding.notice
    assert f"digest {finding.provenance.model.digest}; training trained" in notes[1]
    assert f"fingerprint {finding.provenance.fingerprint}; finding {finding.finding_id}" in notes[2]
    assert segment(finding, "SFT")[2:5] == ["0.1.0", "ecg-r1-worker", "d" * 20]


@pytest.mark.parametrize("training", ["demo", "untrained"])
def test_a_model_not_for_clinical_use_says_so_wherever_it_is_read(training: Any) -> None:
    finding = flagged(model=ModelRef(name="m", digest="d", training=training))
    warning = f"{training.upper()} MODEL, NOT FOR CLINICAL USE"
    assert warning in observations(finding)["TWI-VERDICT", ""][5]
    assert warning in [s[3] for s in segments(finding) if s[0] == "NTE"]
    assert segment(finding, "MSH")[11] == "T"


def test_times_keep_the_zone_that_they_came_with() -> None:
    summary = flagged().ecg.model_copy(
        update={"acquired_at": datetime(2026, 3, 23, 8, 55, 1, 999, timezone(timedelta(hours=-5, minutes=-30)))}
    )
    finding = flagged(ecg=summary)
    assert segment(finding, "OBR")[7] == "20260323085501-0530"
    assert {s[14] for s in observations(finding).values()} == {"20260323085501-0530"}
    assert segment(finding, "MSH")[7] == segment(finding, "OBR")[22] == "20260303080012+0000"


def test_a_message_without_arrival_time_is_dated_by_the_ecg() -> None:
    finding = flagged(source=flagged().source.model_copy(update={"timestamp": None}))
    assert segment(finding, "MSH")[7] == segment(finding, "OBR")[7]


# What stands for itself: a contract's own words, of which there is a fixed list.
OWN_WORDS = {"schema", "status", "verdict", "priority", "training"}


def filled(part: Any, text: str, name: str = "") -> Any:
    """A part of a finding in which everything that is text and not one of our own words is this text."""
    if isinstance(part, dict):
        fill = {key if key not in {"V2", "V3", "V4"} else f"{text}{key}": value for key, value in part.items()}
        return {key: filled(value, text, key) for key, value in fill.items()}
    if isinstance(part, list | tuple):
        return [f"{text}{item}" if name == "t_wave_inversion" else filled(item, text, name) for item in part]
    return text if isinstance(part, str) and name not in OWN_WORDS else part


def with_text_everywhere(text: str) -> Finding:
    """A finding in which everything that comes from outside is this text, as it is when it is read from a topic."""
    plain = filled(flagged(model=ModelRef(name="m", digest="d", training="trained")).model_dump(by_alias=True), text)
    plain["reasoning"]["text"] = f".{text}"
    found = Finding.model_validate(plain)
    return Finding.model_validate_json(found.to_json())


def test_two_quotes_are_text_and_delete_nothing_at_the_receiver() -> None:
    finding = flagged(
        patient=PatientRef(id='""', assigner='""'), encounter='""', order=OrderRef(placer='""', filler="")
    )
    sent = segments(finding)
    assert not [fields for fields in sent if '""' in fields]
    assert STANDARD.unescaped(segment(finding, "PV1")[19]) == '""'


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))], ids=str)
@pytest.mark.parametrize("late_h", [None, 31, 10**7])
@pytest.mark.parametrize("moment", [datetime.min, datetime.max, datetime(999, 12, 31)], ids=str)
def test_a_time_at_either_end_of_the_calendar_is_a_time(moment: datetime, late_h: int | None, zone: timezone) -> None:
    at = moment.replace(tzinfo=zone)
    plain = flagged()
    finding = flagged(
        ecg=plain.ecg.model_copy(update={"acquired_at": at}),
        source=plain.source.model_copy(update={"timestamp": at}),
        flag=plain.flag.model_copy(update={"expires_at": at}),
    )
    again = Finding.model_validate_json(finding.to_json())
    assert build_oru(again, ROUTE, late_h) == build_oru(finding, ROUTE, late_h)
    times = {segment(finding, "MSH", late_h=late_h)[7], segment(finding, "OBR", late_h=late_h)[7]}
    if late_h is None:
        times.add(observations(finding)["FLAG-EXPIRES", ""][5])
    (written,) = times
    assert re.fullmatch(r"[0-9]{14}[+-][0-9]{4}", written)
    assert written.startswith(f"{moment.year:04d}")


TEXTS = st.text() | st.lists(st.sampled_from(NASTY)).map("".join)


@given(TEXTS)
@settings(max_examples=25)
def test_no_text_can_change_the_structure_of_a_message(text: str) -> None:
    assert_structure_is_kept(text)


@pytest.mark.slow
@given(TEXTS)
@settings(max_examples=300)
def test_none_of_many_texts_can(text: str) -> None:
    assert_structure_is_kept(text)


def assert_structure_is_kept(text: str) -> None:
    finding = with_text_everywhere(text)
    for late_h in (None, 31):
        built = build_oru(finding, Route(text, text, text), late_h)
        assert not set(built) & (set(range(0x20)) - {0x0D} | {0x7F})
        assert_same_structure(segments(finding, late_h=late_h), segments(with_text_everywhere("x"), late_h=late_h))
    assert STANDARD.unescaped(segment(finding, "PV1")[19]) == text
    reasoning = STANDARD.unescaped(observations(finding)["TWI-REASONING", ""][5])
    if len(text) < 10_000:
        assert reasoning == "\n".join(f".{text}".splitlines())


def assert_same_structure(got: list[list[str]], expected: list[list[str]]) -> None:
    assert [s[0] for s in got] == [s[0] for s in expected]
    lengths, wanted = [[len(s) for s in found if s[0] != "OBR"] for found in (got, expected)]
    assert lengths == wanted


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "|", "\r", "\u2028", '"'),
        *(pytest.param(character, marks=pytest.mark.slow) for character in ("\\", "\x1c", "\x85", "\U0001f493", "a")),
    ],
    ids=ascii,
)
def test_no_length_can_either(character: str) -> None:
    assert_structure_is_kept(character * 16_384)


@pytest.mark.parametrize("number", [1.7e308, -1.7e308, 5e-324, -0.0])
def test_any_number_is_a_number(number: float) -> None:
    plain = flagged()
    numbers = dict.fromkeys(("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg"), number)
    leads = {lead: values.model_copy(update={"t_mv": number}) for lead, values in plain.measurements.leads.items()}
    sent = segments(flagged(measurements=plain.measurements.model_copy(update=numbers | {"leads": leads})))
    assert {s[5] for s in sent if s[2:3] == ["NM"] and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", s[5])} == set()
    assert "-0" not in {s[5] for s in sent if s[0] == "OBX"}
