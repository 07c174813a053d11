"""The vision tower computes what transformers computes, wherever it runs; a wrong one is noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from tests.support.pixels import pixel_values
from worker.engine.vision import OrtVisionEncoder, TorchVisionEncoder, check_golden, golden_image
from worker.model.bundle import ModelBundle
from worker.model.errors import EngineError
from worker.model.huggingface import load_model
from worker.model.tower import VisionTower

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> ModelBundle:
    return ModelBundle.load(tiny_model)


@pytest.fixture(scope="module")
def visual(tiny_model: Path) -> Any:
    return load_model(tiny_model).model.visual


@pytest.fixture(scope="module")
def tower(bundle: ModelBundle, visual: Any) -> VisionTower:
    return VisionTower.from_model(visual, bundle.preprocessing, bundle.grid)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (3, 336, 448, 3), np.uint8)


@pytest.fixture(scope="module")
def wanted(bundle: ModelBundle, visual: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    grid = torch.tensor([[1, bundle.grid.rows, bundle.grid.columns]])
    with torch.inference_mode():
        rows = [visual(pixel_values(image, bundle), grid_thw=grid).pooler_output for image in images]
    return np.stack([row.numpy() for row in rows])


def relative_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_pixel_values_are_those_of_the_image_processor(bundle: ModelBundle, images: NDArray[np.uint8]) -> None:
    pytest.importorskip("PIL", reason="transformers' image processor needs Pillow, which nothing else here does")
    from transformers import Qwen2VLImageProcessorPil

    processor: Any = Qwen2VLImageProcessorPil.from_pretrained(bundle.directory)
    found = processor(images=[images[0]], return_tensors="pt", input_data_format="channels_last")
    assert found["image_grid_thw"].tolist() == [[1, bundle.grid.rows, bundle.grid.columns]]
    torch.testing.assert_close(pixel_values(images[0], bundle), found["pixel_values"], atol=1e-6, rtol=0)


def test_the_tower_computes_what_transformers_computes(
    tower: VisionTower, images: NDArray[np.uint8], wanted: NDArray[np.float32]
) -> None:
    encoder = TorchVisionEncoder(tower, CPU)
    assert relative_error(np.stack([encoder.encode(image).numpy() for image in images]), wanted) < 1e-5
    with torch.inference_mode():
        assert relative_error(tower(torch.from_numpy(images)).numpy(), wanted) < 1e-5


def test_onnx_runtime_computes_what_transformers_computes(
    bundle: ModelBundle, images: NDArray[np.uint8], wanted: NDArray[np.float32]
) -> None:
    encoder = OrtVisionEncoder(bundle.directory / "vision.onnx", "cpu", threads=1)
    assert encoder.name == "onnxruntime CPUExecutionProvider"
    found = [encoder.encode(image) for image in images]
    assert relative_error(np.stack([item.numpy() for item in found]), wanted) < 1e-5
    assert torch.equal(encoder.encode(images[1]), found[1])


def test_the_graph_takes_bytes_and_any_number_of_images(
    bundle: ModelBundle, images: NDArray[np.uint8], wanted: NDArray[np.float32]
) -> None:
    import onnxruntime

    graph = onnx.load(bundle.directory / "vision.onnx").graph
    dimensions = graph.input[0].type.tensor_type.shape.dim
    assert dimensions[0].dim_param == "batch"
    assert [dimension.dim_value for dimension in dimensions[1:]] == [336, 448, 3]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    session: Any = onnxruntime.InferenceSession(bundle.directory / "vision.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 3):
        (found,) = session.run(None, {"image": images[:count]})
        assert relative_error(found, wanted[:count]) < 1e-5


def test_a_graph_of_other_weights_fails_the_golden_image(bundle: ModelBundle, visual: Any) -> None:
    encoder = OrtVisionEncoder(bundle.directory / "vision.onnx", "cpu", threads=1)
    tower = VisionTower.from_model(visual, bundle.preprocessing, bundle.grid)
    check_golden(encoder, tower, 336, 448)
    with torch.no_grad():
        tower.merge2.weight[0] *= 1.1
    with pytest.raises(EngineError, match="golden image is off"):
        check_golden(encoder, tower, 336, 448)


def test_an_encoder_that_gives_no_numbers_fails_the_golden_image(tower: VisionTower) -> None:
    class Broken(TorchVisionEncoder):
        def encode(self, image: NDArray[np.uint8]) -> torch.Tensor:
            return super().encode(image) * float("nan")

    with pytest.raises(EngineError, match="golden image is off"):
        check_golden(Broken(tower, CPU), tower, 336, 448)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test takes away")
def test_without_a_gpu_cuda_is_an_error_and_not_the_cpu(bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match="CUDA"):
        OrtVisionEncoder(bundle.directory / "vision.onnx", "cuda", threads=None)


def test_a_broken_graph_is_an_engine_error(tmp_path: Path) -> None:
    (tmp_path / "vision.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match="cannot load"):
        OrtVisionEncoder(tmp_path / "vision.onnx", "cpu", threads=1)


def test_the_golden_image_is_the_same_everywhere() -> None:
    image = golden_image(4, 5)
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == golden_image(4, 5)[0, 0].tolist()
