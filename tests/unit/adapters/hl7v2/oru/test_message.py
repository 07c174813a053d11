"""A finding as an HL7 message: what stands where, and that nothing in a finding can change the message's structure."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.oru.message import Route, build_oru, control_id
from adapters.hl7v2.text import STANDARD
from schemas.finding import Assessment, Finding, ModelRef, OrderRef, PatientRef, Reasoning
from tests.support.flagged import flagged

ROUTE = Route("ECG-LAB", "EHR", "HOSP")
NASTY = 'a|b^c~d\\e&f\r\ng\nMSH|^~\\&|x\rPID|2||evil\x0b\x1c\x00"" \\.br\\ µV 心'


def segments(finding: Finding, route: Route = ROUTE) -> list[list[str]]:
    """The message as a list of fields for each segment; a field's number is its place."""
    message = build_oru(finding, route).decode()
    assert message.endswith("\r")
    found = [segment.split("|") for segment in message.removesuffix("\r").split("\r")]
    found[0].insert(1, "|")
    return found


def segment(finding: Finding, name: str, route: Route = ROUTE) -> list[str]:
    (found,) = [fields for fields in segments(finding, route) if fields[0] == name]
    return found


def observations(finding: Finding) -> dict[tuple[str, str], list[str]]:
    """OBX by code and sub-id."""
    return {(s[3].split("^")[0], s[4]): s for s in segments(finding) if s[0] == "OBX"}


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


def test_the_control_id_comes_from_the_finding_and_the_event_and_fits_the_field() -> None:
    finding = flagged()
    assert segment(finding, "MSH")[10] == control_id(finding.finding_id)
    events = [
        control_id(flagged(1).finding_id),
        control_id(flagged(2).finding_id),
        control_id(flagged(1).finding_id, "review"),
        control_id(flagged(1).finding_id, "alert", revision=2),
    ]
    assert len(set(events)) == len(events)
    assert {len(event) for event in events} == {20}


def test_an_alert_that_comes_late_is_a_review_that_says_how_late() -> None:
    finding = flagged(flag=flagged().flag.model_copy(update={"priority": "stat"}))
    lines = build_oru(finding, ROUTE, late_h=31).decode().split("\r")
    found = {line.split("|")[3].split("^")[0]: line.split("|") for line in lines if line.startswith("OBX")}
    assert found["FLAG-SUMMARY"][5].startswith(
        "For review, 31 h after the recording, no alert any more: T-wave inversion"
    )
    assert found["FLAG-PRIORITY"][5] == "routine"
    assert "FLAG-EXPIRES" not in found
    assert found["TWI-VERDICT"][8] == ""
    assert found["FLAG-DEDUPE-KEY"][5] == finding.flag.dedupe_key
    assert lines[0].split("|")[9] == control_id(finding.finding_id, "review")
    assert build_oru(finding, ROUTE, late_h=31) == build_oru(finding, ROUTE, late_h=31)


@pytest.mark.parametrize("year", [1, 999, 1000, 9999])
def test_any_date_can_be_written(year: int) -> None:
    plain = flagged()
    moment = datetime(year, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-14)))
    finding = plain.model_copy(
        update={
            "ecg": plain.ecg.model_copy(update={"acquired_at": moment}),
            "flag": plain.flag.model_copy(update={"expires_at": moment}),
        }
    )
    assert segment(finding, "OBR")[7] == f"{year:04d}1231235959-1400"


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


def with_text_everywhere(text: str) -> Finding:
    """A finding in which everything that comes from outside is this text."""
    plain = flagged(model=ModelRef(name=text, digest="d", training="trained"))
    return plain.model_copy(
        update={
            "finding_id": text,
            "patient": PatientRef(id=text, assigner=text),
            "encounter": text,
            "order": OrderRef(placer=text, filler=text),
            "flag": plain.flag.model_copy(update={"summary": text, "dedupe_key": text}),
            "reasoning": Reasoning(text=f".{text}", claims=(), grounded=True),
            "notice": text,
        }
    )


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
    built = build_oru(finding, Route(text, text, text))
    assert not set(built) & (set(range(0x20)) - {0x0D} | {0x7F})
    got, expected = segments(finding), segments(with_text_everywhere("x"))
    assert [s[0] for s in got] == [s[0] for s in expected]
    lengths, wanted = [[len(s) for s in found if s[0] != "OBR"] for found in (got, expected)]
    assert lengths == wanted
    assert STANDARD.unescaped(segment(finding, "PV1")[19]) == text
    reasoning = STANDARD.unescaped(observations(finding)["TWI-REASONING", ""][5])
    assert reasoning == "\n".join(f".{text}".splitlines())
