"""The vision tower as an ONNX file in the model directory: what ONNX Runtime runs faster than torch does."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from worker.model.bundle import ModelBundle
from worker.model.huggingface import load_model
from worker.model.manifest import read_manifest, write_manifest
from worker.model.tower import VisionTower

VISION_FILE: Final = "vision.onnx"
INPUT: Final = "image"
OUTPUT: Final = "embeddings"

_OPSET: Final = 20
# Protobuf cannot hold 2 GiB in one message: from here on, weights go into a file beside the graph.
_LARGEST_SINGLE_FILE_BYTES: Final = 1_500_000_000


def export_vision(directory: Path) -> Path:
    """Write `vision.onnx` into the model directory, name it in the manifest and renew the digests.

    The graph takes uint8 [batch, height, width, 3] and gives float32 [batch, tokens, hidden]. Raises BundleError if
    the directory is no valid bundle.
    """
    bundle = ModelBundle.load(directory)
    model = load_model(directory)
    tower = VisionTower.from_model(model.model.visual, bundle.preprocessing, bundle.grid)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".export-") as scratch:
        export_tower(tower, bundle.manifest.layout.height_px, bundle.manifest.layout.width_px, Path(scratch))
        for file in Path(scratch).iterdir():
            file.replace(directory / file.name)
    settings = read_manifest(directory).settings.model_copy(update={"vision_onnx": VISION_FILE})
    write_manifest(directory, settings)
    return directory / VISION_FILE


def export_tower(tower: VisionTower, height_px: int, width_px: int, directory: Path) -> Path:
    """Write the tower as `vision.onnx`, and beside it a file of weights if they are too large for one."""
    # A batch of one would be taken for a constant.
    example = torch.zeros(2, height_px, width_px, 3, dtype=torch.uint8)
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in tower.parameters())
    with _quiet():
        torch.onnx.export(
            tower,
            (example,),
            directory / VISION_FILE,
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            external_data=weight_bytes > _LARGEST_SINGLE_FILE_BYTES,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=64)}},
        )
    return directory / VISION_FILE


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its own progress and its own deprecations; errors still come as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
