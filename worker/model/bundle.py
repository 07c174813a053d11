"""A model directory, verified: everything the engine has to know before it loads a single weight.

A directory is any local Hugging Face directory of `Qwen2VLForConditionalGeneration` plus `ecg-model.json`. Whatever
does not fit the engine is refused here, with a message that says what to do.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from worker.model.errors import BundleError
from worker.model.facts import NOT_PROVIDED, WORDING
from worker.model.huggingface import load_config, load_tokenizer
from worker.model.manifest import Manifest, read_manifest, verify_files

_ARCHITECTURE: Final = "Qwen2VLForConditionalGeneration"


class Preprocessing(BaseModel):
    """How pixels become the tower's input, from the image processor's configuration; defaults as transformers has them.

    Images are never resized: their size must be one that the processor would leave as it is.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    rescale_factor: float = 1 / 255
    do_rescale: bool = True
    do_normalize: bool = True
    patch_size: int = 14
    merge_size: int = 2
    temporal_patch_size: int = 2
    size: dict[str, int] | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None

    @property
    def pixel_range(self) -> tuple[int, int]:
        """Fewest and most pixels that the processor leaves as they are. The older names win, as in transformers."""
        size = self.size or {}
        least = self.min_pixels or size.get("min_pixels") or size.get("shortest_edge") or 56 * 56
        most = self.max_pixels or size.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280
        return least, most


@dataclass(frozen=True, slots=True)
class Grid:
    """The image in patches: rows x columns of them, merged `merge` x `merge` into one token of the language model."""

    rows: int
    columns: int
    merge: int

    @property
    def tokens(self) -> int:
        """Tokens that the image takes in the prompt."""
        return self.rows * self.columns // self.merge**2


@dataclass(frozen=True, slots=True, eq=False)
class ModelBundle:
    """A verified model directory. `config` and `tokenizer` are those of transformers.

    `digest` identifies the files and the settings; `prompt_digest` everything that words the prompt.
    """

    directory: Path
    manifest: Manifest
    preprocessing: Preprocessing
    grid: Grid
    config: Any
    tokenizer: Any
    digest: str
    prompt_digest: str

    @classmethod
    def load(cls, path: Path) -> "ModelBundle":
        """Verify the directory and read its configuration. Raises BundleError."""
        manifest = read_manifest(path)
        verify_files(path, manifest)
        if not any(name.endswith(".safetensors") for name in manifest.files):
            raise BundleError(f"{path} has no safetensors file. Save the weights with safe serialisation.")
        if manifest.vision_onnx is not None and manifest.vision_onnx not in manifest.files:
            raise BundleError(
                f"{path} lacks {manifest.vision_onnx}. Set vision_onnx to null, then run `ecg-worker export-vision`."
            )
        _check_architecture(path)
        config = load_config(path)
        preprocessing = _read_preprocessing(path)
        _check_config(config, preprocessing)
        tokenizer = load_tokenizer(path)
        _check_tokens(config, tokenizer)
        grid = _grid(manifest, preprocessing)
        _check_layout(manifest)
        return cls(
            directory=path,
            manifest=manifest,
            preprocessing=preprocessing,
            grid=grid,
            config=config,
            tokenizer=tokenizer,
            digest=manifest.digest,
            prompt_digest=_prompt_digest(manifest, tokenizer),
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise BundleError(f"{path} is missing or is not JSON. Copy the directory again.") from None
    if not isinstance(content, dict):
        raise BundleError(f"{path} is not a JSON object. Copy the directory again.")
    return content


def _check_architecture(path: Path) -> None:
    architectures = _read_json(path / "config.json").get("architectures")
    if architectures != [_ARCHITECTURE]:
        raise BundleError(f"{path / 'config.json'} is not for {_ARCHITECTURE}, the one architecture served here.")


def _read_preprocessing(path: Path) -> Preprocessing:
    """Newer transformers nest the image processor in `processor_config.json`, and prefer it when both are there."""
    nested = path / "processor_config.json"
    content = _read_json(nested).get("image_processor") if nested.is_file() else None
    try:
        return Preprocessing.model_validate(content or _read_json(path / "preprocessor_config.json"))
    except ValidationError:
        raise BundleError(f"The image processor's configuration in {path} is not one of Qwen2-VL.") from None


def _check_config(config: Any, preprocessing: Preprocessing) -> None:
    """The parts of the architecture that the engine does itself must be the ones it knows."""
    vision, text = config.vision_config, config.text_config
    wanted: dict[str, tuple[object, object]] = {
        "vision hidden_act": (vision.hidden_act, "quick_gelu"),
        "vision in_channels": (vision.in_channels, 3),
        "vision hidden_size": (vision.hidden_size, text.hidden_size),
        "layer types": (set(text.layer_types), {"full_attention"}),
        "text rope_type": (text.rope_parameters["rope_type"], "default"),
        "patch_size": (preprocessing.patch_size, vision.patch_size),
        "merge_size": (preprocessing.merge_size, vision.spatial_merge_size),
        "temporal_patch_size": (preprocessing.temporal_patch_size, vision.temporal_patch_size),
        "do_rescale": (preprocessing.do_rescale, True),
        "do_normalize": (preprocessing.do_normalize, True),
    }
    if odd := [name for name, (found, expected) in wanted.items() if found != expected]:
        raise BundleError(f"The model's configuration is not one that the engine can serve: {', '.join(odd)}.")


def _check_tokens(config: Any, tokenizer: Any) -> None:
    if tokenizer.chat_template is None:
        raise BundleError("The tokenizer has no chat template. Add the model's chat_template.jinja.")
    added = set(tokenizer.get_added_vocab().values())
    required = {
        "image_token_id": config.image_token_id,
        "vision_start_token_id": config.vision_start_token_id,
        "vision_end_token_id": config.vision_end_token_id,
        "the end-of-turn token": tokenizer.eos_token_id,
        "the padding token": tokenizer.pad_token_id,
    }
    if missing := [name for name, token in required.items() if token not in added]:
        raise BundleError(f"The tokenizer lacks special tokens that the model needs: {', '.join(missing)}.")
    if len(tokenizer) > config.text_config.vocab_size:
        raise BundleError("The tokenizer has more tokens than the model. Use the tokenizer it was trained with.")


def _check_layout(manifest: Manifest) -> None:
    try:
        manifest.layout.layout()
    except ValueError as error:
        raise BundleError(f"The layout cannot be drawn: {error}. Use that of the training.") from None


def _grid(manifest: Manifest, preprocessing: Preprocessing) -> Grid:
    width_px, height_px = manifest.layout.width_px, manifest.layout.height_px
    step = preprocessing.patch_size * preprocessing.merge_size
    if width_px % step or height_px % step:
        raise BundleError(
            f"The layout's {width_px} x {height_px} px is not a multiple of {step} px in both directions."
        )
    least, most = preprocessing.pixel_range
    if not least <= width_px * height_px <= most:
        raise BundleError(
            f"The layout's {width_px} x {height_px} px lies outside the image processor's {least} to {most} pixels, so "
            "it would be resized. Use the layout and the image processor of the training."
        )
    return Grid(height_px // preprocessing.patch_size, width_px // preprocessing.patch_size, preprocessing.merge_size)


def _prompt_digest(manifest: Manifest, tokenizer: Any) -> str:
    words = [WORDING, NOT_PROVIDED, tokenizer.chat_template, manifest.prompt.system, manifest.prompt.question]
    return hashlib.sha256(json.dumps([*words, manifest.prompt_tokens]).encode()).hexdigest()
