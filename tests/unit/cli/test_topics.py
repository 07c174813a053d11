"""What `read` says of a record that the log could not give."""

import json

import pytest

from adapters.log import LogError, Record
from cli.commands.topics import _enveloped, _value

WHY = "offset 7: checksum does not match"
LOST = Record("ecg.inbound", 0, 7, None, None, b"", unreadable=WHY)


def test_a_record_that_cannot_be_read_is_not_shown_as_an_empty_one() -> None:
    shown = _enveloped(LOST)
    assert (shown["offset"], shown["unreadable"]) == (7, WHY)
    assert not {"value", "value_base64"} & shown.keys()
    assert "unreadable" not in _enveloped(Record("ecg.inbound", 0, 7, None, None, json.dumps({}).encode()))


def test_without_an_envelope_the_reading_says_why_it_ends() -> None:
    with pytest.raises(LogError, match=f"ecg.inbound, partition 0: {WHY}; .*--envelope"):
        _value(LOST)
