"""The priority that is read off a record's bytes is the one that its decoder reads."""

from dataclasses import replace
from functools import cache
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID

from adapters import inbound
from adapters.dicom.decode import PRIORITIES
from adapters.hl7v2.priority import PEEKED_BYTES
from adapters.inbound import PRIORITY_HEADER, decode, glance, peek_priority
from adapters.log import Headers
from schemas.ecg import Ecg, Glimpse, Order, Priority
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import Charset, Variant, write_hl7v2
from tests.support.dicom_objects import changed, data_set_of, small_ecg
from tests.support.hl7_messages import MSH, OBR, PID, RATE, SITE, array, arrays, message

LEVELS: tuple[Priority, ...] = get_args(Priority)
ORDERED = "ORC|RE||||||^^^^^S"


def ordered(priority: Priority) -> Ecg:
    return replace(
        small_ecg(), order=Order(placer="P1", priority=priority, clinical_texts=("chest pain", "since noon"))
    )


@cache
def dicom(priority: Priority) -> bytes:
    return write_dicom(ordered(priority))


@cache
def hl7(variant: Variant, priority: Priority, charset: Charset = "UNICODE UTF-8") -> bytes:
    inside = dicom("routine") if variant == "ed_dicom" else None
    return write_hl7v2(ordered(priority), variant=variant, dicom=inside, charset=charset)


def obr(**fields: str) -> str:
    parts = [*OBR.split("|"), *[""] * 24]
    for name, text in fields.items():
        parts[int(name[1:])] = text
    return "|".join(parts)


def agreed(payload: bytes) -> Priority:
    """What the decoder reads, which the peek has said before."""
    read = decode(payload, SITE).order.priority
    assert peek_priority(payload, ()) == read
    return read


@pytest.mark.parametrize("priority", LEVELS)
@pytest.mark.parametrize("variant", get_args(Variant))
def test_every_notation_of_hl7_says_it_before_it_is_decoded(variant: Variant, priority: Priority) -> None:
    assert agreed(hl7(variant, priority)) == priority


@pytest.mark.parametrize("priority", LEVELS)
def test_a_dicom_object_says_it_before_it_is_decoded(priority: Priority) -> None:
    assert agreed(dicom(priority)) == priority


@pytest.mark.parametrize("framing", [b"%s", b"\x0b%s\x1c\r", b"\xef\xbb\xbf%s", b"\r\n %s"])
@pytest.mark.parametrize("line_end", [b"\r", b"\n", b"\r\n"])
def test_whatever_ends_a_line_and_stands_before_the_first(framing: bytes, line_end: bytes) -> None:
    assert agreed(framing % hl7("na", "stat").replace(b"\r", line_end)) == "stat"


def test_a_batch_of_one() -> None:
    batch = message(msh="FHS|^~\\&\rBHS|^~\\&\r" + MSH, before=["TQ1|1||||||||A"]) + "BTS|1\rFTS|1\r"
    assert agreed(batch.encode()) == "asap"


def test_delimiters_of_the_messages_own() -> None:
    other = str.maketrans("|^~\\&", "*:;!@")
    assert agreed(message(obr=obr(f27="1^once&&^^^^A~^^^^^S")).translate(other).encode()) == "asap"


@pytest.mark.parametrize("charset", get_args(Charset))
def test_every_character_set(charset: Charset) -> None:
    assert agreed(hl7("na", "stat", charset)) == "stat"


@pytest.mark.parametrize(
    ("charset", "codec"), [("BIG-5", "big5"), ("GB 18030-2000", "gb18030"), ("ISO IR87", "iso2022_jp_ext")]
)
def test_a_character_whose_second_byte_is_a_delimiters(charset: str, codec: str) -> None:
    name = next(char for char in map(chr, range(0x4E00, 0x9FFF)) if b"|" in char.encode(codec, "ignore"))
    text = message(msh=MSH.replace("UNICODE UTF-8", charset), obr=obr(f16=f"1^{name}", f27="^^^^^S", f5="R"))
    assert agreed(text.encode(codec)) == "stat"


@pytest.mark.parametrize(
    ("above", "before", "priority"),
    [
        (obr(f5="R"), ["TQ1|1||||||||S"], "stat"),
        (obr(f5="S"), ["TQ1|1", "TQ1|2||||||||A^as soon as possible^HL70485"], "asap"),
        (obr(f5="S"), ['TQ1|1||||||||""'], "stat"),
        (obr(f27="1^once^^^^ s "), [], "stat"),
        (obr(f27="^^^^^R", f5="S"), [], "routine"),
        (f"{ORDERED}\r{OBR}", [], "stat"),
        (f"{ORDERED}\r{obr(f27='^^^^^A')}", [], "asap"),
        (f"{ORDERED}\r{OBR}\r{obr(f2='P2')}", [], "routine"),  # ORC belongs to the OBR after it
        (f"{OBR}\rTQ1|1||||||||S\r{OBR}", [], "routine"),  # TQ1 to the one before
        (f"TQ1|1||||||||S\r{OBR}", [], "routine"),
        (obr(f5="STAT"), ["NTE|1||no OBX|yet, OBXOBX"], "stat"),
        (obr(f5="T"), [], "routine"),
        (OBR, [], "routine"),
    ],
)
def test_the_order_above_the_ecg_says_it(above: str, before: list[str], priority: Priority) -> None:
    assert agreed(message(obr=above, before=before).encode()) == priority


def test_what_stands_in_or_after_the_results_is_not_looked_at() -> None:
    obx = [RATE, "TQ1|1||||||||S", *arrays()]
    assert peek_priority(message(obx=obx).encode(), ()) == "routine"
    notes = f"NTE|1||{'x' * PEEKED_BYTES}"
    assert peek_priority(message(before=[notes, "TQ1|1||||||||S"]).encode(), ()) == "routine"


def test_an_ecg_below_other_results_is_taken_for_routine_until_it_is_decoded() -> None:
    first = [OBR, "OBX|1|NM|8867-4^Heart rate^LN|1|70|/min"]
    text = "\r".join([MSH, PID, *first, obr(f5="S"), RATE, *arrays({"I": array("I")})])
    assert decode(text.encode(), SITE).order.priority == "stat"
    assert peek_priority(text.encode(), ()) == "routine"


@pytest.mark.parametrize("value", ["STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW", "stat", " STAT ", "", "A" * 40])
def test_every_value_of_the_dicom_attribute(value: str) -> None:
    def prioritised(ds: Dataset) -> None:
        ds.RequestedProcedurePriority = value

    assert agreed(changed(prioritised)) == PRIORITIES.get(value.strip(), "routine")


def test_a_bare_data_set_and_implicit_vr() -> None:
    assert agreed(data_set_of(dicom("stat"))) == "stat"
    assert agreed(write_dicom(ordered("asap"), transfer_syntax=UID("1.2.840.10008.1.2"))) == "asap"


def test_a_deflated_object_is_taken_for_routine_until_it_is_decoded() -> None:
    deflated = write_dicom(ordered("stat"), transfer_syntax=UID("1.2.840.10008.1.2.1.99"))
    assert decode(deflated, SITE).order.priority == "stat"
    assert peek_priority(deflated, ()) == "routine"


def test_of_request_attributes_and_the_object_the_object_counts() -> None:
    def requested(ds: Dataset) -> None:
        request = Dataset()
        request.RequestedProcedurePriority = "STAT"
        ds.RequestAttributesSequence, ds.RequestedProcedurePriority = [request], "HIGH"

    assert agreed(changed(requested)) == "asap"


def test_the_samples_of_a_dicom_object_are_not_looked_at() -> None:
    fooled = dicom("routine")[:-8] + b"\x40\x00\x03\x10SH\x04\x00STAT"
    assert peek_priority(fooled, ()) == "routine"


@pytest.mark.parametrize("payload", [b"", b"?", hl7("na", "asap"), dicom("asap")])
@pytest.mark.parametrize("priority", LEVELS)
def test_the_header_wins_in_any_case(payload: bytes, priority: Priority) -> None:
    for written in (priority, priority.upper(), priority.title()):
        assert peek_priority(payload, (("other", b"x"), (PRIORITY_HEADER, written.encode()))) == priority


@pytest.mark.parametrize("written", [b"", b"urgent", b"stat!", b"\xff", b"S", b"stat" * 1000])
def test_a_header_that_says_something_else_is_ignored(written: bytes) -> None:
    headers: Headers = ((PRIORITY_HEADER, written),)
    assert peek_priority(dicom("stat"), headers) == "stat"
    assert peek_priority(b"", headers) == "routine"
    assert peek_priority(b"", ((PRIORITY_HEADER, b"asap"), *headers)) == "asap"


def test_of_several_headers_the_last_counts() -> None:
    assert peek_priority(b"", ((PRIORITY_HEADER, b"stat"), (PRIORITY_HEADER, b"asap"))) == "asap"


OPENINGS = (b"", b"MSH", b"MSH|^~\\&|", b"\x0bMSH^", b"FHS|^~\\&\rMSH|", b"BHS|\r", b"\x08\x00\x05\x00CS")
HL7_PIECES = (b"\r", b"\n", b"|", b"^", b"OBR|", b"TQ1", b"\rORC|", b"\rOBX|", b"\x1b$B")
DICOM_PIECES = (b"\x40\x00\x03\x10", b"SH", b"\x00\x54\x00\x01")
openings = st.sampled_from([*OPENINGS, b"\0" * 128 + b"DICM\x02\x00"])
pieces = st.binary(max_size=30) | st.sampled_from(HL7_PIECES + DICOM_PIECES)


@settings(deadline=None)
@given(openings, st.lists(pieces, max_size=30), st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9))))
@example(b"MSH|^~\\&", [], [])
@example(b"BHS|^~\\&", [b"OBX"], [])
@example(b"\x08\x00", [b"\x00" * 6, b"\x40\x00\x03\x10"], [])
def test_arbitrary_bytes_never_raise(opening: bytes, parts: list[bytes], headers: list[tuple[str, bytes]]) -> None:
    assert peek_priority(opening + b"".join(parts), tuple(headers)) in LEVELS


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_message_never_raises(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from([hl7("na", "stat"), hl7("ed_dicom", "asap"), dicom("stat")])))
    for _ in range(data.draw(st.integers(1, 20))):
        payload[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    assert peek_priority(bytes(payload[: data.draw(st.integers(0, 6000))]), ()) in LEVELS


def test_a_fault_of_the_peek_itself_is_no_fault_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_payload: bytes) -> Priority:
        raise RecursionError

    monkeypatch.setattr(inbound, "peek_dicom", broken)
    assert peek_priority(dicom("stat"), ()) == "routine"


@pytest.mark.parametrize(
    ("visit", "units"),
    [
        ("PV1|1|I|ICU^1^1", ("ICU",)),
        ("PV1|1|E|A&E TRIAGE^^^HOSP", ("A", "ED")),
        ("PV1|1|e|", ("ED",)),
        ("PV1|1|O", ()),
        ("PV1", ()),
        ("NTE|1||CCU", ()),
    ],
)
def test_an_hl7_message_names_the_unit_and_whether_it_is_an_emergency(visit: str, units: tuple[str, ...]) -> None:
    assert glance(message(before=[visit]).encode(), ()).units == units


def test_a_dicom_object_names_station_department_and_place() -> None:
    def name_units(ds: Dataset) -> None:
        ds.StationName, ds.InstitutionalDepartmentName, ds.CurrentPatientLocation = "CART 7", "ED", "CCU 2"

    assert glance(changed(name_units), ()) == Glimpse("routine", ("CART 7", "ED", "CCU 2"))
    assert glance(dicom("stat"), ()) == Glimpse("stat", ())


@pytest.mark.parametrize("payload", [b"", b"junk", b"MSH|", b"MSH|^~\\&|\rPV1|||\xff\xfe^", bytes(132) + b"DICM"])
def test_a_glance_never_fails(payload: bytes) -> None:
    assert glance(payload, ()).priority == "routine"
    assert glance(payload, ((PRIORITY_HEADER, b"stat"),)).priority == "stat"
