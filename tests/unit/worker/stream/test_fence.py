"""Whatever goes wrong with a record between reading and publishing ends as its own rejection."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.log import MAX_VALUE_BYTES, Record, check_messages
from schemas.finding import Finding
from schemas.rejection import Reason, Rejected, Rejection
from tests.support import results
from worker.stream.fence import Fence, Sealed

FENCE = Fence("ecg.findings", "ecg.rejections")
RECORD = Record("ecg.inbound", 1, 7, 1000, b"4711^^^HOSP", b"bytes", (("traceparent", b"x"),))
BEYOND_THE_CALENDAR_MS = 1764268000000 * 1000

RECORDS = st.builds(
    Record,
    topic=st.just("ecg.inbound"),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(max_size=200) | st.just(b"k" * 70_000),
    value=st.binary(max_size=200),
    headers=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=50)), max_size=5).map(tuple),
    unreadable=st.none() | st.text(max_size=50),
)


def failing(error: Exception) -> Sealed:
    def make() -> Finding:
        raise error

    return FENCE.seal(RECORD, make)


def test_a_finding_is_sealed_as_it_is() -> None:
    finding = results.finding(RECORD)
    sealed = FENCE.seal(RECORD, lambda: finding)
    assert sealed.result is finding
    assert (sealed.message.topic, sealed.message.key) == ("ecg.findings", finding.finding_id.encode())
    assert sealed.message.value == finding.to_json()


def test_what_fails_in_concluding_is_a_rejection_without_its_text() -> None:
    sealed = failing(OverflowError("4711"))
    assert isinstance(sealed.result, Rejection)
    assert (sealed.result.reason, sealed.result.stage, sealed.result.detail) == (
        Reason.INTERNAL, "conclude", "OverflowError",
    )  # fmt: skip
    assert sealed.message.topic == "ecg.rejections"
    assert b"4711" not in sealed.message.value


def test_a_refusal_keeps_its_code() -> None:
    sealed = failing(Rejected(Reason.ENGINE_TOO_LONG, "", "ask"))
    assert isinstance(sealed.result, Rejection)
    assert (sealed.result.reason, sealed.result.stage) == (Reason.ENGINE_TOO_LONG, "ask")


def test_a_finding_that_no_log_takes_is_a_rejection() -> None:
    grown = results.finding(RECORD).model_copy(update={"encounter": "\x01" * (MAX_VALUE_BYTES // 6)})
    sealed = FENCE.seal(RECORD, lambda: grown)
    assert isinstance(sealed.result, Rejection)
    assert (sealed.result.reason, sealed.result.stage) == (Reason.RESULT_TOO_LARGE, "publish")
    check_messages([sealed.message])


def test_a_text_that_is_no_text_is_a_rejection() -> None:
    broken = results.finding(RECORD).model_copy(update={"encounter": "\ud800"})
    assert isinstance(FENCE.seal(RECORD, lambda: broken).result, Rejection)


def test_a_rejection_that_cannot_be_built_is_a_bare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Rejection:
        raise ArithmeticError("4711")

    monkeypatch.setattr("worker.stream.fence.reject", fail)
    sealed = FENCE.reject(RECORD, Rejected(Reason.PAYLOAD_EMPTY, "4711", "payload"))
    assert isinstance(sealed.result, Rejection)
    assert sealed.result.reason == Reason.PAYLOAD_EMPTY
    source = sealed.result.source
    assert (source.topic, source.partition, source.offset, source.timestamp) == ("ecg.inbound", 1, 7, None)
    assert b"4711" not in sealed.message.value


def test_no_key_of_a_record_goes_anywhere_and_its_place_makes_the_key_of_its_rejection() -> None:
    why = Rejected(Reason.PAYLOAD_EMPTY, stage="payload")
    one, other = (FENCE.reject(replace(RECORD, offset=offset, key=b"k" * 70_000), why) for offset in (7, 8))
    again = FENCE.reject(replace(RECORD, key=None), why)
    assert one.message.key == again.message.key != other.message.key
    assert one.message.key is not None
    assert len(one.message.key) == 32
    assert dict(one.message.headers)["ce_id"] == one.message.key


def test_a_time_beyond_the_calendar_is_no_time() -> None:
    sealed = FENCE.reject(replace(RECORD, timestamp_ms=BEYOND_THE_CALENDAR_MS), Rejected(Reason.PAYLOAD_EMPTY))
    assert json.loads(sealed.message.value)["source"]["timestamp"] is None


@settings(deadline=None, max_examples=200)
@given(record=RECORDS)
def test_any_record_can_be_rejected_and_its_message_is_one_that_a_log_takes(record: Record) -> None:
    sealed = FENCE.reject(record, Rejected(Reason.PAYLOAD_UNKNOWN_FORMAT, stage="payload"))
    check_messages([sealed.message])
    said = Rejection.model_validate_json(sealed.message.value)
    assert (said.source.topic, said.source.partition, said.source.offset) == (
        record.topic, record.partition, record.offset,
    )  # fmt: skip
