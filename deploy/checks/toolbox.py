"""The programs that check the manifests and the image: where they come from, and where they are kept.

Nothing is installed into the project's environment or the system. Python tools are installed from locked, hashed
requirements, Kubernetes' own programs are built from their Go module, both once into a cache outside the repository.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
KUBERNETES: Final = "1.35.3"  # the version that deploy/checks/kubernetes/go.mod names
INSTALL_LIMIT_S: Final = 900.0
BUILD_LIMIT_S: Final = 1800.0  # 4 to 5 minutes on two idle cores


class Unavailable(Exception):
    """A tool cannot be had on this machine; the text says why."""


class CheckFailed(Exception):
    """A check found something; the text is what the tool said."""


def run(command: list[str], limit_s: float = 300.0, cwd: Path = ROOT, **environment: str) -> str:
    """Standard output of a program that succeeds. Raises CheckFailed with all that it said if it does not."""
    name, full = Path(command[0]).name, {**os.environ, **environment}
    try:
        done = subprocess.run(command, cwd=cwd, env=full, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"{name} did not end in {limit_s:.0f} s") from None
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip()
        raise CheckFailed(f"{name} ended with {done.returncode}:\n{said[-6000:]}")
    return done.stdout


def need(program: str) -> str:
    """The path of a program that this machine brings. Raises Unavailable."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        raise Unavailable(f"no {program} on the path")
    return found


def python_tool(name: str, program: str) -> Path:
    """A program out of the environment that `requirements-NAME.lock` describes. Raises Unavailable."""
    lock = HERE / f"requirements-{name}.lock"
    wanted = lock.read_bytes() + sys.version.encode()
    return cached(f"tools/{name}", wanted, lambda made: _install(lock, made)) / "bin" / program


def kubernetes_program(name: str) -> Path:
    """`kube-apiserver` or `kubectl`, built from the Go module that is named here. Raises Unavailable."""
    recipe = HERE / "kubernetes"
    wanted = b"".join((recipe / file).read_bytes() for file in ("go.mod", "go.sum"))
    return cached(f"kubernetes/{name}", wanted, lambda made: _build(recipe, name, made)) / name


def cached(name: str, wanted: bytes, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made once for what is wanted, by one process at a time, all or nothing.

    A folder that was begun and not finished has no mark, and is made again.
    """
    given = os.environ.get("ECG_CACHE")
    home = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecg-worker"
    made = home.resolve() / name / hashlib.sha256(wanted).hexdigest()[:16]
    mark = made / ".complete"
    made.parent.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            make(made)
            mark.touch()
    return made


def _install(lock: Path, made: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise Unavailable(f"no uv beside {sys.executable}; `make setup` installs it")
    python = str(made / "bin" / "python")
    options = ["--quiet", "--python", python, "--only-binary", ":all:", "--no-deps", "--require-hashes"]
    try:
        run([str(uv), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(made)])
        run([str(uv), "pip", "install", *options, "-r", str(lock)], INSTALL_LIMIT_S)
    except CheckFailed as error:
        raise Unavailable(f"{lock.name} cannot be installed: {error}") from None


def _build(recipe: Path, name: str, made: Path) -> None:
    """Build in a copy: Go completes go.mod with the indirect requirements, whose hashes go.sum already holds."""
    for file in ("go.mod", "go.sum"):
        shutil.copy(recipe / file, made)
    flags = ["-trimpath", "-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"]
    go = str(python_tool("tools", "go"))
    settings = {"GOFLAGS": "-mod=mod", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    try:
        run(
            [go, "build", *flags, "-o", str(made / name), f"k8s.io/kubernetes/cmd/{name}"],
            BUILD_LIMIT_S,
            made,
            **settings,
        )
    except CheckFailed as error:
        raise Unavailable(f"{name} cannot be built: {error}") from None
