"""What hl7apy 1.3.5 does wrong or slowly, and what must come of it nevertheless."""

import pytest
from hl7apy.parser import parse_message

from adapters.hl7v2.fields import (
    MAX_FIELD_CHARACTERS,
    MAX_PARTS,
    MAX_SIGNAL_SEGMENTS,
    MAX_TIME_CHARACTERS,
    VERSION_ASSUMED,
    Segment,
    parse_structure,
)
from adapters.hl7v2.segments import split_message
from schemas.rejection import Reason
from tests.support.hl7_messages import MSH, OBR, PID, RATE, SITE, array, arrays, decoded, message, refused

VERSIONS = ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"]


def header(version: str) -> str:
    return MSH.replace("2.5.1", version)


def structure(text: str) -> tuple[Segment, ...]:
    return parse_structure(split_message(text.encode(), SITE))[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_keep_their_place_in_every_version(version: str) -> None:
    obr = "OBR|1|P1|F1|93000|A||20260323085500" + "|" * 20 + "1^^^^^S"
    pid = "PID|1||0099^^^HOSP&1.2.3&ISO^MR||DOE^JANE||19580401|F"
    ecg = decoded(message(msh=header(version), pid=pid, obr=obr))
    assert (ecg.patient.id, ecg.patient.assigner, ecg.order.priority) == ("0099", "HOSP", "stat")
    assert ecg.notes == (decoded(message()).notes)
    with_tq1 = decoded(message(msh=header(version), before=["TQ1|1||||||||A"]))
    assert with_tq1.order.priority == "asap"


def test_a_country_after_the_version_is_tolerated() -> None:
    assert VERSION_ASSUMED not in decoded(message(msh=header("2.5.1^USA&x^1"))).notes


@pytest.mark.parametrize("version", ["", "2.9", "2.10", "2.5.2"])
def test_a_version_that_is_missing_or_unknown_is_noted(version: str) -> None:
    assert VERSION_ASSUMED in decoded(message(msh=header(version))).notes


def test_a_header_that_ends_before_its_version_is_noted() -> None:
    assert VERSION_ASSUMED in decoded(message(msh=MSH[: MSH.index("|P|")])).notes


@pytest.mark.parametrize("version", ["3.0", "2", "two", "2.5.1.1", "2.٣"])
def test_what_is_no_version_2_is_rejected(version: str) -> None:
    assert refused(message(msh=header(version))) is Reason.HL7_MALFORMED


@pytest.mark.parametrize("kind", ["ORU", "ORU^R01", "ORU^R32^ORU_R32", "ORU^W01^ORU_W01", "ORU^R01^ORU_R30", "ORU^Z99"])
def test_every_kind_of_oru_is_read(kind: str) -> None:
    assert decoded(message(msh=MSH.replace("ORU^R01^ORU_R01", kind))).patient.id == "123"


@pytest.mark.parametrize("kind", ["ADT^A01", "ORM^O01", "ACK", "", "ZZZ^Z99", "MDM^T02"])
def test_what_is_no_result_is_rejected(kind: str) -> None:
    assert refused(message(msh=MSH.replace("ORU^R01^ORU_R01", kind))) is Reason.HL7_NOT_A_RESULT


def test_positions_survive_blank_components_and_subcomponents() -> None:
    segments = structure(message(pid="PID|||^^^&1.2.3&ISO^MR~7^^^H&&ISO^PI||||19580401|M^male"))
    pid = segments[1]
    assert pid.repetitions(3) == 2
    assert (pid.text(3), pid.text(3, 4), pid.text(3, 4, 2), pid.text(3, 5)) == (None, None, "1.2.3", "MR")
    assert (pid.text(3, 4, 3, 1), pid.text(3, 1, 1, 2)) == ("ISO", None)
    assert (pid.text(8), pid.text(8, 2), pid.text(8, 3)) == ("M", "male", None)


def test_escapes_are_resolved_once() -> None:
    pid = structure(message(pid=r"PID|||A\T\\X41\\.br\B^^^H\S\I"))[1]
    assert (pid.text(3), pid.text(3, 4)) == ("A&A\nB", "H^I")


def test_the_null_is_no_value() -> None:
    pid = structure(message(pid='PID|||""^^^""^MR||||""|""'))[1]
    assert [pid.text(3), pid.text(3, 4), pid.text(7), pid.text(8)] == [None] * 4


def test_times_keep_their_zone_and_fraction() -> None:
    obr = structure(message(obr="OBR|||||||20260323085500.1230+0130"))[2]
    assert obr.text(7) == "20260323085500.1230+0130"


def test_only_the_fields_that_are_read_reach_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def spy(text: str, **options: object) -> object:
        given.append(text)
        return parse_message(text, **options)

    monkeypatch.setattr("adapters.hl7v2.fields.parse_message", spy)
    decoded(message(before=["NTE|1||pain since noon", "OBX|1|TX|X^CANARY||CANARY"]))
    assert len(given) == 1
    for secret in ("DOE", "JANE", "pain", "CANARY", str(array("V1").split("|")[5][:40])):
        assert secret not in given[0]


def test_a_parser_that_loses_or_swaps_segments_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy:
        def __init__(self, children: list[object]) -> None:
            self.children = children

    for damage in (lambda found: found[:-1], lambda found: [*found[:-2], found[1], found[-1]]):
        monkeypatch.setattr(
            "adapters.hl7v2.fields.parse_message",
            lambda text, d=damage, **options: Lossy(d(list(parse_message(text, **options).children))),
        )
        assert refused(message()) is Reason.HL7_LOST_SEGMENTS


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, AttributeError, RecursionError])
def test_a_parser_that_fails_gives_nothing_away(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(text: str, **options: object) -> object:
        raise error(text)

    monkeypatch.setattr("adapters.hl7v2.fields.parse_message", fail)
    assert refused(message()) is Reason.HL7_MALFORMED


@pytest.mark.parametrize("flood", ["^", "~", "&", "1"])
def test_a_field_longer_than_any_is_rejected_before_parsing(flood: str) -> None:
    assert refused(message(pid=PID.replace("123", "123" + flood * MAX_FIELD_CHARACTERS))) is Reason.HL7_TOO_COMPLEX


def test_a_time_longer_than_any_is_rejected_before_parsing() -> None:
    """hl7apy needs the square of its digits."""
    blanks = " " * (MAX_TIME_CHARACTERS - 14)
    assert decoded(message(obr=OBR + blanks)).acquired_at.minute == 55
    for line in (message(obr=OBR + blanks + " "), message(pid=PID.replace("19580401", "9" * 65))):
        assert refused(line) is Reason.HL7_TOO_COMPLEX
    late = arrays({"V1": array("V1", f14="9" * (MAX_TIME_CHARACTERS + 1))})
    assert refused(message(obx=[RATE, *late])) is Reason.HL7_TOO_COMPLEX


@pytest.mark.parametrize("flood", ["^", "~", "&"])
def test_more_parts_than_any_message_has_are_rejected_before_parsing(flood: str) -> None:
    results = [f"OBX|2|NA|X^{flood * (MAX_PARTS // 100)}||1" for _ in range(100)]
    assert refused(message(obx=[RATE, *arrays(), *results])) is Reason.HL7_TOO_COMPLEX


def test_more_waveform_segments_than_any_ecg_has_are_rejected_before_parsing() -> None:
    assert refused(message(obx=[RATE, *arrays(), *[RATE] * MAX_SIGNAL_SEGMENTS])) is Reason.HL7_TOO_COMPLEX


def test_a_thousand_plain_results_beside_the_waveform_are_no_burden() -> None:
    results = [f"OBX|{n}|NM|8633-0^QRS^LN||{n}|ms|||||F" for n in range(1000)]
    assert decoded(message(obx=[RATE, *arrays(), *results])).patient.id == "123"


def test_repetitions_of_a_segment_stay_with_their_order() -> None:
    blood = ["OBR|1|P0|F0|CBC|||20260323060000", "OBX|1|NM|718-7^Hb^LN||13|g/dL"]
    text = message(obr="\r".join([*blood, OBR]))
    assert decoded(text).order.placer == "P1"
