"""The demo model before its first lesson: its picture, its size, its words. `make_demo` teaches it."""

from pathlib import Path
from typing import Final

from simulator.hospital import A
from training.data.synthetic import Augmentation, Synthetic
from training.models.build import Dimensions, build_model, build_tokenizer, save_bundle
from worker.model.bundle import Preprocessing
from worker.model.facts import clinical_line, question_text
from worker.model.manifest import IdentityCalibration, LayoutSettings, ModelSettings, PromptSettings
from worker.picture.layout import Layout, make_layout

# Two rows of tokens to a row of leads: 56 px are 35 mm at 1.6 px/mm. 0.1 mV, the least inversion, is 1.6 px.
LAYOUT: Final[Layout] = make_layout("3x4", width_px=448, height_px=196)

DIMENSIONS: Final = Dimensions(
    vision_width=96,
    vision_layers=4,
    vision_heads=2,
    text_width=128,
    text_layers=4,
    text_heads=4,
    text_kv_heads=2,
    text_hidden=384,
    vocabulary=768,
    tied_embeddings=True,
    initializer_range=0.04,
    # Sequences of 300 tokens and pictures of 32 patches a side need no angles for thousands.
    text_rope_theta=1_000.0,
    vision_rope_theta=100.0,
)
# White paper is zero, ink four below: the constant of a white page would drown the thin lines of a trace.
PIXELS: Final = Preprocessing(image_mean=(1.0, 1.0, 1.0), image_std=(0.25, 0.25, 0.25))
SYSTEM: Final = "You read 12-lead ECGs."
QUESTION: Final = "Is this T-wave inversion ischemic?"
SETTINGS: Final = ModelSettings(
    name="ecg-r1-demo",
    training="demo",
    layout=LayoutSettings.of(LAYOUT),
    prompt=PromptSettings(system=SYSTEM, question=QUESTION),
    prompt_tokens=320,
    max_new_tokens=192,
    slots=8,
    threshold=0.5,
    calibration=IdentityCalibration(),
    vision_onnx=None,
)

_CORPUS: Final = Synthetic(A, seed=5, length=1500, layout=LAYOUT, augmentation=Augmentation())
"""What the tokenizer is learned from: other ECGs than any model learns from or is tested on."""


def build_start(directory: Path) -> Path:
    """The model before its first lesson: random weights, and a tokenizer learned from what it will read and write."""
    texts = [f"system user assistant {SYSTEM} {QUESTION}"]
    for example in _CORPUS:
        texts.append(question_text(example.facts, clinical_line(example.facts.clinical_texts), QUESTION))
        texts.append(example.target)
    tokenizer = build_tokenizer(texts, DIMENSIONS.vocabulary)
    save_bundle(directory, build_model(tokenizer, DIMENSIONS, seed=10), tokenizer, SETTINGS, PIXELS)
    return directory
