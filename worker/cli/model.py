"""The command that makes a Hugging Face model directory servable."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli import output


def export_vision(
    directory: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False)],
) -> None:
    """Build the ONNX vision encoder of a model directory, and note its digest in `ecg-model.json`.

    Example: ecg-worker export-vision /models/ecg-r1
    """
    from worker.engine.export import export_vision as export

    export(directory)
    output.tell(f"wrote {directory / 'vision.onnx'}")
