"""Options that mean the same in every command."""

from pathlib import Path
from typing import Annotated

import typer

LogUrl = Annotated[
    str | None,
    typer.Option("--log", metavar="URL", envvar="ECG_LOG", help="kafka://HOST:PORT[,...] or sqlite:///PATH"),
]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", envvar="ECG_MODEL", help="model directory", show_default=False)
]
Group = Annotated[str | None, typer.Option("--group", metavar="NAME", envvar="ECG_GROUP", help="consumer group")]
IdleExit = Annotated[
    float | None,
    typer.Option("--idle-exit", metavar="S", min=0, help="end with 0 after S seconds with nothing left to do"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="TOML", envvar="ECG_CONFIG", help="settings file", exists=True, dir_okay=False),
]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, readable=True)]
