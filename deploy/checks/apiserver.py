"""A real Kubernetes API server on loopback: etcd and kube-apiserver, no node, no Docker. Ready in a few seconds.

It does all that a cluster does with an object up to the moment it is stored: decoding, defaults, validation, admission
with Pod Security. Nothing that happens afterwards is here: no controller makes pods, and nothing runs them.
"""

import contextlib
import json
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.checks.render import Document
from deploy.checks.toolbox import CheckFailed, kubernetes_program, need, run

START_LIMIT_S: Final = 120.0  # a loaded machine
ANSWER_LIMIT_S: Final = 30.0
_ACCEPTED: Final = (200, 201)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a request: the HTTP status, the object or the refusal, and any warnings."""

    status: int
    body: Document
    warnings: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Taken without so much as a warning."""
        return self.status in _ACCEPTED and not self.warnings

    @property
    def message(self) -> str:
        """Why not."""
        return "; ".join(filter(None, [str(self.body.get("message", "")), *self.warnings]))


@dataclass(frozen=True, slots=True)
class Cluster:
    """How to speak to the server, as an administrator."""

    address: str
    token: str
    tls: ssl.SSLContext
    _kinds: dict[str, list[Document]] = field(default_factory=dict)

    def apply(self, document: Document) -> Answer:
        """Send an object as `kubectl apply --server-side` does; a field that is not known is refused."""
        url = f"{self._path(document)}/{document['metadata']['name']}?fieldManager=check&fieldValidation=Strict"
        return self.request("PATCH", url, document, "application/apply-patch+yaml")

    def judge(self, document: Document) -> Answer:
        """Send a new object, which goes through everything but is not stored."""
        return self.request("POST", f"{self._path(document)}?fieldValidation=Strict&dryRun=All", document)

    def request(
        self, method: str, path: str, body: Document | None = None, content_type: str = "application/json"
    ) -> Answer:
        """Ask the server, and read what it says, whatever that is. Raises OSError if it does not answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()  # JSON is YAML too
        asked = urllib.request.Request(self.address + path, data, headers, method=method)  # noqa: S310 - https, loopback
        try:
            with urllib.request.urlopen(asked, timeout=ANSWER_LIMIT_S, context=self.tls) as answer:  # noqa: S310
                return _answer(answer.status, answer.read(), answer.headers.get_all("Warning"))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return _answer(refusal.code, refusal.read(), refusal.headers.get_all("Warning"))

    def _path(self, document: Document) -> str:
        """The collection that an object belongs to. The server itself says what it is called."""
        version, kind = document["apiVersion"], document["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._kinds:
            self._kinds[version] = self.request("GET", root).body.get("resources", [])
        for resource in self._kinds[version]:
            if resource["kind"] == kind and "/" not in resource["name"]:
                namespace = f"/namespaces/{document['metadata']['namespace']}" if resource["namespaced"] else ""
                return f"{root}{namespace}/{resource['name']}"
        raise CheckFailed(f"Kubernetes has no {kind} in {version}")


def _answer(status: int, body: bytes, warnings: list[Any] | None) -> Answer:
    try:
        content = json.loads(body)
    except ValueError:
        content = {"message": body.decode(errors="replace")[:500]}
    return Answer(status, content if isinstance(content, dict) else {}, tuple(map(str, warnings or ())))


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """An API server with nothing in it, gone afterwards. Raises Unavailable if this machine cannot have one."""
    etcd, setpriv, openssl = need("etcd"), need("setpriv"), need("openssl")
    server = str(kubernetes_program("kube-apiserver"))
    with contextlib.ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="ecg-kubernetes-")))
        token, (store, peer, port) = secrets.token_hex(16), _free_ports(3)
        run([openssl, "genrsa", "-out", str(folder / "account.key"), "2048"])
        (folder / "tokens.csv").touch(mode=0o600)
        (folder / "tokens.csv").write_text(f'{token},check,check,"system:masters"\n', encoding="utf-8")
        # Whoever dies first, neither outlives this process.
        watched = [setpriv, "--pdeathsig", "KILL", "--"]
        parts.enter_context(_running([*watched, etcd, *_etcd_options(folder, store, peer)], folder / "etcd.log"))
        log = folder / "server.log"
        process = parts.enter_context(_running([*watched, server, *_server_options(folder, store, port)], log))
        yield _await_ready(f"https://127.0.0.1:{port}", token, folder / "apiserver.crt", process, log)


def _etcd_options(folder: Path, port: int, peer: int) -> list[str]:
    client, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    urls = {
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }
    return [f"--data-dir={folder / 'etcd'}", *(f"--{name}={value}" for name, value in urls.items())]


def _server_options(folder: Path, store: int, port: int) -> list[str]:
    key = folder / "account.key"
    options = {
        "etcd-servers": f"http://127.0.0.1:{store}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": folder,
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": "10.0.0.0/24",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        # As in most clusters: it is Pod Security that is to refuse privileged containers.
        "allow-privileged": "true",
        # There is no controller here that would make the default account which it asks for.
        "disable-admission-plugins": "ServiceAccount",
    }
    return [f"--{name}={value}" for name, value in options.items()]


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _await_ready(address: str, token: str, certificate: Path, process: subprocess.Popen[bytes], log: Path) -> Cluster:
    """Wait until the server serves, with the certificate that it has made for itself."""
    end = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):  # not there yet
            cluster = Cluster(address, token, ssl.create_default_context(cafile=certificate))
            if cluster.request("GET", "/readyz").status == 200:
                return cluster
        time.sleep(0.1)
    raise CheckFailed(f"kube-apiserver did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(s.getsockname()[1]) for s in sockets]
