"""Some workers, each a process of its own, and somebody who starts them again: what Kubernetes is to them in earnest.

Workers are killed by the kernel when this process ends, however it ends. Signals reach what they would reach in a pod:
SIGKILL and SIGTERM the worker, a freeze all of its processes.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cli.command import environment

LOOK_EVERY_S: Final = 0.05
EXIT_LIMIT_S: Final = 120.0
READY_LIMIT_S: Final = 120.0
TAIL_BYTES: Final = 64 * 1024
MOST_RESTARTS_IN_A_ROW: Final = 10  # of a worker that ends by itself as soon as it begins
SHORT_LIFE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ending:
    """A worker that ended by itself, and its last words."""

    worker: int
    at: float
    lived_s: float
    exit_code: int
    last_words: str


class Crashing(Exception):
    """A worker ends as often as it is started."""


class _Worker:
    """One place in the fleet, with the process that has it now."""

    def __init__(self, number: int, log_file: Path, command: list[str], settings: Mapping[str, object]) -> None:
        self.number = number
        self.log_file = log_file
        self.asked_to_end = False
        self.counted = False
        self.short_lives = 0
        self.folder: Path | None = None  # whose code it runs; None: this one's
        self._command = ["setpriv", "--pdeathsig", "KILL", *command]
        self._environment = environment(**settings)

    def start(self) -> None:
        """Must be called by a thread that lives as long as the worker may: the kernel kills it with that thread."""
        self.asked_to_end = self.counted = False
        with self.log_file.open("ab") as sink:
            self.log_begins = sink.tell()
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment | ({"PYTHONPATH": str(self.folder)} if self.folder else {}),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                process_group=0,
            )
        self.started_at = time.time()

    def signal_all(self, number: signal.Signals) -> None:
        """The worker and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Fleet:
    """Workers 0 to `count` - 1, all with the same settings but their names."""

    def __init__(
        self, count: int, folder: Path, settings: Mapping[str, object], module: tuple[str, ...] = ("cli.app",)
    ) -> None:
        self.ended: list[Ending] = []
        command = [sys.executable, "-m", *module, "run"]
        self._workers = [
            _Worker(n, folder / f"worker-{n}.log", command, {**settings, "ECG_MEMBER": f"worker-{n}"})
            for n in range(count)
        ]
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="fleet", daemon=True)
        self._thread.start()
        self._started.wait()

    def __len__(self) -> int:
        return len(self._workers)

    def pid(self, number: int) -> int:
        """The process that has this place now."""
        return self._workers[number].process.pid

    def kill(self, number: int) -> None:
        """SIGKILL. The worker is started again at once."""
        self._workers[number].asked_to_end = True
        self._workers[number].process.kill()

    def terminate(self, number: int) -> tuple[float, int]:
        """SIGTERM, and wait for the exit: seconds that it took, and the exit code. The worker is started again.

        One that does not end is killed, which is its exit code then.
        """
        worker = self._workers[number]
        process, began = worker.process, time.monotonic()
        worker.asked_to_end = True
        process.terminate()
        try:
            code = process.wait(EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            worker.signal_all(signal.SIGKILL)
            code = process.wait()
        return time.monotonic() - began, code

    def run_from(self, number: int, folder: Path) -> None:
        """From its next start on, a worker runs the code in this folder."""
        self._workers[number].folder = folder

    def freeze(self, number: int) -> None:
        """Stop a worker and its children in their tracks."""
        self._workers[number].signal_all(signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let them go on."""
        self._workers[number].signal_all(signal.SIGCONT)

    def logged(self, number: int, event: str) -> bool:
        """Whether the process that has this place now logged this event."""
        worker = self._workers[number]
        if worker.process.poll() is not None:
            return False
        with worker.log_file.open("rb") as log:
            log.seek(worker.log_begins)
            return f'"event": "{event}"'.encode() in log.read()

    def wait_until_ready(self, number: int) -> bool:
        """Wait until a worker has partitions."""
        return self.wait_until(lambda: self.logged(number, "assignment changed"), READY_LIMIT_S)

    def wait_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Wait until it is so, at most so long. Raises Crashing."""
        end = time.monotonic() + limit_s
        while not done():
            if any(worker.short_lives > MOST_RESTARTS_IN_A_ROW for worker in self._workers):
                raise Crashing(f"a worker does not stay up: {self.ended[-1].last_words}")
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def stop(self) -> list[int]:
        """SIGTERM to all, and no more restarts; the exit codes."""
        self._stopping.set()
        for worker in self._workers:
            worker.asked_to_end = True
            worker.signal_all(signal.SIGCONT)
            worker.process.terminate()
        self._thread.join(EXIT_LIMIT_S)
        self.close()
        return [worker.process.returncode for worker in self._workers]

    def close(self) -> None:
        """Kill whatever still runs."""
        self._stopping.set()
        while self._thread.is_alive():  # it may be about to start one
            for worker in self._workers:
                worker.signal_all(signal.SIGKILL)
            self._thread.join(LOOK_EVERY_S)

    def _keep(self) -> None:
        """Start the workers, and again when they end. Outlives them all, because they end with this thread."""
        for worker in self._workers:
            worker.start()
        self._started.set()
        while sum(self._look_after(worker) for worker in self._workers):
            time.sleep(LOOK_EVERY_S)

    def _look_after(self, worker: _Worker) -> bool:
        """Whether the worker runs, if need be again."""
        code = worker.process.poll()
        if code is None:
            return True
        lived_s = time.time() - worker.started_at
        if not worker.asked_to_end and not worker.counted:
            worker.counted = True
            self.ended.append(Ending(worker.number, time.time(), lived_s, code, _last_words(worker.log_file)))
            worker.short_lives = worker.short_lives + 1 if lived_s < SHORT_LIFE_S else 0
        if self._stopping.is_set() or worker.short_lives > MOST_RESTARTS_IN_A_ROW:
            return False
        worker.start()
        return True


def _last_words(log_file: Path) -> str:
    """The last event that a worker logged, and the kind of error if it was one; else its last line."""
    lines = log_file.read_bytes()[-TAIL_BYTES:].decode(errors="replace").splitlines()
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                return " ".join(str(said[field]) for field in ("event", "error_type", "reason") if field in said)
    return lines[-1] if lines else ""
