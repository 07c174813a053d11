"""Is this worker alive, ready, started? Answered over HTTP, with the progress figures behind the answer.

Alive depends on this process only: the loop turns, and the engine is not stuck in one piece of work. Never on the log:
a broker that is away is no reason to restart a worker with a warm model. Ready means: model warm, partitions assigned,
not draining, and nothing in trouble. Started means: the model is loaded and passed its self-test.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.errors import WorkerError

# One turn of the loop is bounded by its poll and by handing work on: far below this even on a loaded machine.
LOOP_STALLED_S: Final = 60.0
# One step of the engine writes one token of each open answer; the longest piece is a prefill of seconds on a slow CPU.
ENGINE_STALLED_S: Final = 120.0


@dataclass(slots=True)
class LoopProgress:
    """What the loop tells of itself at every turn. Written by one thread, read by others: single assignments only.

    `trouble` is what somebody has to look at, in words, or None: work goes on, but not as it should.
    """

    assigned_partitions: int = 0
    in_flight: int = 0
    read_ahead: int = 0
    committed: int = 0
    draining: bool = False
    trouble: str | None = None
    turned_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Health:
    """The answers to the three questions. `engine_stalled_s` is how long the engine has been in one piece of work."""

    progress: LoopProgress
    engine_stalled_s: Callable[[], float]
    clock: Callable[[], float] = time.monotonic

    @property
    def alive(self) -> bool:
        """The loop turns and the engine moves."""
        return self.stalled() is None

    def stalled(self) -> str | None:
        """What no longer moves, if anything."""
        if self.loop_age_s >= LOOP_STALLED_S:
            return f"the loop has not turned for {LOOP_STALLED_S:.0f} s"
        if self.engine_stalled_s() >= ENGINE_STALLED_S:
            return f"the engine has been in one piece of work for {ENGINE_STALLED_S:.0f} s"
        return None

    @property
    def ready(self) -> bool:
        """Work can be done here. The model is warm by the time that there is a `Health` at all."""
        progress = self.progress
        return self.alive and progress.assigned_partitions > 0 and not progress.draining and progress.trouble is None

    @property
    def loop_age_s(self) -> float:
        """Time since the loop's last turn."""
        return self.clock() - self.progress.turned_at

    def payload(self) -> dict[str, object]:
        """The figures, for a person who asks why."""
        figures = asdict(self.progress)
        del figures["turned_at"]
        ages = {"loop_age_s": round(self.loop_age_s, 3), "engine_stalled_s": round(self.engine_stalled_s(), 3)}
        return {"alive": self.alive, "ready": self.ready, **figures, **ages}


class HealthServer:
    """Serves `/startupz`, `/readyz`, `/livez` and `/metrics` in threads of its own, from before the model is loaded.

    Raises WorkerError if the port cannot be had.
    """

    def __init__(self, port: int, host: str = "0.0.0.0") -> None:  # noqa: S104 - the kubelet asks from outside
        self._health: Health | None = None
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except OSError as error:
            raise WorkerError(
                f"port {port} cannot be served: {error.strerror}; set ECG_HEALTH_PORT to a free one"
            ) from None
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def started(self, health: Health) -> None:
        """The model is warm; from now on `health` answers."""
        self._health = health

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
        """Status, content type and body for a path; None for a path that is none of ours."""
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest()
        health = self._health
        good = {
            "/startupz": health is not None,
            "/readyz": health is not None and health.ready,
            "/livez": health is None or health.alive,  # while it loads, the startup probe is the judge
        }.get(path)
        if good is None:
            return None
        payload = health.payload() if health else {"alive": True, "ready": False, "loading": True}
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(payload).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = server.answer(self.path.partition("?")[0])
                status, kind, body = found or (HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds; they are not worth a line."""

        return Handler
