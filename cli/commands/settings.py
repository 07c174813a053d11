"""The command that says what can be set, what it is now, and who said so."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli import options, output
from cli.catalog import CATALOG, SETTINGS, Setting, in_words
from cli.settings import Settings, default, purpose, stated_settings


def settings(
    log: options.LogUrl = None,
    model: options.Model = None,
    group: options.Group = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of a table")] = False,
    config: options.Config = None,
) -> None:
    """Print every setting: name (its key in the TOML file), variable, default, value now, who said so, what for.

    Opens neither a log nor a model. Exits 2, with one line a problem, if a setting is wrong or an ECG_ variable or a
    key of the file is none.

    Example: ecg-worker settings --config ecg.toml
    """
    stated = stated_settings(config, {"log": log, "model": model, "group": group}, strict=True)
    chosen = Settings.of(stated)
    origins = {name: stated[name].origin if name in stated else "default" for name in SETTINGS}
    if as_json:
        for name, setting in SETTINGS.items():
            output.emit_json(_described(setting, chosen.value(setting), origins[name]))
    else:
        output.stdout.print(_table(chosen, origins))


def _described(setting: Setting, value: Any, origin: str) -> dict[str, Any]:
    return {
        "name": setting.name,
        "variable": setting.variable,
        "key": setting.name,
        "flag": setting.flag or None,
        "default": default(setting),
        "value": value,
        "origin": origin,
        "description": purpose(setting),
    }


def _table(chosen: Settings, origins: Mapping[str, str]) -> Table:
    table = Table()
    for column in ("setting and TOML key\nvariable", "now", "from", "default", "what for"):
        table.add_column(column, overflow="fold", no_wrap=column not in ("now", "default", "what for"))
    for title, rows in CATALOG.items():
        table.add_section()
        table.add_row(Text(title, "bold"))
        for setting in rows:
            origin, usual = origins[setting.name], in_words(default(setting))
            now = Text(in_words(chosen.value(setting)), "" if origin == "default" else "bold")
            name = Text(setting.name).append(f"\n{setting.variable}", "dim")
            table.add_row(name, now, origin, Text(usual), Text(purpose(setting)))
    return table
