import pytest

from adapters.hl7v2.segments import MAX_FIELDS, MAX_LINES, MAX_SEGMENTS, looks_like_hl7v2, split_message
from adapters.recording.site import SiteDefaults
from schemas.rejection import Reason
from tests.support.hl7_messages import MSH, PID, RATE, SITE, arrays, decoded, message, refused


def character_with(second_byte: str, codec: str) -> str:
    """A Chinese character whose last byte in that set is an HL7 delimiter."""
    for code in range(0x4E00, 0x9FA0):
        encoded = chr(code).encode(codec, errors="ignore")
        if len(encoded) == 2 and encoded[1:] == second_byte.encode():
            return chr(code)
    raise AssertionError(f"{codec} has no character with {second_byte}")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\n\n \n"])
def test_any_line_end_separates_segments(end: str) -> None:
    assert decoded(message().replace("\r", end)).patient.id == "123"


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"\x0b", b"\x1c\r"), (b"\xef\xbb\xbf", b""), (b"\x0b\xef\xbb\xbf", b"\x1c"), (b"\r\n ", b"\r\n\r\n")],
)
def test_framing_and_byte_order_mark_come_off(before: bytes, after: bytes) -> None:
    framed = before + message().encode() + after
    assert looks_like_hl7v2(framed)
    assert decoded(framed).patient.id == "123"


def test_other_delimiters_are_read_from_the_header() -> None:
    swapped = message().translate(str.maketrans("|^~\\&", "#@*!%"))
    ecg = decoded(swapped)
    assert (ecg.patient.id, ecg.patient.assigner) == ("123", "HOSP")
    assert (ecg.samples_uv == decoded(message()).samples_uv).all()


def test_the_truncation_mark_of_version_2_7_is_tolerated() -> None:
    assert decoded(message(msh=MSH.replace("^~\\&", "^~\\&#").replace("2.5.1", "2.7"))).patient.id == "123"


@pytest.mark.parametrize(
    "header",
    ["MSH|^~\\|", "MSH|^^\\&|CART", "MSH|^~\\&#$|CART", "MSH|", "MSH|abcd|", "MSH|^~\\|&", "MSH|^~ &|CART"],
)
def test_unusable_delimiters_are_rejected(header: str) -> None:
    assert refused(message(msh=header)) is Reason.HL7_MALFORMED


def test_two_messages_run_together_are_rejected() -> None:
    for between in ("", "\r", "\x1c\r\x0b"):
        assert refused(message() + between + message()) is Reason.HL7_TWO_MESSAGES


@pytest.mark.parametrize("same", [True, False])
def test_two_patients_are_rejected(same: bool) -> None:
    other = PID if same else PID.replace("123", "456")
    assert refused(message(before=[other])) is Reason.HL7_TWO_PATIENTS


def test_no_patient_is_rejected() -> None:
    assert refused(message(pid="PV1|1|E")) is Reason.HL7_NO_PATIENT


def test_a_batch_of_one_message_is_read() -> None:
    batch = "FHS|^~\\&|X\rBHS|^~\\&|X\r" + message() + "BTS|1\rFTS|1\r"
    assert looks_like_hl7v2(batch.encode())
    assert decoded(batch).patient.id == "123"


def test_a_batch_of_more_is_rejected_also_if_the_rest_is_lost() -> None:
    assert refused("BHS|^~\\&|X\r" + message() + message() + "BTS|2\r") is Reason.HL7_TWO_MESSAGES
    assert refused("BHS|^~\\&|X\r" + message() + "BTS|2\r") is Reason.HL7_TWO_MESSAGES


@pytest.mark.parametrize("text", ["FHS|^~\\&|X\rBHS|^~\\&|X\r", "FHS|^~\\&|X\rPID|1\r" + MSH + "\r"])
def test_a_batch_without_a_message_in_its_place_is_rejected(text: str) -> None:
    assert refused(text) is Reason.HL7_MALFORMED


@pytest.mark.parametrize("line", ["continuation of a note", "pid|1||456", "OB|1", " PID|1||456", "NTE^1"])
def test_a_line_that_is_no_segment_is_rejected(line: str) -> None:
    assert refused(message(before=[line])) is Reason.HL7_MALFORMED


def test_segments_that_are_not_read_may_be_anything() -> None:
    before = ["ZZZ|1|\\X", "QQQ|1", "PRT|1|x", "SFT|V|1", "AL1", "NK1|1|DOE^JOHN"]
    assert decoded(message(before=before)).patient.id == "123"


def test_every_segment_of_the_message_comes_out_in_order() -> None:
    segments = split_message(message(before=["ZZZ|1", "QQQ|1", "NTE|1||x"]).encode(), SITE).segments
    names = [segment.name for segment in segments]
    assert names == ["MSH", "PID", "OBR", "ZZZ", "QQQ", "NTE", *["OBX"] * 9]
    assert segments[0].field(1) == "|"
    assert segments[0].field(12) == "2.5.1"
    assert segments[1].field(99) == ""


def test_msh_18_decides_on_the_character_set() -> None:
    text = message(before=["NTE|1||Brustschmerz, Übelkeit"])
    for name, codec in {"8859/1": "latin-1", "UNICODE UTF-8": "utf-8", "unicode utf-8": "utf-8"}.items():
        declared = text.replace("UNICODE UTF-8", name).encode(codec)
        assert decoded(declared).order.clinical_texts == ("Brustschmerz, Übelkeit",)


@pytest.mark.parametrize(("name", "codec"), [("GB 18030-2000", "gb18030"), ("BIG-5", "big5")])
@pytest.mark.parametrize("delimiter", ["|", "^", "~", "\\"])
def test_a_delimiter_byte_inside_a_character_separates_nothing(name: str, codec: str, delimiter: str) -> None:
    character = character_with(delimiter, codec)
    msh = MSH.replace("WARD", character * 3).replace("UNICODE UTF-8", name)
    text = message(msh=msh, before=[f"NTE|1||胸痛{character}"])
    ecg = decoded(text.encode(codec))
    assert ecg.order.clinical_texts == (f"胸痛{character}",)
    assert ecg.message_id == "M1"


def test_japanese_and_korean_sets_are_read() -> None:
    for name, codec, text in (
        ("~ISO IR87", "iso2022_jp_ext", "胸の痛み"),
        ("ASCII~ISO IR87~ISO IR13", "iso2022_jp_ext", "胸の痛み"),
        ("KS X 1001", "euc_kr", "흉통"),
    ):
        declared = message(before=[f"NTE|1||{text}"]).replace("UNICODE UTF-8", name)
        assert decoded(declared.encode(codec)).order.clinical_texts == (text,)


@pytest.mark.parametrize("name", ["UNICODE UTF-16", "KLINGON", "8859/1~ISO IR87", "ASCII~KLINGON"])
def test_an_unknown_or_mixed_character_set_is_rejected(name: str) -> None:
    assert refused(message().replace("UNICODE UTF-8", name)) is Reason.HL7_ENCODING


def test_bytes_that_break_the_declared_set_are_rejected() -> None:
    text = message(before=["NTE|1||Übelkeit"])
    assert refused(text.encode("latin-1")) is Reason.HL7_ENCODING
    assert refused(text.replace("UNICODE UTF-8", "ASCII").encode()) is Reason.HL7_ENCODING


@pytest.mark.parametrize("absent", ["", '""', "~"])
def test_without_msh_18_the_site_decides_and_nothing_is_guessed(absent: str) -> None:
    text = message(before=["NTE|1||Übelkeit"]).replace("UNICODE UTF-8", absent)
    assert decoded(text.encode()).order.clinical_texts == ("Übelkeit",)
    assert refused(text.encode("latin-1")) is Reason.HL7_ENCODING
    assert decoded(text.encode("latin-1"), SiteDefaults(charset="latin-1")).order.clinical_texts == ("Übelkeit",)


def test_too_many_segments_fields_or_lines_are_rejected_before_parsing() -> None:
    assert refused(message(before=["ZZZ|1"] * MAX_SEGMENTS)) is Reason.HL7_TOO_COMPLEX
    assert refused(message(before=["ZZZ" + "|" * (MAX_FIELDS + 1)])) is Reason.HL7_TOO_COMPLEX
    assert refused(message() + "\r" * (MAX_LINES + 1) + "x") is Reason.HL7_TOO_COMPLEX
    assert decoded(message(before=["ZZZ|1"] * (MAX_SEGMENTS - 12))).patient.id == "123"


def test_results_without_an_obr_are_read() -> None:
    dated = [line + "|" * 8 + "20260323085500" for line in arrays()]
    assert decoded("\r".join([MSH, PID, RATE, *dated])).order.placer is None


@pytest.mark.parametrize(
    "payload", [b"", b"MSH", b"MSHA^~", b"PID|1", b"{}", b"\x00" * 200, "MSH|^~\\&|".encode("utf-16")]
)
def test_what_does_not_begin_as_hl7_does_not_look_like_it(payload: bytes) -> None:
    assert not looks_like_hl7v2(payload)
