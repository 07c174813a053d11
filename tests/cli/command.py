"""Runs `ecg-worker` as a user does: a process of its own, judged by its exit code, stdout and stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file

TIME_LIMIT_S = 120


def real_file() -> Path:
    """The 12-lead ECG that ships inside pydicom."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    assert isinstance(path, str)
    return Path(path)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cli.app", *map(str, arguments)]


def environment(**settings: object) -> dict[str, str]:
    """This process's environment without settings of the worker's, then these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ECG_")}
    return clean | {name: str(value) for name, value in settings.items()}


def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Settings are environment variables."""
    return subprocess.run(
        command(*arguments),
        check=False,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Standard output as JSON lines."""
    return [json.loads(line) for line in done.stdout.splitlines()]
