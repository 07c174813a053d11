"""The house keeps its shape: imports run one way, and the worker knows no format and no log by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the modules of a layer may import of the house beside themselves. The command line may import everything: there
# the concrete parts are chosen.
ALLOWED = {
    "schemas": set[str](),
    "adapters": {"schemas"},
    "worker": {
        "schemas",
        "adapters.log",
        "adapters.deadline",
    },  # the protocol of a log, and how long its calls may take
    "simulator": {"schemas", "adapters"},
    "training": {"schemas", "adapters", "worker", "simulator"},
}
HOUSE = {*ALLOWED, "benchmarks", "tests", "inbox"}


def modules(layer: str) -> Iterator[Path]:
    for path in sorted((ROOT / layer).rglob("*.py")):
        if "cli" not in path.relative_to(ROOT).parts:
            yield path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_run_one_way(layer: str) -> None:
    paths = list(modules(layer))
    assert paths
    for path in paths:
        for name in imports(path):
            if name.split(".")[0] not in HOUSE - {layer}:
                continue
            allowed = any(name == other or name.startswith(other + ".") for other in ALLOWED[layer])
            assert allowed, f"{path.relative_to(ROOT)} must not import {name}"


def test_the_worker_names_no_format_and_no_log() -> None:
    for path in modules("worker"):
        code = path.read_text(encoding="utf-8").lower()
        if path.name in ("settings.py", "logs.py"):  # these name what can be set, and whose chatter is silenced
            continue
        found = re.findall(r"\b(?:hl7\w*|dicom\w*|fhir\w*|kafka\w*|sqlite\w*)\b", code)
        assert not found, f"{path.relative_to(ROOT)} names {found[0]}"


def test_packages_have_no_code_in_their_init() -> None:
    for layer in ALLOWED:
        for path in (ROOT / layer).rglob("__init__.py"):
            assert not path.read_text(encoding="utf-8").strip(), path
