"""The harness's own records are what it takes them for."""

import functools
import random

import pytest

from adapters.inbound import decode
from adapters.log import Record
from adapters.recording.site import SiteDefaults
from schemas.rejection import Rejection
from tests.faults.kinds import POISON, Kind, message_id
from tests.faults.payloads import ORDINARY, draw, payload
from worker.picture.layout import make_layout
from worker.pipeline import prepare
from worker.prepared import PreparedEcg
from worker.provenance import ecg_digest

DECODE = functools.partial(decode, site=SiteDefaults())


def prepared(kind: Kind, number: int) -> PreparedEcg | Rejection:
    return prepare(
        Record("inbound", 0, number, 0, b"k", payload(kind, number)), DECODE, make_layout(width_px=560, height_px=420)
    )


def test_good_records_become_findings_that_can_be_told_apart() -> None:
    kinds: tuple[Kind, ...] = ("asked", "not_asked", "leads_off", "routine", "stat")
    for kind in kinds:
        found = prepared(kind, 41)
        assert isinstance(found, PreparedEcg)
        assert found.source.message_id == message_id(41)
        assert (found.question is None) == (kind in ("not_asked", "leads_off"))
        assert (found.priority == "stat") == (kind == "stat")
    ecgs = [DECODE(payload(kind, number)) for number, kind in enumerate(2 * kinds)]
    assert len({ecg_digest(ecg) for ecg in ecgs}) == len(ecgs)


def test_leads_that_are_off_are_measured_and_found_indeterminate() -> None:
    found = prepared("leads_off", 7)
    assert isinstance(found, PreparedEcg)
    assert (found.screening.verdict, found.screening.reason) == ("indeterminate", "too_few_beats")


def test_poison_is_rejected() -> None:
    assert all(isinstance(prepared(kind, 1), Rejection) for kind in (*POISON, "too_short"))


def drawn(count: int, seed: int) -> list[Kind]:
    by_seed = random.Random(seed)
    return [draw(by_seed, ORDINARY) for _ in range(count)]


def test_kinds_are_drawn_in_their_shares_and_again_for_the_same_seed() -> None:
    assert drawn(1000, 5) == drawn(1000, 5) != drawn(1000, 6)
    assert 30 < drawn(1000, 5).count("asked") < 80
    assert sum(ORDINARY.values()) == pytest.approx(1)
