"""Options that mean the same in every command, and what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.data.sources import ExampleSource
    from worker.model.bundle import ModelBundle

DATA_HELP = "simulated:SITE:SEED:COUNT[:varied], a JSONL file, or a folder with labels.jsonl or truth.jsonl"
Model = Annotated[
    Path, typer.Option("--model", metavar="DIR", exists=True, file_okay=False, help="bundle to begin from")
]
Data = Annotated[str, typer.Option("--data", metavar="DATA", help=DATA_HELP)]
Processes = Annotated[int, typer.Option("--processes", metavar="N", min=1, help="processes, of one thread each")]
Zone = Annotated[str, typer.Option("--zone", help="time zone of files that name none")]


def opened_data(stated: str, bundle: "ModelBundle", zone: str) -> "ExampleSource":
    """The examples that are meant, drawn as the model wants them. Raises DataError."""
    import functools
    from zoneinfo import ZoneInfo

    from adapters.inbound import decode
    from adapters.recording.site import SiteDefaults
    from training.data.sources import open_data

    return open_data(
        stated, bundle.manifest.layout.layout(), functools.partial(decode, site=SiteDefaults(ZoneInfo(zone), None))
    )
