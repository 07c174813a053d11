from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from adapters import inbound
from adapters.inbound import decode
from adapters.log import MAX_VALUE_BYTES
from schemas.ecg import Ecg
from schemas.rejection import Reason, Rejected
from simulator.edits import real_ecg
from simulator.writers.hl7v2 import Variant, write_hl7v2
from tests.support.dicom_objects import small_ecg, small_object
from tests.support.hl7_messages import PID, SITE, message

# Values that must not be quoted: of a name, a record number, a text, a date.
CANARIES = ("ZQNAMEQZ", "ZQMRNQZ", "ZQTEXTQZ", "19580401")
EVERYTHING = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@cache
def real_object() -> bytes:
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


@cache
def hl7_messages() -> tuple[bytes, ...]:
    """One message a notation, small, with canaries in it."""
    pid = PID.replace("DOE^JANE", CANARIES[0]).replace("123", CANARIES[1])
    arrays = message(pid=pid, before=[f"NTE|1||{CANARIES[2]}", f"DG1|1||{CANARIES[2]}", "TQ1|1||||||||S"]).encode()
    variants: tuple[Variant, ...] = ("pcd", "chapter7", "ed_dicom")
    written = [
        write_hl7v2(
            small_ecg(),
            variant=variant,
            dicom=small_object() if variant == "ed_dicom" else None,
            family_name=CANARIES[0],
        )
        for variant in variants
    ]
    return arrays, *written


def outcome(payload: bytes) -> Ecg | Rejected:
    """What becomes of the bytes: any exception but Rejected fails the test."""
    try:
        return decode(payload, SITE)
    except Rejected as rejected:
        return rejected


def assert_says_nothing_of(rejected: BaseException, canaries: tuple[str, ...]) -> None:
    """Neither the exception nor any behind it quotes the message."""
    chain: list[BaseException | None] = [rejected]
    while chain:
        error = chain.pop()
        if error is None:
            continue
        said = f"{error} {error!r} {error.args} {getattr(error, '__notes__', ())}"
        assert not any(canary in said for canary in canaries), said
        chain += [error.__cause__, error.__context__]


@st.composite
def mutated(draw: st.DrawFn, originals: Callable[[], tuple[bytes, ...]]) -> bytes:
    """A valid record after a few cuts, repetitions, and insertions of what breaks parsers."""
    payload = draw(st.sampled_from(originals()))
    for _ in range(draw(st.integers(1, 4))):
        # Headers are a small part of the bytes and hold most of what can go wrong: half of the changes land there.
        limit = draw(st.sampled_from([min(700, len(payload)), len(payload)]))
        start = draw(st.integers(0, limit))
        stop = min(start + draw(st.sampled_from([0, 1, 4, 40, 4000])), len(payload))
        filling = draw(
            st.binary(max_size=8)
            | st.sampled_from(
                [payload[start:stop] * 2, b"\r", b"|", b"^", b"~", b"\\", b"&", b"\rPID|1||9\r", b'""', b"|" * 50]
            )
        )
        payload = payload[:start] + filling + payload[stop:]
    return payload


def test_an_empty_record_is_rejected() -> None:
    rejected = outcome(b"")
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.stage) == (Reason.PAYLOAD_EMPTY, "payload")


def test_a_record_beyond_the_limit_is_rejected_unread() -> None:
    rejected = outcome(message().encode().ljust(MAX_VALUE_BYTES + 1, b"\r"))
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.stage) == (Reason.PAYLOAD_TOO_LARGE, "payload")
    assert isinstance(outcome(message().encode().ljust(200_000, b"\r")), Ecg)


@pytest.mark.parametrize(
    "payload",
    [b" ", b"null", b"\x00" * 300, b"%PDF-1.7" + bytes(300), b"<?xml version='1.0'?><AnnotatedECG/>", b"PID|1||1"],
)
def test_other_formats_are_rejected_as_unknown(payload: bytes) -> None:
    rejected = outcome(payload)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.stage) == (Reason.PAYLOAD_UNKNOWN_FORMAT, "payload")


def test_the_content_decides_which_decoder_reads() -> None:
    hl7, dicom = outcome(message().encode()), outcome(real_object())
    assert isinstance(hl7, Ecg)
    assert isinstance(dicom, Ecg)
    assert (hl7.format, dicom.format) == ("hl7v2", "dicom")
    assert (dicom.samples_uv == real_ecg().samples_uv).all()


def test_every_valid_record_of_the_mutation_tests_is_an_ecg() -> None:
    for payload in (*hl7_messages(), small_object(), real_object()):
        assert isinstance(outcome(payload), Ecg)


def test_a_hole_in_a_decoder_is_an_internal_error_that_quotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(payload: bytes, site: object) -> Ecg:
        raise ValueError(payload)

    monkeypatch.setattr(inbound, "decode_hl7v2", fail)
    rejected = outcome(message().encode())
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail) == (Reason.INTERNAL, "ValueError")
    assert rejected.__context__ is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda rest: b"MSH|^~\\&|" + rest))
def test_arbitrary_bytes_are_rejected_or_read(payload: bytes) -> None:
    rejected = outcome(payload)
    assert isinstance(rejected, Ecg) or rejected.reason is not Reason.INTERNAL


@EVERYTHING
@given(mutated(hl7_messages))
def test_a_mutated_message_is_read_or_rejected_without_quoting_it(payload: bytes) -> None:
    result = outcome(payload)
    if isinstance(result, Rejected):
        assert result.reason is not Reason.INTERNAL
        assert_says_nothing_of(result, CANARIES)


@EVERYTHING
@given(mutated(lambda: (small_object(), real_object())))
def test_a_mutated_object_is_read_or_rejected_without_quoting_it(payload: bytes) -> None:
    assume(payload)
    result = outcome(payload)
    if isinstance(result, Rejected):
        assert result.reason is not Reason.INTERNAL
        assert small_ecg().patient.id not in f"{result} {result!r} {result.args}"
