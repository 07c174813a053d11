"""What an installation without the lock rests on: ranges that end, packages that ship their types, a whole wheel."""

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from deploy.checks.toolbox import CheckFailed
from deploy.checks.wheel import examine

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: Final[list[str]] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
WHOLE: Final = {"a/__init__.py", "a/py.typed", "deploy/models/demo/config.json", "ecg-1.dist-info/METADATA"}


def requirements() -> list[str]:
    project = PROJECT["project"]
    return [
        *PROJECT["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["training"],
        *PROJECT["dependency-groups"]["dev"],
    ]


@pytest.mark.parametrize("stated", requirements())
def test_every_range_has_both_ends(stated: str) -> None:
    """An open end lets in what nobody has tried: so came transformers 5.24, and no model could be loaded."""
    assert sorted(part.operator for part in Requirement(stated).specifier) == ["<", ">="]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_ships_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_a_whole_wheel_is_told() -> None:
    assert "4 files of a and deploy/models" in examine(WHOLE, ["a"], {"deploy/models/demo/config.json"})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (WHOLE - {"a/py.typed"}, "no py.typed in a"),
        (WHOLE - {"deploy/models/demo/config.json"}, "left out: deploy/models/demo/config.json"),
        (WHOLE | {"tests/test_a.py"}, "does not belong there: tests/test_a.py"),
    ],
)
def test_a_wheel_that_lacks_or_has_too_much_fails(names: set[str], said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        examine(names, ["a"], {"deploy/models/demo/config.json"})
