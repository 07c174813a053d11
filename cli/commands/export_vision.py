"""The command that makes a Hugging Face model directory servable."""

from pathlib import Path
from typing import Annotated

import typer

from cli import output


def export_vision(
    directory: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False)],
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            exists=True,
            dir_okay=False,
            help="picture, prompt and lengths of a directory without a manifest",
        ),
    ] = None,
) -> None:
    """Build the ONNX vision encoder of a model directory, and list every file's digest in its `ecg-model.json`.

    Example: ecg-worker export-vision /models/ecg-r1 --settings ecg-r1.json
    """
    from worker.model.export import export_vision as export
    from worker.model.manifest import read_settings, write_manifest

    output.try_folder(directory, "DIR")
    if settings is not None:
        write_manifest(directory, read_settings(settings))
    output.notify(f"wrote {export(directory)}")
