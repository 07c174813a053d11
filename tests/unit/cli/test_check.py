"""What `ecg-worker check` says of codecs."""

import sys

import pytest

from cli.commands.check import _check_codecs
from cli.settings import SettingsError


def test_the_codecs_that_are_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _check_codecs() == "gzip, snappy, lz4, zstd are read"
    monkeypatch.setitem(sys.modules, "cramjam", None)  # what an import then finds
    with pytest.raises(SettingsError, match="the packages for snappy are missing"):
        _check_codecs()
