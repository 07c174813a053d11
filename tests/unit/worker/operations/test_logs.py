"""Nothing of a patient's reaches the log."""

import json
import logging

import pytest

from schemas.errors import WorkerError
from worker.operations import logs

CANARY = "DOE^JANE 642341"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_fields_that_are_not_on_the_list_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().info("record rejected", topic="ecg.inbound", offset=7, patient=CANARY)
    (line,) = lines(capsys)
    assert line["event"] == "record rejected"
    assert (line["topic"], line["offset"], line["level"]) == ("ecg.inbound", 7, "info")
    assert CANARY not in json.dumps(line)


def test_an_exception_is_named_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        raise ValueError(CANARY)
    except ValueError:
        logs.get_logger().exception("stage died")
    (line,) = lines(capsys)
    assert line["error_type"] == "ValueError"
    assert "test_logs.py" in json.dumps(line["frames"])
    assert CANARY not in json.dumps(line)


def test_a_library_is_quoted_without_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    try:
        raise KeyError(CANARY)
    except KeyError:
        logging.getLogger("somelib").exception("cannot parse %s", CANARY)
    (line,) = lines(capsys)
    assert line["event"] == "cannot parse %s"
    assert line["error_type"] == "KeyError"
    assert CANARY not in json.dumps(line)


def test_an_exception_that_was_written_for_people_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().error("ended", exc_info=WorkerError("the broker is away"))
    (line,) = lines(capsys)
    assert line["message"] == "the broker is away"


def test_nobody_else_has_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().error("ended", message=CANARY)
    logs.get_logger().error("ended", message=CANARY, exc_info=ValueError(CANARY))
    logging.getLogger("somelib").error("ended", extra={"message_": CANARY})
    assert CANARY not in json.dumps(lines(capsys))


def test_a_chatty_library_is_heard_only_from_its_severity_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(chatty={"kafka": "CRITICAL"})
    logging.getLogger("kafka.net").error("Connection failed: %s", "x")
    logging.getLogger("kafka.net").critical("at last")
    assert [line["event"] for line in lines(capsys)] == ["at last"]
