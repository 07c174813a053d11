"""The report of a replay says by itself what it is of."""

import json
from datetime import UTC, datetime
from typing import Any

from adapters.log import Record, TopicPartition
from schemas.audit_report import OUTCOMES, AskedInterval, AuditReport, LogNames
from schemas.finding import ModelRef
from schemas.publish import ROOT
from tests.support import results
from worker.audit.compare import Published, compare
from worker.audit.replay import Replayed
from worker.audit.report import Circumstances, report
from worker.audit.said import said
from worker.history.interval import Coordinates, Interval
from worker.history.scan import Scanned
from worker.provenance import VERSION

TP, EMPTY = TopicPartition("ecg.inbound", 0), TopicPartition("ecg.inbound", 1)
BEGAN, ENDED = datetime(2026, 3, 4, 8, tzinfo=UTC), datetime(2026, 3, 4, 9, tzinfo=UTC)
UNDER = Circumstances(
    interval=AskedInterval.model_validate(
        {"from": "2", "to": "2026-03-04", "from_offset": 2, "from_time": None, "to_offset": None, "to_time": BEGAN,
         "slack_s": 60.0}
    ),
    log=LogNames(
        url="kafka://broker:9092",
        inbound_topics=("ecg.inbound",),
        findings_topic="ecg.findings",
        rejections_topic="ecg.rejections",
        audit_topic="ecg.audit",
    ),
    began_at=BEGAN,
    ended_at=ENDED,
    model=ModelRef(name="ecg-r1", digest="d", training="trained"),
    fingerprint="now",
    settings_digest="s",
)  # fmt: skip


def written(replayed: Replayed, then: Published) -> dict[str, Any]:
    interval = Interval({TP: range(2, 9), EMPTY: range(0)}, {TP: range(2)})
    content: dict[str, Any] = json.loads(report(compare(then, replayed, interval), UNDER).to_json())
    return content


def test_what_was_asked_read_and_found() -> None:
    records = {offset: Record(TP.topic, 0, offset, 0, None, b"x") for offset in (3, 4)}
    both = {Coordinates(TP, 3): said(results.finding(records[3]))}
    account = Scanned(2, 9, inside=2, outside=3, first=3, last=4, undated=[4], gaps=[range(2, 3), range(5, 6)])
    account.ended_early = True
    failed = Scanned(0, 0, unread="no record for 30 s")
    replayed = Replayed(
        2, both | {Coordinates(TP, 4): said(results.rejection(records[4]))}, {TP: account, EMPTY: failed}
    )
    replayed.unpublished.append(Coordinates(TP, 4))
    then = Published(dict(both), 1, [Coordinates(TopicPartition("ecg.findings", 0), 7)])
    content = written(replayed, then)
    assert (content["schema"], content["exit_status"], content["all_same"]) == ("ecg-audit-report/2", 1, False)
    assert content["interval"] == {
        "from": "2", "to": "2026-03-04", "from_offset": 2, "from_time": None, "to_offset": None,
        "to_time": "2026-03-04T08:00:00Z", "slack_s": 60.0,
    }  # fmt: skip
    assert (content["began_at"], content["ended_at"]) == ("2026-03-04T08:00:00Z", "2026-03-04T09:00:00Z")
    assert (content["model"]["name"], content["worker_version"]) == ("ecg-r1", VERSION)
    assert (content["fingerprint_now"], content["fingerprints_then"]) == ("now", {"f": 1})
    first, second = content["partitions"]
    ended = first.pop("ended")
    assert first == {
        "partition": "ecg.inbound/0", "from": 2, "to": 9, "first": 3, "last": 4, "records": 2, "outside": 3,
    }  # fmt: skip
    assert ended.startswith("1000 records in a row were later")
    assert second["ended"] == "it could not be read further: no record for 30 s"
    assert content["counts"] == {**dict.fromkeys(OUTCOMES, 0), "same": 1, "missing": 1}
    assert content["changed"] == {"verdicts": 0, "flags": 0, "published": 0, "published_only": 0}
    assert [difference["offset"] for difference in content["differences"]] == [4]
    place = {"topic": "ecg.inbound", "partition": 0, "offset": 4}
    assert content["without_time"] == content["not_written"] == [place]
    assert content["unreadable_then"] == [{"topic": "ecg.findings", "partition": 0, "offset": 7}]
    assert content["gone"] == [{"partition": "ecg.inbound/0", "from": 0, "to": 2, "count": 2}]
    assert content["offsets_without_a_record"] == {"ecg.inbound/0": [2, 5]}
    assert len(content["reasons"]) == 5


def test_the_published_schema_is_of_what_is_written() -> None:
    content = written(Replayed(), Published())
    schema = json.loads((ROOT / "schemas" / "json" / "audit-report-2.json").read_text())
    assert content.keys() == schema["properties"].keys()
    assert set(schema["required"]) <= content.keys()
    assert AuditReport.model_validate(content).reasons[0] == "nothing was compared: no record lies in the interval"


def test_it_holds_every_field_that_version_1_had() -> None:
    version_1 = {
        "schema", "all_same", "records", "counts", "results_then_more_than_once", "unreadable_then", "gone",
        "offsets_without_a_record", "differences",
    }  # fmt: skip
    assert version_1 <= written(Replayed(), Published()).keys()


def test_it_holds_nothing_of_a_patient() -> None:
    record = Record(TP.topic, 0, 3, 0, None, b"x")
    finding = results.finding(record)
    named = finding.model_copy(update={"patient": finding.patient.model_copy(update={"id": "DOE^JANE"})})
    then = Published({Coordinates(TP, 3): said(finding)})
    content = written(Replayed(1, {Coordinates(TP, 3): said(named)}), then)
    assert [difference["differing"] for difference in content["differences"]] == [["patient"]]
    assert "DOE" not in json.dumps(content)
