"""Batches are what the engine and transformers make of the same pictures and prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessor

from simulator.hospital import A
from training.data.batch import IGNORED, Collator, patches
from training.data.example import Example
from training.data.synthetic import Synthetic
from worker.model.bundle import ModelBundle
from worker.model.prompt import PromptBuilder
from worker.picture.layout import make_layout


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> ModelBundle:
    return ModelBundle.load(tiny_model)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(Synthetic(A, 1, 3, make_layout("3x4+II", 448, 336)))


def test_pixels_are_those_of_the_image_processor(bundle: ModelBundle, examples: list[Example]) -> None:
    processor = Qwen2VLImageProcessor.from_pretrained(bundle.directory)
    images = [example.image for example in examples]
    wanted = processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
    found = Collator(bundle).pixels(examples)
    assert torch.equal(found["image_grid_thw"], wanted["image_grid_thw"])
    assert found["pixel_values"].shape == wanted["pixel_values"].shape
    assert float((found["pixel_values"] - wanted["pixel_values"]).abs().max()) < 1e-5


def test_patches_follow_the_bundles_own_mean_and_scale(bundle: ModelBundle) -> None:
    white = np.full((1, 336, 448, 3), 255, np.uint8)
    paper = bundle.preprocessing.model_copy(update={"image_mean": (1.0, 1.0, 1.0)})
    assert float(patches(white, paper).abs().max()) < 1e-6


def test_only_the_target_and_the_end_of_the_turn_are_learned(bundle: ModelBundle, examples: list[Example]) -> None:
    batch = Collator(bundle)(examples)
    prompts = PromptBuilder(bundle)
    for row, example in enumerate(examples):
        ids, labels = batch["input_ids"][row], batch["labels"][row]
        asked = prompts.token_ids(example.facts)
        assert ids[: len(asked)].tolist() == asked
        assert (labels[: len(asked)] == IGNORED).all()
        learned = labels[labels != IGNORED].tolist()
        assert bundle.tokenizer.decode(learned) == example.target + bundle.tokenizer.eos_token
        assert batch["attention_mask"][row].sum() == len(asked) + len(learned)
        assert batch["mm_token_type_ids"][row].sum() == bundle.grid.tokens
