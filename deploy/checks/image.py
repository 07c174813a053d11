"""`make image-check`: lint the Dockerfile, build the image on a stand-in base, and run it as a cluster would.

No registry and no Docker is needed: debootstrap makes a base of Debian with Python, buildah builds on it, and
bubblewrap runs the result with a read-only root, an unprivileged user, no capabilities and no network. It needs root
and 30 GB of disk.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from deploy.checks import validate
from deploy.checks.report import report
from deploy.checks.toolbox import ROOT, CheckFailed, Unavailable, cached, need, run

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
BASE: Final = "localhost/python-base:bookworm"
IMAGE: Final = "localhost/ecg-worker:check"
SUITE: Final = "bookworm"  # the Debian release with Python 3.11
BUILD_LIMIT_S: Final = 3600.0
RUN_LIMIT_S: Final = 900.0  # three starts of Python, on a loaded machine
NEEDED_BYTES: Final = 30 * 10**9  # base, build stage and image, each whole: 7 GB of it are CUDA's libraries
COMPILERS: Final = ("cc", "gcc", "g++", "c++", "clang", "cpp", "as", "ld", "make", "go", "rustc")
# The demo model, one ECG through `explain`, and the same through a log and `run`, health server and all.
SERVE: Final = """
set -e
export ECG_LOG=sqlite:////tmp/log.db ECG_HEALTH_PORT=0 ECG_THREADS=2
ecg=$(python -c "import pydicom.data as d; print(d.get_testdata_file('waveform_ecg.dcm', download=False))")
export ECG_MODEL=$(python -c "from cli.wiring.model import DEMO_MODEL; print(DEMO_MODEL)")
ecg-worker --help >/dev/null
ecg-worker explain "$ecg"
ecg-worker submit "$ecg" >/dev/null
ecg-worker run --idle-exit 2
ecg-worker read ecg.findings
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its root folder, and how it wants to be run."""

    root: Path
    config: dict[str, Any] = field(repr=False)

    def run(self, *command: str) -> str:
        """Run a program in it as the restricted profile would have it run. Raises CheckFailed."""
        environment = dict(pair.split("=", 1) for pair in self.config["Env"])
        user, group = self.config["User"].split(":")
        options = ["--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"]  # noqa: S108
        options += ["--tmpfs", "/tmp", "--chdir", self.config["WorkingDir"], "--die-with-parent", "--clearenv"]  # noqa: S108
        options += ["--unshare-all", "--uid", user, "--gid", group, "--cap-drop", "ALL"]
        for name, value in environment.items():
            options += ["--setenv", name, value]
        return run([need("bwrap"), *options, "--", *command], RUN_LIMIT_S)


def main() -> int:
    """Do every check; 0 if all were good."""
    good = report("Dockerfile", partial(validate.dockerfile, DOCKERFILE))
    return int(not (report("image", _check_image) and good))


def _check_image() -> str:
    with built_image() as image:
        return ", ".join(check(image) for check in (_configured, _without_compiler, _confined, _serves))


def _configured(image: Image) -> str:
    wanted = {"User": "10001:10001", "Entrypoint": ["ecg-worker"], "Cmd": ["run"]}
    found = {name: image.config.get(name) for name in wanted}
    if found != wanted:
        raise CheckFailed(f"the image is configured otherwise: {found}")
    return "runs `ecg-worker run` as 10001"


def _without_compiler(image: Image) -> str:
    search = f"for name in {' '.join(COMPILERS)}; do command -v $name; done; true"
    if present := image.run("sh", "-c", search).split():
        raise CheckFailed(f"the image holds {', '.join(present)}")
    if (image.root / "opt/venv/bin/pip").exists():
        raise CheckFailed("the image's environment holds pip")
    return "no compiler and no pip in its environment"


def _confined(image: Image) -> str:
    look = "id -u; sed -n 's/^CapEff:.//p;s/^NoNewPrivs:.//p' /proc/self/status; touch /opt/x 2>/dev/null && echo wrote"
    if (said := image.run("sh", "-c", f"{look}; true").split()) != ["10001", "0" * 16, "1"]:
        raise CheckFailed(f"the image does not run confined: {said}")
    return "no capability, root read-only"


def _serves(image: Image) -> str:
    explained, served = map(json.loads, image.run("sh", "-c", SERVE).splitlines())
    if explained["finding_id"] != served["finding_id"]:
        raise CheckFailed("`explain` and `run` say different things of one ECG")
    return f"`explain` and `run` agree on pydicom's ECG: {served['assessment']['verdict']}"


@contextmanager
def built_image() -> Iterator[Image]:
    """The image, built anew, and gone afterwards. Raises Unavailable or CheckFailed."""
    for program in ("buildah", "debootstrap", "bwrap"):
        need(program)
    if os.geteuid() != 0:
        raise Unavailable("building needs root")
    if shutil.disk_usage(ROOT).free < NEEDED_BYTES:
        raise Unavailable(f"building needs {NEEDED_BYTES // 10**9} GB of disk")
    base = cached("image-base", SUITE.encode(), _debootstrap) / "root"
    with tempfile.TemporaryDirectory(prefix="ecg-image-", dir="/var/tmp") as folder:
        buildah = _Buildah(Path(folder))
        try:
            buildah("commit", "--quiet", buildah.container_of(base), BASE)
            yield buildah.build(Path(folder))
        finally:
            buildah("rm", "--all")  # unmounts too


def _debootstrap(made: Path) -> None:
    packages = "--include=ca-certificates,python3,python3-venv"
    try:
        run([need("debootstrap"), "--variant=minbase", packages, SUITE, str(made / "root")], BUILD_LIMIT_S)
    except CheckFailed as error:
        raise Unavailable(f"no base image: {error}") from None


class _Buildah:
    """buildah with a storage of its own. The vfs driver needs more disk than others, and nothing of the kernel."""

    def __init__(self, folder: Path) -> None:
        storage = {"root": folder / "storage", "runroot": folder / "run", "storage-driver": "vfs"}
        self._command = [need("buildah"), *(f"--{name}={value}" for name, value in storage.items())]

    def __call__(self, *arguments: str) -> str:
        return run([*self._command, *arguments], BUILD_LIMIT_S).strip()

    def container_of(self, tree: Path) -> str:
        """A container with a root folder copied from this one."""
        container = self("from", "scratch")
        self("add", "--quiet", container, str(tree), "/")
        # As images of Python have it; the Dockerfile puts its own in front.
        self("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        return container

    def build(self, folder: Path) -> Image:
        """Build the Dockerfile on the stand-in, with this machine's package index and certificates."""
        secret = folder / "pip.conf"
        secret.write_text(_pip_configuration(), encoding="utf-8")
        options = ["--isolation", "chroot", "--network", "host", "--pull-never", "--layers=false", "--quiet"]
        options += ["--build-arg", f"BASE={BASE}", "--secret", f"id=pip.conf,src={secret}"]
        options += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--file", str(DOCKERFILE), "--tag", IMAGE]
        self("build", *options, str(ROOT))
        described = json.loads(self("inspect", "--type", "image", IMAGE))
        container = self("from", "--pull-never", IMAGE)
        return Image(Path(self("mount", container)), described["OCIv1"]["config"])


def _pip_configuration() -> str:
    """What pip is told here about its index, from files and the environment, as a file."""
    lines = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    stated = (line.partition("=")[::2] for line in lines)
    wanted = {name.rpartition(".")[2]: value.strip("'\"") for name, value in stated}
    kept = [f"{name} = {wanted[name]}" for name in ("index-url", "extra-index-url", "cert") if name in wanted]
    return "\n".join(["[global]", *kept, ""])


if __name__ == "__main__":
    sys.exit(main())
