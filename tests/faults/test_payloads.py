"""The harness's own records are what it takes them for."""

import functools

from adapters.inbound import decode
from adapters.log import Record
from adapters.site import Site
from schemas.rejection import Rejection
from tests.faults.payloads import ORDINARY, POISON, Kind, message_id, mix, payload
from worker.case import Case
from worker.identity import ecg_digest
from worker.layout import layout
from worker.pipeline import prepare

DECODE = functools.partial(decode, site=Site())


def prepared(kind: Kind, number: int) -> Case | Rejection:
    return prepare(
        Record("inbound", 0, number, 0, b"k", payload(kind, number)), DECODE, layout(width_px=560, height_px=420)
    )


def test_good_records_become_findings_that_can_be_told_apart() -> None:
    kinds: tuple[Kind, ...] = ("asked", "not_asked", "routine", "stat")
    for kind in kinds:
        case = prepared(kind, 41)
        assert isinstance(case, Case)
        assert case.source.message_id == message_id(41)
        assert (case.question is None) == (kind == "not_asked")
        assert (case.priority == "stat") == (kind == "stat")
    ecgs = [DECODE(payload(kind, number)) for number, kind in enumerate(2 * kinds)]
    assert len({ecg_digest(ecg) for ecg in ecgs}) == len(ecgs)


def test_poison_is_rejected() -> None:
    assert all(isinstance(prepared(kind, 1), Rejection) for kind in POISON)


def test_a_mix_is_the_same_for_the_same_seed() -> None:
    assert mix(1000, 5, ORDINARY) == mix(1000, 5, ORDINARY) != mix(1000, 6, ORDINARY)
    assert 200 < mix(1000, 5, ORDINARY).count("asked") < 400
