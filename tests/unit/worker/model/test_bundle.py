"""A model directory is refused unless it is exactly what it says it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.model.bundle import Grid, ModelBundle
from worker.model.errors import BundleError
from worker.model.manifest import (
    MANIFEST,
    IdentityCalibration,
    TemperatureCalibration,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def relist(directory: Path) -> None:
    """Renew the digests, so that a changed file is judged by what is in it."""
    write_manifest(directory, read_manifest(directory).settings)


def test_a_complete_directory_loads(tiny_model: Path) -> None:
    bundle = ModelBundle.load(tiny_model)
    assert bundle.manifest.training == "untrained"
    assert bundle.grid == Grid(rows=24, columns=32, merge=2)
    assert bundle.grid.tokens == 192
    assert len(bundle.digest) == len(bundle.prompt_digest) == 64


def test_the_digest_depends_on_files_and_settings_and_not_on_the_place(model: Path, tiny_model: Path) -> None:
    original = ModelBundle.load(tiny_model)
    assert ModelBundle.load(model).digest == original.digest
    settings = read_manifest(model).settings
    write_manifest(model, settings.model_copy(update={"threshold": 0.6}))
    assert ModelBundle.load(model).digest != original.digest
    write_manifest(model, settings)
    edit_json(model / "generation_config.json", lambda content: content.update(top_k=1))
    relist(model)
    changed = ModelBundle.load(model)
    assert changed.digest != original.digest
    assert changed.prompt_digest == original.prompt_digest


def test_the_prompt_digest_depends_on_the_words(model: Path, tiny_model: Path) -> None:
    settings = read_manifest(model).settings
    prompt = settings.prompt.model_copy(update={"question": "Ischemia?"})
    write_manifest(model, settings.model_copy(update={"prompt": prompt}))
    assert ModelBundle.load(model).prompt_digest != ModelBundle.load(tiny_model).prompt_digest


@pytest.mark.parametrize("name", ["Qwen/Qwen2-VL-2B-Instruct", "/nowhere"])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="not a directory"):
        ModelBundle.load(Path(name))


def test_files_that_cannot_be_read_are_named(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.unlink()
    weights.symlink_to(model / "nowhere")
    with pytest.raises(BundleError, match=r"model.safetensors cannot be read: No such file"):
        ModelBundle.load(model)
    manifest = model / "ecg-model.json"
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(BundleError, match=r"ecg-model.json cannot be read: Is a directory"):
        ModelBundle.load(model)


def test_a_directory_without_a_manifest_is_refused(model: Path) -> None:
    (model / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"has no ecg-model\.json"):
        ModelBundle.load(model)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(colour="blue"),
        lambda content: content.pop("prompt_tokens"),
        lambda content: content.update(threshold=1.5),
        lambda content: content.update(calibration={"kind": "temperature", "temperature": 0}),
        lambda content: content.update(schema="ecg-model/2"),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_refused(model: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    edit_json(model / MANIFEST, edit)
    with pytest.raises(BundleError, match="is not valid"):
        ModelBundle.load(model)


def test_one_changed_byte_is_seen(model: Path) -> None:
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file"):
        ModelBundle.load(model)


def test_a_missing_and_an_unlisted_file_are_refused(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"adapter_config\.json, which ecg-model\.json does not list"):
        ModelBundle.load(model)
    (model / "adapter_config.json").rename(model / ".hidden")
    (model / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"lacks tokenizer\.json"):
        ModelBundle.load(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "checkpoint-1/scheduler.pkl", "modeling.py"])
def test_files_that_can_run_code_are_refused_even_when_listed(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")
    with pytest.raises(BundleError, match="can run code"):
        relist(model)
    with pytest.raises(BundleError, match="can run code"):
        ModelBundle.load(model)


def test_another_architecture_is_refused(model: Path) -> None:
    edit_json(model / "config.json", lambda content: content.update(architectures=["LlamaForCausalLM"]))
    relist(model)
    with pytest.raises(BundleError, match="not for Qwen2VLForConditionalGeneration"):
        ModelBundle.load(model)


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (lambda content: content["vision_config"].update(hidden_act="gelu"), "hidden_act"),
        (
            lambda content: content["text_config"].update(
                layer_types=["full_attention", "sliding_attention"], use_sliding_window=True
            ),
            "layer types",
        ),
    ],
)
def test_an_architecture_detail_that_the_engine_does_not_compute_is_refused(
    model: Path, edit: Callable[[dict[str, Any]], object], name: str
) -> None:
    edit_json(model / "config.json", edit)
    relist(model)
    with pytest.raises(BundleError, match=name):
        ModelBundle.load(model)


@pytest.mark.parametrize(
    ("width_px", "height_px", "message"),
    [(450, 336, "multiple of 28"), (28, 28, "would be resized"), (2800, 2800, "would be resized")],
)
def test_a_picture_that_would_be_resized_is_refused(model: Path, width_px: int, height_px: int, message: str) -> None:
    settings = read_manifest(model).settings
    layout = settings.layout.model_copy(update={"width_px": width_px, "height_px": height_px})
    write_manifest(model, settings.model_copy(update={"layout": layout}))
    with pytest.raises(BundleError, match=message):
        ModelBundle.load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "6x2+II"}, "layout"), ({"gain_mm_per_mv": 15.0}, "gain must be"), ({"speed_mm_per_s": 30.0}, "speed")],
)
def test_a_layout_that_cannot_be_drawn_is_refused(model: Path, change: dict[str, Any], message: str) -> None:
    settings = read_manifest(model).settings
    write_manifest(model, settings.model_copy(update={"layout": settings.layout.model_copy(update=change)}))
    with pytest.raises(BundleError, match=f"cannot be drawn: .*{message}.*training"):
        ModelBundle.load(model)


def test_the_image_processor_may_be_nested_as_newer_transformers_save_it(model: Path) -> None:
    content = json.loads((model / "preprocessor_config.json").read_text())
    (model / "preprocessor_config.json").unlink()
    content["image_mean"] = [0.5, 0.5, 0.5]
    (model / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    relist(model)
    assert ModelBundle.load(model).preprocessing.image_mean == (0.5, 0.5, 0.5)


def test_the_old_names_of_the_pixel_range_are_read(model: Path) -> None:
    edit_json(model / "preprocessor_config.json", lambda content: content.update(min_pixels=3136, max_pixels=10000))
    relist(model)
    with pytest.raises(BundleError, match="3136 to 10000 pixels"):
        ModelBundle.load(model)


@pytest.mark.parametrize("key", ["image_token_id", "vision_start_token_id"])
def test_a_tokenizer_without_the_models_tokens_is_refused(model: Path, key: str) -> None:
    edit_json(model / "config.json", lambda content: content.update({key: 65}))
    relist(model)
    with pytest.raises(BundleError, match=key):
        ModelBundle.load(model)


def test_a_tokenizer_without_a_chat_template_is_refused(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    relist(model)
    with pytest.raises(BundleError, match="chat template"):
        ModelBundle.load(model)


def test_a_named_graph_must_be_there(model: Path) -> None:
    (model / "vision.onnx").unlink()
    relist(model)
    with pytest.raises(BundleError, match=r"lacks vision\.onnx"):
        ModelBundle.load(model)


def test_temperature_scaling_moves_towards_one_half_and_keeps_order() -> None:
    calibration = TemperatureCalibration(temperature=2.0)
    assert calibration.apply(0.5) == 0.5
    assert calibration.apply(0.9) == pytest.approx(0.75)
    assert calibration.apply(0.1) == pytest.approx(0.25)
    assert [calibration.apply(p) for p in (0.0, 1.0)] == [0.0, 1.0]
    assert 0.0 <= TemperatureCalibration(temperature=1e-9).apply(0.4) < 1e-9
    assert IdentityCalibration().apply(0.3) == 0.3
