"""A run's directory: what was run on which data, how it went, and what came out.

run.json        command, settings, data with its digest, versions of what computed it
metrics.jsonl   one line of numbers every few steps
curves.png      the same, drawn
checkpoints/    from which an interrupted run goes on
model/          the finished bundle
"""

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from schemas.errors import WorkerError

_LAST_CHECKPOINT: Any = get_last_checkpoint  # not typed
_RECORDED_VERSIONS: Final = ("torch", "transformers", "trl", "accelerate", "peft", "numpy")


class RunError(WorkerError):
    """The run cannot be begun or gone on with; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's directory, begun or resumed by `begin`."""

    directory: Path

    @classmethod
    def begin(cls, directory: Path, command: str, settings: dict[str, Any], data: dict[str, str]) -> "Run":
        """Begin a run, or go on with one of the same command, settings and data. Raises RunError for another one."""
        run = cls(directory)
        record = {"command": command, "settings": settings, "data": data}
        if run._record.exists():
            before = json.loads(run._record.read_text(encoding="utf-8"))
            if {key: before[key] for key in record} != json.loads(json.dumps(record)):
                raise RunError(f"{directory} holds a run with other settings or data. Choose another directory.")
        elif is_first_process():
            directory.mkdir(parents=True, exist_ok=True)
            versions = {"python": platform.python_version()} | {name: version(name) for name in _RECORDED_VERSIONS}
            text = json.dumps({**record, "versions": versions}, indent=2)
            run._record.write_text(text + "\n", encoding="utf-8")
        return run

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps its states."""
        return self.directory / "checkpoints"

    @property
    def last_checkpoint(self) -> str | None:
        """The newest complete state, or None for a run that has none yet."""
        return _LAST_CHECKPOINT(str(self.checkpoints)) if self.checkpoints.is_dir() else None

    @property
    def metrics(self) -> Path:
        """The numbers of every logged step."""
        return self.directory / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The finished bundle."""
        return self.directory / "model"

    @property
    def _record(self) -> Path:
        return self.directory / "run.json"


class MetricsFile(TrainerCallback):
    """Writes what a trainer logs as JSON lines, the first process alone. Steps that are run again are written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Append one line."""
        if state.is_world_process_zero and logs:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def is_first_process() -> bool:
    """Whether this is the one process that writes files."""
    return os.environ.get("RANK", "0") == "0"
