"""Then and now, record by record."""

from contextlib import closing
from pathlib import Path

import pytest

from adapters.log import Message, Record, TopicPartition
from adapters.open_log import open_log
from schemas.finding import Finding, Verdict
from schemas.rejection import Reason, Rejection
from tests.support import results
from worker.audit.compare import Published, Report, compare, published
from worker.audit.replay import Replayed
from worker.history.interval import Coordinates, Interval
from worker.history.results import Result

TP = TopicPartition("ecg.inbound", 0)
RECORD = Record(TP.topic, TP.partition, 3, 0, None, b"x")
ALL = Interval({TP: range(10)}, {})


def finding(verdict: Verdict = "ischemic", probability: float | None = 0.8, *, raised: bool = True) -> Finding:
    made = results.finding(RECORD)
    assessment = made.assessment.model_copy(update={"verdict": verdict, "probability": probability})
    return made.model_copy(update={"assessment": assessment, "flag": made.flag.model_copy(update={"raised": raised})})


def rejection(reason: Reason = Reason.HL7_MALFORMED) -> Rejection:
    return results.rejection(RECORD).model_copy(update={"reason": reason})


def report(then: Result | None, now: Result | None, interval: Interval = ALL) -> Report:
    before = {} if then is None else {Coordinates(TP, 3): then}
    after = {} if now is None else {Coordinates(TP, 3): now}
    return compare(Published(before), Replayed(results=after), interval)


@pytest.mark.parametrize(
    ("then", "now", "outcome"),
    [
        (finding(), finding(), "same"),
        (rejection(), rejection(), "same"),
        (finding(), finding(probability=0.7), "probability_differs"),
        (finding(), finding("non_ischemic", 0.8), "verdict_differs"),
        (finding(), finding(raised=False), "details_differ"),
        (finding(), rejection(), "rejected_now"),
        (rejection(), finding(), "rejected_then"),
        (rejection(), rejection(Reason.HL7_ENCODING), "rejection_differs"),
        (None, finding(), "missing"),
        (finding(), None, "extra"),
    ],
)
def test_outcomes(then: Result | None, now: Result | None, outcome: str) -> None:
    compared = report(then, now)
    assert [comparison.outcome for comparison in compared.comparisons] == [outcome]
    assert compared.all_same == (outcome == "same")
    assert compared.as_json()["counts"][outcome] == 1


def test_a_probability_that_moved_says_by_how_much() -> None:
    (difference,) = report(finding(probability=0.8), finding(probability=0.7)).as_json()["differences"]
    assert difference["probability_change"] == pytest.approx(-0.1)
    assert difference["differing"] == ("assessment",)


def test_an_interval_that_is_partly_gone_is_never_all_the_same() -> None:
    expired = Interval({TP: range(3, 10)}, {TP: range(3)})
    compared = report(finding(), finding(), expired)
    assert not compared.all_same
    assert compared.as_json()["gone"] == [{"partition": "ecg.inbound/0", "from": 0, "to": 3, "count": 3}]


def test_what_was_published_and_cannot_be_read_is_named_and_passes_no_audit(tmp_path: Path) -> None:
    with closing(open_log(f"sqlite://{tmp_path}/log.db")) as log:
        log.create_topics({"ecg.findings": 1})
        log.append([Message("ecg.findings", None, value) for value in (b"DOE^JANE", finding().to_json())])
        then = published(log, ("ecg.findings",), ALL)
    assert then == Published({Coordinates(TP, 3): finding()}, 0, (Coordinates(TopicPartition("ecg.findings", 0), 0),))
    compared = compare(then, Replayed(results=dict(then.results)), ALL)
    assert [comparison.outcome for comparison in compared.comparisons] == ["same"]
    assert not compared.all_same
    assert compared.as_json()["unreadable_then"] == [{"topic": "ecg.findings", "partition": 0, "offset": 0}]
