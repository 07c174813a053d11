"""What is stated where: flags, environment, file. Names only; what the values mean is not known here."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from cli.catalog import PREFIX, SETTINGS

Origin = Literal["flag", "environment", "file", "default"]

# Ours, and no settings: the settings file, where the last words of a container go, and where tests keep their tools.
_NO_SETTINGS: Final = frozenset({"ECG_CONFIG", "ECG_TERMINATION_LOG", "ECG_CACHE"})
_OF_TESTS: Final = "ECG_TEST_"


@dataclass(frozen=True, slots=True)
class Stated:
    """A value, where it comes from, and its name there."""

    value: Any
    origin: Origin
    source: str


def stated_values(file: Mapping[str, Any], path: Path | None, flags: Mapping[str, Any]) -> dict[str, Stated]:
    """What is set, by the name of the setting. Flags rule the environment, and the environment rules the file.

    A flag of None and an empty variable say nothing. Names that are no setting's are left out.
    """
    stated: dict[str, Stated] = {}
    for name, setting in SETTINGS.items():
        if flags.get(name) is not None:
            stated[name] = Stated(flags[name], "flag", setting.flag or name)
        elif variable := os.environ.get(setting.variable):
            stated[name] = Stated(variable, "environment", setting.variable)
        elif name in file:
            stated[name] = Stated(file[name], "file", f"{name} in {path}")
    return stated


def unknown_variables() -> dict[str, str]:
    """Variables that look like settings and are none, with the nearest that is one, or nothing."""
    known = {setting.variable for setting in SETTINGS.values()} | _NO_SETTINGS
    strange = [
        variable
        for variable, value in os.environ.items()
        if variable.startswith(PREFIX) and value and variable not in known and not variable.startswith(_OF_TESTS)
    ]
    nearest = {variable: nearest_setting(variable.removeprefix(PREFIX).lower()) for variable in sorted(strange)}
    return {variable: name and SETTINGS[name].variable for variable, name in nearest.items()}


def unknown_names(names: Iterable[str]) -> dict[str, str]:
    """Those that name no setting, with the nearest that does, or nothing."""
    return {name: nearest_setting(name) for name in names if name not in SETTINGS}


def nearest_setting(name: str) -> str:
    """The name of the setting that was probably meant, or nothing."""
    return next(iter(get_close_matches(name, SETTINGS, n=1)), "")
