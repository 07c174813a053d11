"""The command line, run in this process."""

import pytest

from cli.app import main


def in_process(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command that ends before it does any work; its exit code."""
    monkeypatch.setattr("sys.argv", ["ecg-worker", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_code:
        main()
    return int(exit_code.value.code or 0)
