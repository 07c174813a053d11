"""A record costs little, whatever it holds: every shape of `tests/support/hostile_payloads.py`, at full size.

The bound is ten times what the dearest shape takes on an idle core, so that only work that grows with more than the
size of the record can pass it. `python -m benchmarks.hostile` prints what each takes.
"""

import functools
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import inbound
from adapters.hl7v2 import segments
from adapters.hl7v2.priority import PEEKED_BYTES
from adapters.inbound import PRIORITY_HEADER, decode, peek_priority
from adapters.log import MAX_VALUE_BYTES, Record
from adapters.recording.site import SiteDefaults
from adapters.recording.texts import MAX_IDENTIFIER_CHARACTERS
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected, Rejection
from simulator.edits import invert_t_waves, real_ecg, resample
from simulator.writers.hl7v2 import write_hl7v2
from tests.support.dear_recordings import legal
from tests.support.hl7_messages import MSH, OBR, PID, message
from tests.support.hostile_objects import DICOM, data_set, part_10
from tests.support.hostile_payloads import HL7, with_field
from worker.picture.layout import make_layout
from worker.pipeline import prepare
from worker.prepared import PreparedEcg

SITE = SiteDefaults()
LAYOUT = make_layout("3x4+II")
FULL = MAX_VALUE_BYTES - 2 * 1024 * 1024
BOUND_S = 5.0

# Kinds that took longer than a second, up to many minutes, or whose bound is what keeps another from it.
KINDS: dict[str, Reason | None] = {
    "MSH-18 of '~'": Reason.HL7_TOO_COMPLEX,
    "MSH-9 of '~'": Reason.HL7_TOO_COMPLEX,
    "17 NA of one lead of '-1.234567890123456^'": Reason.ECG_LEADS,
    "1 WAV of '^'": Reason.HL7_TOO_COMPLEX,
    "17 WAV of '^'": Reason.HL7_TOO_COMPLEX,
    "SAMP_RATE of all leads of '^'": Reason.HL7_TOO_COMPLEX,
    "DATA_RANGE of all leads of '^'": Reason.HL7_TOO_COMPLEX,
    "1 TIM of '\\\\E\\\\'": Reason.HL7_TOO_COMPLEX,
    "1 CHN of '^'": Reason.HL7_TOO_COMPLEX,
    "180 results, OBX-(14,) of 1990 '999'": Reason.HL7_TOO_COMPLEX,
    "180 results, OBX-(4,) of 1990 '1.1'": Reason.ECG_LEADS,
    "180 results, OBX-(3,) of 1982 'A  '": None,
    "60 orders with arrays": Reason.HL7_WAVEFORM,
    "60 orders with objects": Reason.HL7_WAVEFORM,
    "SpecificCharacterSet of b'\\\\'": Reason.DICOM_MALFORMED,
    "30000 character sets of b'\\\\'": None,
    "20000 reasons": Reason.DICOM_TOO_LARGE,
    "PatientID of b'\\x1b$B'": Reason.ECG_FIELD_TOO_LONG,
    "PatientID of b'\\x01'": Reason.ECG_FIELD_TOO_LONG,
    "ManufacturerModelName of b'\\x1b'": Reason.ECG_FIELD_TOO_LONG,
    "ChannelLabel of b' ' in 64 channels": Reason.ECG_FIELD_TOO_LONG,
    "every text of 916 b'\\x1b\\x1b'": None,
    "10000 groups of 0 channels": Reason.DICOM_TOO_LARGE,
    "bomb of elements": None,
}


def prepared(payload: bytes) -> PreparedEcg | Rejection:
    """Prepare a record within the bound: processor time, so that a busy machine does not count."""
    assert len(payload) <= MAX_VALUE_BYTES
    began = time.process_time()
    outcome = prepare(Record("t", 0, 0, 0, None, payload), functools.partial(decode, site=SITE), LAYOUT)
    assert time.process_time() - began < BOUND_S
    assert not isinstance(outcome, Rejection) or outcome.reason is not Reason.INTERNAL
    return outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_kind_that_was_dear_is_bounded(kind: str) -> None:
    outcome = prepared((HL7 | DICOM)[kind](FULL))
    if KINDS[kind] is not None:
        assert isinstance(outcome, Rejection)
        assert outcome.reason is KINDS[kind]


@pytest.mark.slow
@pytest.mark.parametrize("shapes", [HL7, DICOM], ids=["hl7", "dicom"])
@pytest.mark.timeout(1800)
def test_every_shape_is_bounded(shapes: dict[str, Callable[[int], bytes]]) -> None:
    for make in shapes.values():
        payload = make(FULL)
        prepared(payload)
        began = time.process_time()
        peek_priority(payload, ())
        assert time.process_time() - began < 0.1


@pytest.mark.parametrize("name", legal())
@pytest.mark.slow
def test_the_dearest_recordings_are_still_read(name: str) -> None:
    assert isinstance(prepared(legal()[name]()), PreparedEcg)


def test_msh_is_not_decoded_before_its_length_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(segments, "_decoded", decoded)
    for number in (3, 18, 40):
        with pytest.raises(Rejected) as caught:
            decode(message(msh=with_field(MSH, number, "~" * segments.MAX_HEADER_BYTES)).encode(), SITE)
        assert caught.value.reason is Reason.HL7_TOO_COMPLEX


def test_msh_18_may_list_every_set_and_no_more() -> None:
    many = "~".join(["UNICODE UTF-8"] * segments.MAX_CHARSETS)
    assert isinstance(decode(message(msh=with_field(MSH, 18, many)).encode(), SITE), Ecg)
    with pytest.raises(Rejected) as caught:
        decode(message(msh=with_field(MSH, 18, many + "~UNICODE UTF-8")).encode(), SITE)
    assert caught.value.reason is Reason.HL7_ENCODING


def test_of_many_waveforms_none_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("read")

    for name in ("read_dicom", "read_samples"):
        monkeypatch.setattr(f"adapters.hl7v2.decode.{name}", read)
    for shape in ("60 orders with objects", "60 orders with arrays"):
        with pytest.raises(Rejected) as caught:
            decode(HL7[shape](1_000_000), SITE)
        assert caught.value.reason is Reason.HL7_WAVEFORM


HEAVY = ("MSH-18 of '~'", "150 of TQ1|1||||||||{} of '~'", "1900 of NTE|1||{} of '~'", "line ends b'\\r'")


@pytest.mark.parametrize("name", [*HEAVY, "junk", "PatientID of b'\\x01'", "bomb of zeros"])
def test_the_peek_looks_at_the_beginning_only(name: str) -> None:
    payload = (HL7 | DICOM)[name](FULL)
    assert peek_priority(payload, ()) == peek_priority(payload[:PEEKED_BYTES], ())
    began = time.process_time()
    for _ in range(100):
        peek_priority(payload, ())
    assert time.process_time() - began < 1


def test_the_peek_reads_a_character_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that is not ASCII asks for it, and the list may be as long as a header may be."""
    asked: list[str] = []

    def count(charset: str, _: object) -> None:
        asked.append(charset)

    monkeypatch.setattr("adapters.hl7v2.priority.named_codec", count)
    lines = ["TQ1|1|||||||é|"] * 1500
    assert peek_priority(message(before=lines).encode("latin-1"), ()) == "routine"
    assert asked == ["UNICODE UTF-8"]


def test_the_peek_reads_no_header_longer_than_any() -> None:
    stat = ["TQ1|1||||||||S"]
    for length, priority in ((7000, "stat"), (segments.MAX_HEADER_BYTES, "routine")):
        assert peek_priority(message(msh=with_field(MSH, 18, "~" * length), before=stat).encode(), ()) == priority


def test_the_peek_looks_at_the_last_headers_only() -> None:
    stat = (PRIORITY_HEADER, b"stat")
    others = tuple(("x", b"") for _ in range(inbound._PEEKED_HEADERS))
    assert peek_priority(b"", (stat, *others[1:])) == "stat"
    assert peek_priority(b"", (stat, *others)) == "routine"


# Every file of the hostile cases that is about cost, size or the calendar.


def test_a_header_of_15_mb_is_refused_at_once() -> None:
    outcome = prepared(message(msh=with_field(MSH, 18, "~" * 15_000_000)).encode())
    assert isinstance(outcome, Rejection)


def test_a_patient_id_that_would_grow_is_refused() -> None:
    outcome = prepared(part_10(data_set(changed={"PatientID": b"\x01" * 3_000_000})))
    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.ECG_FIELD_TOO_LONG
    short = prepared(part_10(data_set(changed={"PatientID": b"1\x012"})))
    assert isinstance(short, Rejection)
    assert short.reason is Reason.ECG_FIELD_UNPRINTABLE


def test_no_date_is_a_rejection() -> None:
    inverted = write_hl7v2(resample(invert_t_waves(real_ecg(), ("V2", "V3"), depth_mv=0.4), 500), variant="na")
    assert isinstance(prepared(inverted), PreparedEcg)
    obr = inverted.split(b"\rOBR|")[1].split(b"|", 7)[6]
    outcome = prepared(inverted.replace(b"|" + obr, b"|99991231235959+0000", 1))
    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.ECG_NO_TIME


def test_a_finding_of_the_longest_identifiers_has_room() -> None:
    longest = "\U0001d7d8".encode() * MAX_IDENTIFIER_CHARACTERS
    keywords = (
        "SOPInstanceUID", "PatientID", "IssuerOfPatientID", "AdmissionID", "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest", "Manufacturer",
    )  # fmt: skip
    texts = {"SpecificCharacterSet": b"ISO_IR 192", "AdditionalPatientHistory": b'"' * 60_000}
    outcome = prepared(part_10(data_set(changed=texts | dict.fromkeys(keywords, longest))))
    assert isinstance(outcome, PreparedEcg)
    assert len(outcome.patient.id) == MAX_IDENTIFIER_CHARACTERS
    published = (outcome.source, outcome.patient, outcome.order, outcome.ecg, outcome.quality, outcome.measurements)
    assert sum(len(part.model_dump_json()) for part in published) < MAX_VALUE_BYTES // 1000


ZONES = st.sampled_from(["", "+0000", "-1200", "+1400", "+9999", "-9999"])
YEARS = st.sampled_from(["0000", "0001", "0999", "1000", "1899", "2026", "9998", "9999"])
TIMES = st.tuples(YEARS, st.sampled_from(["0101000000", "1231235959", "0229120000", "1231240000"]), ZONES).map("".join)


@settings(deadline=None, max_examples=60)
@given(TIMES, TIMES, TIMES)
@example("99991231235959-1200", "00010101000000", "00010101000000+1400")
@pytest.mark.slow
def test_no_date_anywhere_is_an_exception(acquired: str, born: str, sent: str) -> None:
    fields = {"msh": with_field(MSH, 7, sent), "pid": with_field(PID, 7, born), "obr": with_field(OBR, 7, acquired)}
    object_of = {"AcquisitionDateTime": acquired, "PatientBirthDate": born[:8], "TimezoneOffsetFromUTC": sent[14:]}
    for payload in (
        message(**fields).encode(),
        part_10(data_set(changed={keyword: text.encode() for keyword, text in object_of.items()})),
    ):
        outcome = prepared(payload)
        if isinstance(outcome, Rejection):
            assert outcome.reason is Reason.ECG_NO_TIME
        else:
            assert outcome.ecg.acquired_at.year in range(1000, 9999)
