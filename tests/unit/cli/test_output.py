"""What is left out of a line before somebody reads it, and what is not."""

import pytest

from cli.output import without_passwords


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("'kafka://me:p/w@x@host:1' is no path", "'kafka://***@host:1' is no path"),
        ("kafka:/me:p w@host is no path", "kafka:/***@host is no path"),
        ("no topic me:pw@host", "no topic ***@host"),
        ("path 'mllp:me:pw@host'", "path '***@host'"),
        ("kafka://host:1?sasl.password=pw is no path", "kafka://host:1?*** is no path"),
        ("kafka:/host#pw is no path", "kafka:/host?*** is no path"),
    ],
)
def test_what_may_be_a_password_is_left_out(line: str, left: str) -> None:
    assert without_passwords(line) == left


@pytest.mark.parametrize(
    "line",
    [
        "sqlite:///data/a@b.db: no database",
        "/data/a@b.dcm: no ECG",
        "kafka://a:1: connection refused; is a broker listening there? Check ECG_LOG",
        "FAIL  log: a right is missing; grant Read on group a@b",
        "--to: its port is missing; a receiver's URL is mllp://HOST:PORT",
        "docs/rejections.md has them all: what now?",
    ],
)
def test_other_lines_are_left_as_they_are(line: str) -> None:
    assert without_passwords(line) == line
