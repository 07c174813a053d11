"""The first moments of a process: a signal ends it, also where the kernel would lose that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cli import app, entry


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_first_process_of_a_container_is_ended_before_its_imports() -> None:
    """As if it had number 1, with the signal while the command line is imported."""
    script = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what the kernel makes of a default there
os.getpid = lambda: 1
class Importing:
    def find_spec(self, name, *_):
        if name == "cli.app":
            signal.raise_signal(signal.SIGTERM)
sys.meta_path.insert(0, Importing())
from cli import entry
entry.main()
"""
    ended = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, b"")


def test_elsewhere_a_signal_is_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    held: list[object] = []
    monkeypatch.setattr(app, "main", lambda: held.append(signal.getsignal(signal.SIGTERM)))
    entry.main()
    assert held == [signal.SIG_DFL]
