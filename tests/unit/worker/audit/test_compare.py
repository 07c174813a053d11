"""Then and now, record by record."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.log import Log, Message, Record, TopicPartition
from adapters.open_log import open_log
from schemas.finding import Finding, Verdict
from schemas.rejection import Reason, Rejection
from tests.support import results
from worker.audit.compare import Comparisons, Published, compare, published
from worker.audit.replay import Replayed
from worker.audit.report import changes
from worker.audit.said import said
from worker.history.interval import Bound, Coordinates, Interval
from worker.history.results import Result
from worker.history.scan import Scanned

TP = TopicPartition("ecg.inbound", 0)
RECORD = Record(TP.topic, TP.partition, 3, 0, None, b"x")
ALL = Interval({TP: range(10)}, {})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite://{tmp_path}/log.db")) as opened:
        opened.create_topics({"ecg.findings": 1})
        yield opened


def finding(
    verdict: Verdict = "ischemic", probability: float | None = 0.8, *, raised: bool = True, priority: str = "routine"
) -> Finding:
    made = results.finding(RECORD)
    assessment = made.assessment.model_copy(update={"verdict": verdict, "probability": probability})
    flag = made.flag.model_copy(update={"raised": raised, "priority": priority})
    return made.model_copy(update={"assessment": assessment, "flag": flag})


def rejection(reason: Reason = Reason.HL7_MALFORMED) -> Rejection:
    return results.rejection(RECORD).model_copy(update={"reason": reason})


AT = Coordinates(TP, 3)


def compared(then: Result | None, now: Result | None, interval: Interval = ALL, **replayed: Any) -> Comparisons:
    before = {} if then is None else {AT: said(then)}
    after = {} if now is None else {AT: said(now)}
    return compare(Published(before), Replayed(results=after, **replayed), interval)


@pytest.mark.parametrize(
    ("then", "now", "outcome", "changed"),
    [
        (finding(), finding(), "same", (0, 0, 0, 0)),
        (rejection(), rejection(), "same", (0, 0, 0, 0)),
        (finding(), finding(probability=0.7), "probability_differs", (0, 0, 1, 1)),
        (finding(), finding("non_ischemic", 0.8), "verdict_differs", (1, 0, 1, 0)),
        (finding(), finding("non_ischemic", 0.8, raised=False), "verdict_differs", (1, 1, 1, 0)),
        (finding(), finding(raised=False), "details_differ", (0, 1, 1, 0)),
        (finding(), finding(priority="stat"), "details_differ", (0, 1, 1, 0)),
        (finding(raised=False), finding(raised=False, priority="stat"), "details_differ", (0, 0, 1, 1)),
        (finding(), rejection(), "rejected_now", (1, 1, 1, 0)),
        (finding(raised=False), rejection(), "rejected_now", (1, 0, 1, 0)),
        (rejection(), finding(), "rejected_then", (1, 1, 1, 0)),
        (rejection(), rejection(Reason.HL7_ENCODING), "rejection_differs", (0, 0, 1, 1)),
        (None, finding(), "missing", (0, 0, 0, 0)),
        (finding(), None, "extra", (0, 0, 0, 0)),
    ],
)
def test_outcomes(then: Result | None, now: Result | None, outcome: str, changed: tuple[int, ...]) -> None:
    found = compared(then, now)
    assert [comparison.outcome for comparison in found.comparisons] == [outcome]
    assert found.all_same == (outcome == "same")
    assert [outcome for outcome, count in found.counts.items() if count] == [outcome]
    assert tuple(changes(found.comparisons).model_dump().values()) == changed


def test_a_probability_that_moved_says_by_how_much() -> None:
    (difference,) = compared(finding(probability=0.8), finding(probability=0.7)).comparisons
    assert difference.probability_change == pytest.approx(-0.1)
    assert difference.differing == ("assessment",)


def test_an_interval_that_is_partly_gone_is_never_all_the_same() -> None:
    found = compared(finding(), finding(), Interval({TP: range(3, 10)}, {TP: range(3)}))
    assert not found.all_same
    assert found.gone == ((TP, range(3)),)
    assert found.reasons == ("3 offsets are gone from the log",)


def test_what_the_log_let_go_during_the_replay_is_gone_and_not_a_hole() -> None:
    account = Scanned(0, 10, gaps=[range(1, 3), range(6, 7)], held_from=3)
    found = compared(finding(), finding(), scanned={TP: account})
    assert found.gone == ((TP, range(1, 3)),)
    assert found.replayed.gaps == {TP: [6]}
    assert found.reasons == ("2 offsets are gone from the log",)


def test_an_interval_of_which_more_may_be_gone_than_anybody_knows_has_not_passed() -> None:
    cut = Interval({TP: range(2, 10)}, {}, Bound(timestamp_ms=0), cut={TP: 2})
    assert compared(finding(), finding(), cut).reasons == (
        "ecg.inbound/0 begins at offset 2, and nothing held there is older than the interval: records that are gone "
        "may have been of it",
    )


@pytest.mark.parametrize(("then", "now"), [(None, None), (finding(), None), (None, finding())])
def test_a_replay_that_compared_nothing_has_not_passed(then: Result | None, now: Result | None) -> None:
    found = compared(then, now)
    assert (found.compared, found.all_same) == (0, False)
    assert found.reasons[0].startswith("nothing was compared: ")


@pytest.mark.parametrize(
    ("replayed", "reason"),
    [
        ({"unpublished": [AT]}, "1 results could not be written"),
        ({"unreadable": 2}, "2 results of now cannot be read"),
        ({"scanned": {TP: Scanned(0, 4, unread="no record for 30 s")}}, "1 partitions could not be read to their end"),
    ],
)
def test_what_could_not_be_done_passes_no_audit_and_is_named(replayed: dict[str, Any], reason: str) -> None:
    assert compared(finding(), finding(), **replayed).reasons == (reason,)


def test_records_that_the_log_had_lost_then_are_named_and_are_no_difference() -> None:
    lost = rejection(Reason.LOG_RECORDS_GONE).model_copy(update={"detail": "offsets 3 to 7"})
    before = {AT: said(lost), Coordinates(TP, 8): said(finding())}
    now = {Coordinates(TP, 8): said(finding())}
    found = compare(Published(before), Replayed(results=now), ALL)
    assert [comparison.outcome for comparison in found.comparisons] == ["lost_then", "same"]
    assert (found.all_same, dict(found.lost_then)) == (True, {AT: "offsets 3 to 7"})
    # An interval of nothing else compared nothing; and what is there now after all is a difference.
    assert compared(lost, None).reasons == (
        "nothing was compared: no record of the interval has a result of then and one of now",
    )
    assert [comparison.outcome for comparison in compared(lost, finding()).comparisons] == ["rejected_then"]


def at_time(minute: int | None, offset: int) -> Finding:
    when = None if minute is None else datetime(2026, 3, 3, 8, minute, tzinfo=UTC)
    made = finding()
    return made.model_copy(update={"source": made.source.model_copy(update={"timestamp": when, "offset": offset})})


def test_by_time_the_results_of_then_are_those_whose_record_lies_inside(log: Log) -> None:
    eight_ms = round(datetime(2026, 3, 3, 8, tzinfo=UTC).timestamp() * 1000)
    ends = Bound(timestamp_ms=eight_ms + 600_000), Bound(timestamp_ms=eight_ms + 1_200_000)
    interval = Interval({TP: range(3, 9)}, {}, *ends)
    minutes = {1: 12, 2: 9, 3: 11, 4: 50, 5: None, 6: 20, 7: 19, 8: None, 9: 12}  # 9 came after the replay began
    log.append([Message("ecg.findings", None, at_time(minute, offset).to_json()) for offset, minute in minutes.items()])
    then = published(log, ("ecg.findings",), interval)
    assert then.known(interval) == {TP: 8}
    found = compare(then, Replayed(scanned={TP: Scanned(3, 8)}), interval)
    # 1 was let go by the log, 3 and 7 were not there to be read; 5 has no time, and lies among them; 8 lies behind.
    assert [comparison.at.offset for comparison in found.comparisons] == [1, 3, 5, 7]


def test_what_was_published_meanwhile_is_read_too_and_nothing_twice(log: Log) -> None:
    def publish(value: bytes) -> None:
        log.append([Message("ecg.findings", None, value)])

    publish(at_time(0, 1).to_json())
    publish(b"DOE^JANE")
    then = published(log, ("ecg.findings",), ALL)
    publish(at_time(0, 2).to_json())
    publish(at_time(0, 1).to_json())
    then = published(log, ("ecg.findings",), ALL, then)
    assert sorted(at.offset for at in then.results) == [1, 2]
    assert (then.repeated, then.contradictory, len(then.unreadable)) == (1, set(), 1)


def test_results_of_one_record_that_contradict_each_other_pass_no_audit(log: Log) -> None:
    other = finding().model_copy(update={"finding_id": "0" * 32})
    log.append([Message("ecg.findings", None, said_then.to_json()) for said_then in (other, finding())])
    then = published(log, ("ecg.findings",), ALL)
    found = compare(then, Replayed(results={AT: said(finding())}), ALL)
    assert [comparison.outcome for comparison in found.comparisons] == ["same"]
    assert found.contradictory == (AT,)
    assert found.reasons == ("1 records have results of then that differ from each other",)


def test_what_was_published_and_cannot_be_read_is_named_and_passes_no_audit(log: Log) -> None:
    log.append([Message("ecg.findings", None, value) for value in (b"DOE^JANE", finding().to_json())])
    then = published(log, ("ecg.findings",), ALL)
    assert then.results == {AT: said(finding())}
    assert then.unreadable == [Coordinates(TopicPartition("ecg.findings", 0), 0)]
    found = compare(then, Replayed(results=dict(then.results)), ALL)
    assert [comparison.outcome for comparison in found.comparisons] == ["same"]
    assert found.reasons == ("1 records on the live topics cannot be read",)
