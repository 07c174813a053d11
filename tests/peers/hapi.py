"""A real HL7 v2 receiver for tests: HAPI, with jars from Maven, in a process of its own.

It validates every message against the standard, answers as it is told, and writes down what it got. Jars and classes
are built once into a cache outside the repository. The process dies with the one that started it.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "hapi"
FETCH_LIMIT_S: Final = 600.0  # 4 MB, over a slow line


class ReceiverUnavailable(Exception):
    """No receiver can be started on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Received:
    """One transmission: what the receiver did with it, MSH-10, the message, and what is wrong with it."""

    done: str
    control_id: str
    message: str
    fault: str


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ReceiverUnavailable(f"no {name} on the path; the HL7 receiver needs Java 17 or later and Maven")
    return path


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_LIMIT_S)
    if done.returncode != 0:
        raise ReceiverUnavailable(f"{command[0]} failed: {done.stdout[-500:]}{done.stderr[-500:]}")


def _build() -> Path:
    """The folder of jars and classes, filled once for each version of the sources, all or nothing."""
    cache = (
        os.environ.get("ECG_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecg-worker"
    )
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in ("pom.xml", "Receiver.java")))
    built = Path(cache).resolve() / "hapi" / digest.hexdigest()[:16]
    built.parent.mkdir(parents=True, exist_ok=True)
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.is_dir():
            compiler, maven = _tool("javac"), _tool("mvn")
            with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
                shutil.copy(SOURCES / "pom.xml", scratch)
                fetch = [maven, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
                _run([*fetch, f"-DoutputDirectory={scratch}/build"], Path(scratch))
                _run([compiler, "-cp", "build/*", "-d", "build", str(SOURCES / "Receiver.java")], Path(scratch))
                Path(scratch, "build").rename(built)
    return built


class HapiReceiver:
    """Listens on one port, over restarts. `start`, `tell`, `kill` (SIGKILL), `freeze` and `thaw` as a test needs."""

    def __init__(self, folder: Path) -> None:
        self._java, self._built, self._folder = _tool("java"), _build(), folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self._journal = folder / "journal"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where `ecg-worker deliver` finds it."""
        return f"mllp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it serves. It accepts what is valid."""
        options = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with (self._folder / "stderr").open("ab") as errors:
            self._process = subprocess.Popen(
                [self._java, *options, "-cp", f"{self._built}:{self._built}/*", "Receiver", str(self.port), "journal"],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._expect("ready")

    def tell(self, order: str) -> None:
        """From now on: "accept", "refuse AE" (or another code), "stall", or "drop"."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        self._expect("ok")

    def received(self) -> list[Received]:
        """Every transmission so far that was written down whole, over restarts."""
        if not self._journal.exists():
            return []
        lines = self._journal.read_bytes().decode().split("\n")[:-1]
        fields = (line.split("\t") for line in lines)
        return [Received(done, id_, base64.b64decode(message).decode(), fault) for done, id_, message, fault in fields]

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, and are made, but nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _expect(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"the receiver said {said!r}: {(self._folder / 'stderr').read_text()[-2000:]}")


@contextlib.contextmanager
def running_receiver() -> Iterator[HapiReceiver]:
    """A started receiver in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ecg-hapi-", ignore_cleanup_errors=True) as folder:
        receiver = HapiReceiver(Path(folder))
        try:
            receiver.start()
            yield receiver
        finally:
            receiver.kill()
