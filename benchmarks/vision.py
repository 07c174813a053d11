"""The vision tower in ONNX Runtime against the same tower in transformers on torch, side by side on this machine.

    python -m benchmarks.vision [--width 560 --height 420 --depth 6 --rounds 5 --threads 2]

Both get the same bytes of the same image and give the same embeddings, which is checked; preprocessing counts on both
sides. The runs alternate, so that a busy moment of the machine hits both; processor time stands beside the time on the
clock, which means little on a machine with other work. The weights are random: this measures time.

What to expect depends on the processor: in float32 both are bound by its matrix products, whose rate on this machine is
printed beside them. Where torch already multiplies at that rate, no runtime can be much faster.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from worker.engine.vision import OrtVisionEncoder, TorchVisionEncoder, golden_image
from worker.model.bundle import Grid, Preprocessing
from worker.model.export import export_tower
from worker.model.tower import VisionTower

# The sizes of Qwen2-VL-2B's tower but for its depth, which is 32 there; time per image grows with it in proportion.
_WIDTH, _HEADS, _TEXT_WIDTH = 1280, 16, 1536
_TOWER: Any = Qwen2VisionTransformerPretrainedModel  # not typed


def main() -> None:
    """Build both, compare them, time them, print a table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    preprocessing = Preprocessing()
    grid = Grid(arguments.height // preprocessing.patch_size, arguments.width // preprocessing.patch_size, 2)
    config: Any = Qwen2VLVisionConfig(
        depth=arguments.depth, embed_dim=_WIDTH, num_heads=_HEADS, hidden_size=_TEXT_WIDTH
    )
    reference = _TOWER(config).eval().requires_grad_(False)
    tower = VisionTower.from_model(reference, preprocessing, grid)
    image = golden_image(arguments.height, arguments.width)
    with tempfile.TemporaryDirectory() as scratch:
        path = export_tower(tower, arguments.height, arguments.width, Path(scratch))
        served = OrtVisionEncoder(path, "cpu", arguments.threads)
        eager = TorchVisionEncoder(tower, torch.device("cpu"))
        contenders: dict[str, Callable[[], torch.Tensor]] = {
            "transformers, torch eager": lambda: _with_transformers(reference, image, preprocessing, grid),
            "own tower, torch eager": lambda: eager.encode(image),
            "own tower, ONNX Runtime": lambda: served.encode(image),
        }
        _check(contenders)
        seconds = _time(contenders, arguments.rounds)
    print(
        f"{arguments.width} x {arguments.height} px, {grid.tokens} tokens, depth {arguments.depth}, float32, "
        f"{arguments.threads} threads, {arguments.rounds} alternating rounds\n"
    )
    _print_table(seconds)
    print(
        f"matrix products alone: {_matrix_rate():.0f} GFLOP/s; the tower needs {_tower_gflop(config, grid):.0f} GFLOP"
    )


def _matrix_rate() -> float:
    """What torch reaches on a product of the tower's own shape, in GFLOP/s: the median of a few."""
    left, right = torch.randn(2400, _WIDTH), torch.randn(_WIDTH, 4 * _WIDTH)
    rates = []
    for _ in range(9):
        began = time.perf_counter()
        left @ right
        rates.append(2 * 2400 * _WIDTH * 4 * _WIDTH / (time.perf_counter() - began) / 1e9)
    return statistics.median(rates)


def _tower_gflop(config: Any, grid: Grid) -> float:
    """Multiplications and additions of the tower's matrix products, for one image."""
    patches, merged = grid.rows * grid.columns, grid.tokens
    layer = 24 * _WIDTH**2 * patches + 4 * patches**2 * _WIDTH
    ends = 2 * patches * 588 * _WIDTH + 2 * merged * (4 * _WIDTH) * (4 * _WIDTH + _TEXT_WIDTH)
    return float((config.depth * layer + ends) / 1e9)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.vision", description="ONNX Runtime against torch eager.")
    parser.add_argument("--width", type=int, default=560, help="image width in pixels, a multiple of 28")
    parser.add_argument("--height", type=int, default=420, help="image height in pixels, a multiple of 28")
    parser.add_argument("--depth", type=int, default=6, help="layers of the tower")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each")
    parser.add_argument("--threads", type=int, default=2, help="threads of each")
    return parser.parse_args()


def _with_transformers(tower: Any, image: NDArray[np.uint8], preprocessing: Preprocessing, grid: Grid) -> torch.Tensor:
    """What the image processor and the tower of transformers do, in numpy and torch as they do it."""
    mean, std = np.array(preprocessing.image_mean, np.float32), np.array(preprocessing.image_std, np.float32)
    pixels = ((image.astype(np.float32) * np.float32(preprocessing.rescale_factor) - mean) / std).transpose(2, 0, 1)
    merge, px = grid.merge, preprocessing.patch_size
    blocks = pixels.reshape(3, grid.rows // merge, merge, px, grid.columns // merge, merge, px)
    patches = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None].repeat(preprocessing.temporal_patch_size, 5)
    with torch.inference_mode():
        values = torch.from_numpy(patches.reshape(grid.rows * grid.columns, -1))
        embeddings: torch.Tensor = tower(values, grid_thw=torch.tensor([[1, grid.rows, grid.columns]])).pooler_output
    return embeddings


def _check(contenders: dict[str, Callable[[], torch.Tensor]]) -> None:
    """All must give the same numbers, or their times mean nothing. Also the warm-up."""
    wanted, *others = [run() for run in contenders.values()]
    for found in others:
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def _time(contenders: dict[str, Callable[[], torch.Tensor]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Per run, seconds on the clock and seconds of processor time."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return seconds


def _print_table(seconds: dict[str, list[tuple[float, float]]]) -> None:
    for column, title in enumerate(("clock", "processor")):
        times = {name: [run[column] for run in runs] for name, runs in seconds.items()}
        base, *_, served = times.values()
        print(f"{title + ' time':<28}{'median':>10}{'least':>10}{'most':>10}{'ratio':>10}")
        for name, item in times.items():
            ratio = statistics.median(base) / statistics.median(item)
            print(f"{name:<28}{statistics.median(item):>8.3f} s{min(item):>8.3f} s{max(item):>8.3f} s{ratio:>8.2f} x")
        ratios = [theirs / ours for theirs, ours in zip(base, served, strict=True)]
        print(
            f"ONNX Runtime against transformers, round by round: median {statistics.median(ratios):.2f} x, "
            f"from {min(ratios):.2f} x to {max(ratios):.2f} x\n"
        )


if __name__ == "__main__":
    main()
