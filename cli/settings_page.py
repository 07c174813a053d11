"""Writes `docs/settings.md`. Run as `python -m cli.settings_page`; a test fails while the page differs from this."""

from pathlib import Path
from typing import Final

from cli.catalog import CATALOG, Setting, in_words
from cli.settings import default, purpose

PAGE: Final = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD: Final = """# Settings

Written by `make docs`; `ecg-worker settings` prints the same with what each setting is now and who said so.

A flag rules the environment, the environment rules the TOML file (`--config FILE` or `ECG_CONFIG`). A setting's name is
its key in the file, and its variable is `ECG_` and the name in capitals:

    group = "ecg-r1"                          # in the file
    ECG_GROUP=ecg-r1 ecg-worker run           # in the environment
    ecg-worker run --group ecg-r1             # as a flag

- An empty variable counts as not set.
- A variable `ECG_...` that is no setting is refused, with the nearest name, by `ecg-worker settings` and `check`. The
  other commands warn of it and go on, so that an older version starts with what a newer one was told. A key of the file
  that is no setting is refused by all.
- Passwords, tokens and keys are in files of their own; settings only name the files.
- `_s` are seconds. Yes and no are `true` and `false`, `1` and `0`.
"""

_TABLE: Final = "| setting | variable | default | what for |\n|---|---|---|---|\n"


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(f"\n## {title}\n\n{_TABLE}{''.join(map(_row, rows))}" for title, rows in CATALOG.items())


def _row(setting: Setting) -> str:
    flag = f", flag `{setting.flag}`" if setting.flag else ""
    usual = setting.default or _usual(default(setting))
    return f"| `{setting.name}`{flag} | `{setting.variable}` | {usual} | {purpose(setting)} |\n"


def _usual(value: object) -> str:
    return in_words(value) if value in (None, "") else f"`{in_words(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
