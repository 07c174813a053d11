"""`ecg-model.json`: what a model directory says of itself beyond its Hugging Face files, and the digest of every file.

The manifest makes a directory a *bundle*: the picture and the prompt that the model was trained on, the lengths it is
served with, how its probability is calibrated, and the SHA-256 of each file, so that nothing in it changes unseen.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from worker.model.errors import BundleError
from worker.picture.layout import Layout, make_layout

MANIFEST: Final = "ecg-model.json"

# Formats that run code when they are loaded, and code itself. Weights come as safetensors, which cannot.
_REFUSED_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so"})


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LayoutSettings(_Settings):
    """The picture that the model was trained on: the name of its layout, its size in pixels, paper speed and gain."""

    name: str
    width_px: PositiveInt
    height_px: PositiveInt
    speed_mm_per_s: PositiveFloat
    gain_mm_per_mv: PositiveFloat

    @classmethod
    def of(cls, layout: Layout) -> "LayoutSettings":
        """What a manifest says of a layout."""
        return cls(
            name=layout.name,
            width_px=layout.width_px,
            height_px=layout.height_px,
            speed_mm_per_s=layout.speed_mm_per_s,
            gain_mm_per_mv=layout.gain_mm_per_mv,
        )

    def layout(self) -> Layout:
        """The layout that is meant. Raises ValueError if it cannot be drawn legibly."""
        return make_layout(self.name, self.width_px, self.height_px, self.speed_mm_per_s, self.gain_mm_per_mv)


class PromptSettings(_Settings):
    """The fixed words around the facts: the system message, and the question that ends the user's message."""

    system: str
    question: str = Field(min_length=1)


class IdentityCalibration(_Settings):
    """The model's own probability, as it is."""

    kind: Literal["identity"] = "identity"

    def apply(self, probability: float) -> float:
        """The probability unchanged."""
        return probability


class TemperatureCalibration(_Settings):
    """Temperature scaling (Guo et al., ICML 2017): the log odds divided by a temperature fitted on held-out data."""

    kind: Literal["temperature"] = "temperature"
    temperature: PositiveFloat

    def apply(self, probability: float) -> float:
        """sigmoid(logit(p) / temperature); 0 and 1 stay what they are."""
        if probability <= 0.0 or probability >= 1.0:
            return probability
        log_odds = math.log(probability / (1.0 - probability)) / self.temperature
        # Of the two equal forms, the one whose exponential cannot overflow.
        tail = math.exp(-abs(log_odds))
        return 1.0 / (1.0 + tail) if log_odds >= 0 else tail / (1.0 + tail)


class ModelSettings(_Settings):
    """Everything the manifest says but the digests. `training` tells what the weights are good for.

    `prompt_tokens` is the length every prompt is padded to, image tokens included; `slots` is how many questions are
    decoded together; `threshold` is the calibrated probability from which an answer counts as ischemic; `vision_onnx`
    names the exported vision tower, or is None if torch is to run it.
    """

    name: str = Field(min_length=1)
    training: Literal["untrained", "demo", "trained"]
    layout: LayoutSettings
    prompt: PromptSettings
    prompt_tokens: PositiveInt
    max_new_tokens: PositiveInt
    slots: PositiveInt
    threshold: float = Field(ge=0.0, le=1.0)
    calibration: Annotated[IdentityCalibration | TemperatureCalibration, Field(discriminator="kind")]
    vision_onnx: str | None


class Manifest(ModelSettings):
    """The whole of `ecg-model.json`. `files` maps each file's name, relative to the directory, to its SHA-256."""

    schema_: Literal["ecg-model/1"] = Field(alias="schema")
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """One SHA-256 over the settings and all file digests: the identity of the bundle."""
        canonical = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def settings(self) -> ModelSettings:
        """The manifest without its schema and digests, as `write_manifest` takes it."""
        return ModelSettings.model_validate(self.model_dump(exclude={"schema_", "files"}))


def write_manifest(directory: Path, settings: ModelSettings) -> None:
    """Write `ecg-model.json` for the directory as it is now, in one step. Raises BundleError if a file is refused."""
    files = {name: _sha256(directory / name) for name in _files(directory)}
    manifest = Manifest.model_validate({"schema": "ecg-model/1", **settings.model_dump(), "files": files})
    unfinished = directory / f".{MANIFEST}.partial"
    unfinished.write_text(manifest.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(directory / MANIFEST)


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a model directory without looking at the other files. Raises BundleError."""
    if not directory.is_dir():
        raise BundleError(f"{directory} is not a directory. Give the path of a local model directory.")
    try:
        return Manifest.model_validate_json((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"{directory} has no {MANIFEST}. A Hugging Face directory needs one to say which picture and prompt the "
            "model was trained on; docs/model.md shows how to write it."
        ) from None
    except OSError as error:
        raise _unreadable(directory / MANIFEST, error) from None
    except ValidationError as error:
        raise BundleError(f"{directory / MANIFEST} is not valid: {_problems(error)}.") from None


def read_settings(path: Path) -> ModelSettings:
    """Read what a person wrote for a directory that has no manifest yet. Raises BundleError."""
    try:
        return ModelSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValidationError as error:
        raise BundleError(f"{path} is not valid: {_problems(error)}.") from None


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check that the directory holds exactly the listed files with the listed digests. Raises BundleError."""
    present = _files(directory)
    if missing := sorted(set(manifest.files) - set(present)):
        raise BundleError(f"{directory} lacks {', '.join(missing)}, which {MANIFEST} lists. Copy the directory again.")
    if unlisted := sorted(set(present) - set(manifest.files)):
        raise BundleError(f"{directory} holds {', '.join(unlisted)}, which {MANIFEST} does not list. Remove them.")
    for name in present:
        if _sha256(directory / name) != manifest.files[name]:
            raise BundleError(f"{directory / name} is not the file that {MANIFEST} lists. Copy the directory again.")


def _files(directory: Path) -> list[str]:
    """The names of all files that count, sorted: hidden ones and the manifest do not. Raises BundleError."""
    names: list[str] = []
    for parent, subdirectories, files in os.walk(directory):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        names += [(Path(parent) / name).relative_to(directory).as_posix() for name in files if not name.startswith(".")]
    names = sorted(name for name in names if name != MANIFEST)
    if refused := [name for name in names if Path(name).suffix.lower() in _REFUSED_SUFFIXES]:
        raise BundleError(
            f"{directory} holds {', '.join(refused)}. Such files can run code when they are loaded: remove them, and "
            "save weights as safetensors."
        )
    return names


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path} cannot be read: {error.strerror}. Let this user read it, or copy the directory again.")


def _problems(error: ValidationError) -> str:
    """What pydantic found, in one line."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
