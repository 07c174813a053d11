"""The whole page, from bytes to a finding: whatever the bytes are, exactly one Finding or one Rejection."""

import functools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from adapters.inbound import decode
from adapters.log import Record
from adapters.recording.site import SiteDefaults
from schemas.finding import Finding
from schemas.rejection import Reason, Rejection
from simulator.edits import invert_t_waves, real_ecg, resample
from simulator.writers.hl7v2 import write_hl7v2
from tests.support.results import READER, answer
from worker import pipeline
from worker.backfill_header import MARK
from worker.engine.question import Answer
from worker.picture.layout import make_layout
from worker.pipeline import OutOfTime, conclude, prepare
from worker.prepared import PreparedEcg
from worker.redrive_headers import next_redrive, redriven_message

SMALL = make_layout("3x4+II", 448, 336)
CANARY = "ZQXCANARY"


def dicom_bytes() -> bytes:
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def read(payload: bytes, answer: Answer | None = None) -> Finding | Rejection:
    """What `explain` does with a file, with an answer of our own in the model's place."""
    return read_record(Record("files", 0, 0, 1000, None, payload), answer)


def read_record(record: Record, answer: Answer | None = None) -> Finding | Rejection:
    prepared = prepare(record, functools.partial(decode, site=SiteDefaults()), SMALL)
    if isinstance(prepared, Rejection):
        return prepared
    return conclude(prepared, answer or say("T wave inversion in V2.") if prepared.question else None, READER)


def say(text: str, *, yes: bool = True, probability: float = 0.9, forced: bool = False) -> Answer:
    return answer(
        text=text, yes=yes, probability_yes=probability, raw_probability_yes=probability, forced=forced, tokens=20
    )


@pytest.fixture(scope="module")
def inverted() -> bytes:
    return write_hl7v2(resample(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4), 500), variant="na")


def test_a_normal_ecg_is_not_put_to_the_model() -> None:
    finding = read(dicom_bytes())
    assert isinstance(finding, Finding)
    assert (finding.assessment.verdict, finding.reasoning) == ("no_t_wave_inversion", None)
    assert (finding.provenance.engine, finding.provenance.render.digest) == (None, None)


def test_a_grounded_ischemic_answer_raises_a_flag(inverted: bytes) -> None:
    finding = read(inverted, say("T wave inversion in V2, V3 and V4, symmetric."))
    assert isinstance(finding, Finding)
    assert finding.assessment.verdict == "ischemic"
    assert finding.reasoning is not None
    assert finding.reasoning.grounded
    assert finding.flag.raised
    assert finding.provenance.render.digest is not None


def test_an_ecg_of_a_backfill_is_read_as_any_other_and_alerts_nobody(inverted: bytes) -> None:
    said = say("T wave inversion in V2, V3 and V4, symmetric.")
    marked = Record("files", 0, 0, 1000, None, inverted, (MARK,))
    filed, alert = read_record(marked, said), read(inverted, said)
    assert isinstance(filed, Finding)
    assert isinstance(alert, Finding)
    assert (filed.flag.raised, filed.source.backfill) == (False, True)
    assert "Backfill: filed, no alert" in filed.flag.summary
    same = {"source": alert.source, "flag": alert.flag}
    assert filed.model_copy(update=same).to_json() == alert.to_json()
    assert b'"backfill":true' in filed.to_json()
    assert b'"backfill"' not in alert.to_json()
    again = read_record(marked, said)
    assert isinstance(again, Finding)
    assert again.to_json() == filed.to_json()


def test_two_recordings_of_one_minute_are_two_alerts_and_one_sent_again_is_one() -> None:
    said = say("T wave inversion in V2, V3 and V4, symmetric.")
    ecg = resample(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4), 500)
    other = resample(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.5), 500)
    corrected = replace(ecg, message_id="another", order=replace(ecg.order, placer="corrected", filler="too"))
    keys = []
    for each in (ecg, other, corrected):
        finding = read(write_hl7v2(each, variant="na"), said)
        assert isinstance(finding, Finding)
        assert finding.flag.raised
        keys.append((finding.finding_id, finding.flag.dedupe_key))
    (first, key), (second, other_key), (third, corrected_key) = keys
    assert len({first, second, third}) == 3
    assert key == corrected_key != other_key


def test_a_flagged_ecg_without_a_date_worth_the_name_is_a_finding() -> None:
    """9999-12-31 is a usual stand-in for it."""
    said = say("T wave inversion in V2, V3 and V4, symmetric.")
    ecg = resample(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4), 500)
    dated = prepare(
        Record("files", 0, 0, 1000, None, b""),
        lambda _: replace(ecg, acquired_at=datetime.max.replace(tzinfo=UTC)),
        SMALL,
    )
    assert isinstance(dated, PreparedEcg)
    finding = conclude(dated, said, READER)
    assert finding.flag.raised
    assert Finding.model_validate_json(finding.to_json()) == finding


def test_an_answer_that_the_waveform_contradicts_raises_none(inverted: bytes) -> None:
    finding = read(inverted, say("T wave inversion in V2 and V6."))
    assert isinstance(finding, Finding)
    assert (finding.assessment.verdict, finding.assessment.reason) == ("indeterminate", "claims_contradicted")
    assert not finding.flag.raised


def test_what_limited_the_model_is_said_beside_what_limits_the_waveform(inverted: bytes) -> None:
    finding = read(inverted, say("T wave inversion in V2.", forced=True))
    assert isinstance(finding, Finding)
    assert "reasoning_cut_short" in {flag.problem for flag in finding.quality.flags}


def test_the_same_bytes_give_the_same_finding(inverted: bytes) -> None:
    one, other = read(inverted), read(inverted)
    assert isinstance(one, Finding)
    assert isinstance(other, Finding)
    assert one.to_json() == other.to_json()


def test_a_failure_after_decoding_is_a_rejection_that_names_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ArithmeticError(CANARY)

    monkeypatch.setattr("worker.pipeline.measure", fail)
    rejection = read(dicom_bytes())
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.stage, rejection.detail) == (Reason.INTERNAL, "measure", "ArithmeticError")


def test_what_became_of_a_redriven_record_names_the_first_one() -> None:
    first = Record("files", 2, 17, 1000, None, dicom_bytes())
    broken = Record("files", 2, 18, 1000, None, b"no ECG")
    for record, kind in ((first, Finding), (broken, Rejection)):
        back = replace(record, offset=40, headers=redriven_message(record, next_redrive(record)).headers)
        result = read_record(back)
        assert isinstance(result, kind)
        assert result.source.redrive is not None
        assert result.source.redrive.model_dump() == {
            "of": {"topic": "files", "partition": 2, "offset": record.offset},
            "count": 1,
        }
        assert type(result).model_validate_json(result.to_json()) == result
        assert read_record(back).to_json() == result.to_json(), "a replay says something else"


def test_a_first_record_is_spoken_of_as_before_there_were_redrives() -> None:
    forged = Record("files", 2, 17, 1000, None, dicom_bytes(), (("ecg-redrive-of", CANARY.encode()),))
    for record in (forged, replace(forged, value=b"no ECG")):
        result = read_record(record)
        assert result == read_record(replace(record, headers=()))
        assert b"redrive" not in result.to_json()
        assert CANARY not in result.to_json().decode()


def judge(payload: bytes) -> None:
    """One result, valid, that travels and comes back; a rejection repeats nothing of the payload."""
    result = read(payload)
    assert type(result).model_validate_json(result.to_json()) == result
    if isinstance(result, Rejection):
        assert result.reason != Reason.INTERNAL
        assert CANARY not in result.to_json().decode()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_end_as_one_result(payload: bytes) -> None:
    judge(payload)


def hl7_with_canaries() -> bytes:
    message = write_hl7v2(resample(real_ecg(), 250), variant="na", family_name=CANARY)
    assert CANARY.encode() in message
    return message


@pytest.mark.parametrize("seed", [dicom_bytes(), hl7_with_canaries()], ids=["dicom", "hl7v2"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_mutation_ends_as_one_result(seed: bytes, data: st.DataObject) -> None:
    payload = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(payload) - 1))
        match data.draw(st.sampled_from(["set", "cut", "repeat", "insert"])):
            case "set":
                payload[at] = data.draw(st.integers(0, 255))
            case "cut":
                del payload[at : at + data.draw(st.integers(1, 2000))]
            case "repeat":
                payload[at:at] = payload[at : at + 200]
            case "insert":
                payload[at:at] = data.draw(st.binary(max_size=40))
        if not payload:
            break
    judge(bytes(payload))


def test_a_case_is_light_enough_to_travel_between_processes(inverted: bytes) -> None:
    prepared = prepare(
        Record("files", 0, 0, None, None, inverted), functools.partial(decode, site=SiteDefaults()), SMALL
    )
    assert isinstance(prepared, PreparedEcg)
    import pickle

    assert len(pickle.dumps(prepared)) < 448 * 336 * 3 + 20_000


PARTS = {
    "decode": "decode",
    "measure": "measure",
    "screen": "screen",
    "render_image": "render",
    "image_digest": "assemble",
    "ecg_digest": "assemble",
    "read_redrive": "assemble",
    "PreparedEcg": "assemble",
}


@pytest.mark.parametrize(("part", "stage"), PARTS.items())
def test_time_that_is_over_anywhere_is_a_rejection_that_names_the_stage(
    inverted: bytes, monkeypatch: pytest.MonkeyPatch, part: str, stage: str
) -> None:
    def slow(*_: object, **__: object) -> None:
        raise OutOfTime

    decoder = functools.partial(decode, site=SiteDefaults())
    if part == "decode":
        decoder = slow  # type: ignore[assignment] # it never returns
    else:
        calls = iter([slow])  # once: what says so has to come to its end
        whole = getattr(pipeline, part)

        def ring_once(*given: object, **named: object) -> object:
            return next(calls, whole)(*given, **named)

        monkeypatch.setattr(pipeline, part, ring_once)
    rejected = prepare(Record("files", 0, 0, None, None, inverted), decoder, SMALL)
    assert isinstance(rejected, Rejection)
    assert (rejected.reason, rejected.stage) == (Reason.PAYLOAD_TOO_SLOW, stage)
