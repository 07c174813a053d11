"""Nothing of a patient's reaches the log."""

import json
import logging

import pytest

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
