"""Running the vision tower: in ONNX Runtime, or in torch where a bundle has no exported graph.

The provider is the one that was asked for or none: ONNX Runtime steps down to the CPU without an error, so it is asked
afterwards what it really uses, and a golden image must come out as torch computes it.
"""

from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from worker.model.errors import EngineError
from worker.model.export import INPUT, OUTPUT
from worker.model.tower import VisionTower

Provider = Literal["cpu", "cuda"]

_PROVIDERS: Final[dict[Provider, tuple[str, dict[str, str]]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # No TF32 and no timed choice of kernels: the same input must give the same output on the next start too.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}),
}

# Two correct float32 computations of a tower of 32 layers differ by about 1e-6 of the largest value (measured); a
# wrong graph, stale weights or a broken kernel differ by far more than a thousandth of it.
_TOLERANCE: Final = 1e-3


class VisionEncoder(Protocol):
    """Turns one image into the embeddings of its tokens."""

    @property
    def name(self) -> str:
        """What runs the tower, for the fingerprint."""
        ...

    def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 [height, width, 3] to float32 [tokens, hidden], on the CPU or the decoder's device."""
        ...


class TorchVisionEncoder:
    """The tower in torch, one image at a time, in float32."""

    def __init__(self, tower: VisionTower, device: torch.device) -> None:
        self._tower = tower.to(device)
        self._device = device

    @property
    def name(self) -> str:
        """What runs the tower, for the fingerprint."""
        return "torch"

    def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 [height, width, 3] to float32 [tokens, hidden], on the encoder's device."""
        with torch.inference_mode():
            # A copy: torch warns of arrays that it could not write to.
            embeddings: torch.Tensor = self._tower(torch.tensor(image[None], device=self._device))[0]
        return embeddings


class OrtVisionEncoder:
    """The exported tower in ONNX Runtime, one image at a time: neighbours cannot change a result. On the CPU."""

    def __init__(self, path: Path, provider: Provider, threads: int | None) -> None:
        """Raises EngineError if the graph does not load or not on this provider."""
        self._provider, provider_options = _PROVIDERS[provider]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        if threads is not None:
            options.intra_op_num_threads = threads
        if provider == "cuda":
            # torch has loaded every CUDA library that ONNX Runtime needs but cuRAND.
            onnxruntime.preload_dlls()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                path, sess_options=options, providers=[(self._provider, provider_options)]
            )
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {path} ({type(error).__name__}).") from error
        self._session.disable_fallback()
        if self._session.get_providers()[0] != self._provider:
            raise EngineError(
                f"ONNX Runtime cannot use {self._provider} here. Check the driver and the CUDA libraries, or ask for "
                "the CPU."
            )

    @property
    def name(self) -> str:
        """What runs the tower, for the fingerprint."""
        return f"onnxruntime {self._provider}"

    def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 [height, width, 3] to float32 [tokens, hidden], on the CPU."""
        embeddings: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: image[None]})[0][0]
        return torch.from_numpy(embeddings)


def check_golden(encoder: VisionEncoder, tower: VisionTower, height_px: int, width_px: int) -> None:
    """Compare the encoder with the tower in torch, on the CPU, on one image of every shade. Raises EngineError."""
    image = golden_image(height_px, width_px)
    wanted = TorchVisionEncoder(tower, torch.device("cpu")).encode(image)
    found = encoder.encode(image).cpu()
    if found.shape != wanted.shape:
        raise EngineError("The exported vision tower gives another shape. Run `ecg-worker export-vision` again.")
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    if not difference <= _TOLERANCE:
        raise EngineError(
            f"{encoder.name} computes the vision tower wrongly: the golden image is off by {difference:.2g} of the "
            "largest value. Run `ecg-worker export-vision` again; if that does not help, this machine is not fit."
        )


def golden_image(height_px: int, width_px: int) -> NDArray[np.uint8]:
    """A fixed picture in which every pixel matters: the same noise on every machine."""
    return np.random.Generator(np.random.PCG64(0)).integers(0, 256, (height_px, width_px, 3), np.uint8)
