"""Options that mean the same in every command.

Those of a setting leave its variable to `Settings`, which has to know whether it was a flag.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from worker.history.interval import Bound

LogUrl = Annotated[
    str | None,
    typer.Option("--log", metavar="URL", help="kafka://HOST:PORT[,...] or sqlite:///PATH (ECG_LOG)"),
]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="model directory (ECG_MODEL)", show_default=False)
]
Group = Annotated[str | None, typer.Option("--group", metavar="NAME", help="consumer group (ECG_GROUP)")]
IdleExit = Annotated[
    float | None,
    typer.Option("--idle-exit", metavar="S", min=0, help="end with 0 after S seconds with nothing left to do"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="TOML", envvar="ECG_CONFIG", help="settings file"),
]
Files = Annotated[
    list[Path], typer.Argument(metavar="PATH...", exists=True, help="ECG files; of a folder, the ECG files in it")
]


def show_version(asked: bool) -> None:
    """Print the version and end, if that is what was asked for."""
    if asked:
        from importlib.metadata import version  # not from worker.provenance, which needs the waveform's libraries

        typer.echo(f"ecg-r1-worker {version('ecg-r1-worker')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=show_version, is_eager=True, help="print the version and exit")
]

# Not from worker.history.interval, which the help of a command need not load; a test holds both to the same.
DEFAULT_SLACK_S: Final = 86400.0
_LONGEST_SLACK_S: Final = 1e10  # some centuries
Slack = Annotated[
    float,
    typer.Option(
        "--slack",
        metavar="S",
        min=0,
        max=_LONGEST_SLACK_S,
        help="with a time as the end: seconds that a record may have been written after its own time",
    ),
]

_OFFSETS_END: Final = 2**63  # an offset is a 64-bit number with a sign


def parse_bound(stated: str) -> "Bound":
    """An end of an interval from what was typed: an offset, or a time (UTC unless it says otherwise)."""
    from worker.history.interval import Bound

    if stated.isdecimal():
        if len(stated.lstrip("0")) > len(str(_OFFSETS_END)) or int(stated) >= _OFFSETS_END:
            raise typer.BadParameter(f"{stated} is no offset: none is as large")
        return Bound(offset=int(stated))
    try:
        moment = datetime.fromisoformat(stated)
    except ValueError:
        raise typer.BadParameter(f"{stated!r} is neither an offset nor an ISO 8601 time") from None
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise typer.BadParameter(f"{stated} lies beyond the calendar, in UTC") from None
    return Bound(timestamp_ms=int(moment.timestamp() * 1000))


def parse_interval(start: str | None, end: str | None) -> "tuple[Bound, Bound]":
    """Both ends of an interval as they were typed; None is open. Raises typer.BadParameter if it is reversed."""
    from worker.history.interval import OPEN

    first, last = (OPEN if stated is None else parse_bound(stated) for stated in (start, end))
    if first.after(last):
        raise typer.BadParameter(f"{end} lies before {start}: the interval ends before it begins", param_hint="--to")
    return first, last
