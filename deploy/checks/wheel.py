"""`make wheel-check`: build the wheel, install it into an empty environment, and run the demo from another folder.

No lock takes part: as with `pip install`, the newest version of everything that the ranges of pyproject.toml allow is
taken. So it fails when a range lets in a version that the worker does not run with, or the wheel lacks a file that a
checkout has.
"""

import json
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from deploy.checks.report import report
from deploy.checks.toolbox import INSTALL_LIMIT_S, ROOT, CheckFailed, Unavailable, run

MODELS: Final = "deploy/models"
BUILD_LIMIT_S: Final = 300.0
DEMO_LIMIT_S: Final = 900.0  # 86 to 130 s on two busy cores
# What the metadata has to state; each is read off the built wheel, not off pyproject.toml.
STATED: Final = ("Summary", "Author", "License-Expression", "License-File", "Requires-Python", "Classifier")
# Run by the installed Python: where it has the house from, and the versions of what the wheel asks for itself.
LOOK: Final = """
import json, re
from importlib import metadata
from pathlib import Path
import cli.app, schemas.finding, worker.pipeline
wanted = [line for line in metadata.requires("ecg-r1-worker") if "extra ==" not in line]
versions = {}
for name in sorted({re.match("[A-Za-z0-9._-]+", line)[0] for line in wanted}):
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass  # meant for another platform
files = [module.__file__ for module in (cli.app, schemas.finding, worker.pipeline)]
print(json.dumps({"files": files, "versions": versions}))
"""


class WheelCheck:
    """The wheel and its environment, in a folder that is away from the checkout and goes afterwards."""

    def __init__(self, folder: Path) -> None:
        self._dist, self._environment, self._elsewhere = folder / "dist", folder / "environment", folder / "elsewhere"
        self._elsewhere.mkdir()

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """What is checked, each on what the one before it left."""
        yield "wheel, built", self._build
        yield "wheel, contents", self._contents
        yield "wheel, installed without the lock", self._install
        yield "wheel, the installed packages", self._look
        yield "ecg-worker --help", lambda: f"{len(self._run('ecg-worker', '--help').splitlines())} lines"
        yield "ecg-worker demo", self._demo

    @property
    def _wheel(self) -> Path:
        return next(self._dist.glob("*.whl"))

    def _build(self) -> str:
        run([_uv(), "build", "--quiet", "--wheel", "--out-dir", str(self._dist), str(ROOT)], BUILD_LIMIT_S)
        return f"{self._wheel.name}, {self._wheel.stat().st_size / 1e6:.1f} MB"

    def _contents(self) -> str:
        with zipfile.ZipFile(self._wheel) as wheel:
            names = {name for name in wheel.namelist() if not name.endswith("/")}
            about = next(name for name in names if name.endswith(".dist-info/METADATA"))
            metadata = HeaderParser().parsestr(wheel.read(about).decode("utf-8"))
        if lacking := [field for field in STATED if not metadata.get(field)]:
            raise CheckFailed(f"the metadata states no {', '.join(lacking)}")
        return examine(names, _packages(), _models())

    def _install(self) -> str:
        # Wheels only, as everywhere in this project: nothing is compiled, and no package's own code runs meanwhile.
        run([_uv(), "venv", "--quiet", "--python", sys.executable, str(self._environment)])
        options = ["--quiet", "--only-binary", ":all:", "--python", str(self._program("python"))]
        run([_uv(), "pip", "install", *options, str(self._wheel)], INSTALL_LIMIT_S, self._elsewhere)
        run([_uv(), "pip", "check", "--quiet", "--python", str(self._program("python"))])
        return "the newest versions within the ranges, and all of them fit each other"

    def _look(self) -> str:
        found = json.loads(self._run("python", "-c", LOOK))
        if strange := [file for file in found["files"] if not Path(file).is_relative_to(self._environment)]:
            raise CheckFailed(f"imported from elsewhere: {', '.join(strange)}")
        return ", ".join(f"{name} {version}" for name, version in found["versions"].items())

    def _demo(self) -> str:
        said = self._run("ecg-worker", "demo", "--out", str(self._elsewhere / "demo"))
        summary = [line.strip() for line in said.splitlines() if "findings and" in line or "read rightly" in line]
        return "; ".join(summary).replace(f"{self._elsewhere}/", "") or "ended well"

    def _program(self, name: str) -> Path:
        return self._environment / "bin" / name

    def _run(self, name: str, *arguments: str) -> str:
        """Run an installed program in the other folder. An empty PYTHONPATH is none: the checkout is out of reach."""
        return run([str(self._program(name)), *arguments], DEMO_LIMIT_S, self._elsewhere, PYTHONPATH="", COLUMNS="120")


def main() -> int:
    """Do the checks in order up to the first that fails; 0 if all were good."""
    # Not in /tmp, which may be held in memory: the environment is 6 GB, unless it shares them with uv's cache.
    with tempfile.TemporaryDirectory(prefix="ecg-wheel-", dir="/var/tmp") as folder:
        return int(not all(report(what, check) for what, check in WheelCheck(Path(folder)).checks()))


def examine(names: set[str], packages: list[str], models: set[str]) -> str:
    """Hold a wheel's file names against the packages that ship and the models' files. Raises CheckFailed."""
    untyped = [package for package in packages if f"{package}/py.typed" not in names]
    lost = sorted(models - names)
    folders = tuple(f"{folder}/" for folder in (*packages, MODELS))
    strange = sorted(name for name in names if not name.startswith(folders) and ".dist-info/" not in name)
    for what, found in (("no py.typed in", untyped), ("left out:", lost), ("does not belong there:", strange)):
        if found:
            raise CheckFailed(f"{what} {', '.join(found[:10])}")
    return f"{len(names)} files of {', '.join(packages)} and {MODELS}, typed"


def _packages() -> list[str]:
    """The packages that pyproject.toml says the wheel has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return packages


def _models() -> set[str]:
    """The files of the models that ship, as the wheel has to name them."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / MODELS).rglob("*") if path.is_file()}


def _uv() -> str:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise Unavailable(f"no uv beside {sys.executable}; `make setup` installs it")
    return str(uv)


if __name__ == "__main__":
    sys.exit(main())
