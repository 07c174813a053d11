"""The verifier as the harness sees it: how far the results are, as any reader sees them, and its report in the end."""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

REPORT_LIMIT_S: Final = 600.0
KEPT: Final = 100_000


class VerifierFailed(Exception):
    """It ended without a report; its log says why."""


class Witness:
    """A verifier at work."""

    def __init__(
        self,
        servers: Sequence[str],
        inbound: Sequence[str],
        findings: str,
        rejections: str,
        log_file: Path,
        manifest: str = "",
    ) -> None:
        self.decided = 0
        self.repeated = 0
        self._came_in = 0
        self._waits_since_ms: int | None = None
        self._moments: deque[float] = deque(maxlen=KEPT)
        self._report: dict[str, Any] | None = None
        where = [
            f"--servers={','.join(servers)}",
            f"--inbound={','.join(inbound)}",
            f"--findings={findings}",
            f"--rejections={rejections}",
            f"--manifest={manifest}",
        ]
        module = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.faults.verifier"]
        with log_file.open("ab") as sink:
            self._process = subprocess.Popen(
                [*module, *where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink
            )  # fmt: skip
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)
        self._thread.start()

    def first_after(self, moment: float) -> float | None:
        """When the first committed result after this moment was written, as it says itself."""
        return min((at for at in list(self._moments) if at > moment), default=None)

    def all_decided(self, fed: int, before: float) -> bool:
        """Whether so many records were seen, and all that came in before this moment have a result."""
        since_ms = self._waits_since_ms
        return self._came_in >= fed and (since_ms is None or since_ms > before * 1000)

    def report(self) -> dict[str, Any]:
        """Say that the run is over, and wait for the report."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._thread.join(REPORT_LIMIT_S)
        self.close()
        if self._report is None:
            raise VerifierFailed
        return self._report

    def close(self) -> None:
        """End it, whatever it does. The kernel does so if this process, or the thread that began it, ends first."""
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "report" in said:
                self._report = said["report"]
            else:
                self._moments.extend(said["moments"])
                self._waits_since_ms = said["waits_since_ms"]
                self._came_in, self.decided, self.repeated = said["came_in"], said["decided"], said["repeated"]
