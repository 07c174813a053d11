"""TRL's processor gives what the worker gives a model: its pixels, its token ids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.pixels import pixel_values
from training.methods.processor import processor_of
from worker.model.bundle import ModelBundle
from worker.model.facts import PromptFacts
from worker.model.prompt import PromptBuilder

PICTURE = np.random.default_rng(3).integers(0, 256, (336, 448, 3), np.uint8)
FACTS = PromptFacts(60.0, "female", ("chest pain",))


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> ModelBundle:
    return ModelBundle.load(tiny_model)


@pytest.fixture(scope="module")
def processor(bundle: ModelBundle) -> Any:
    return processor_of(bundle)


def test_a_picture_of_the_bundles_size_becomes_the_workers_pixels(bundle: ModelBundle, processor: Any) -> None:
    made = processor.image_processor(images=[Image.fromarray(PICTURE)], return_tensors="pt")
    assert made["image_grid_thw"].tolist() == [[1, bundle.grid.rows, bundle.grid.columns]]
    torch.testing.assert_close(made["pixel_values"], pixel_values(PICTURE, bundle), atol=1e-5, rtol=0)


def test_a_prompt_becomes_the_workers_token_ids(bundle: ModelBundle, processor: Any) -> None:
    prompts = PromptBuilder(bundle)
    text = processor.apply_chat_template(prompts.messages(FACTS), tokenize=False, add_generation_prompt=True)
    made = processor(text=[text], images=[Image.fromarray(PICTURE)], return_tensors="pt")
    assert made["input_ids"][0].tolist() == list(prompts.token_ids(FACTS))


def test_prompts_are_padded_on_the_left(processor: Any, bundle: ModelBundle) -> None:
    made = processor.tokenizer(["chest pain and more", "chest"], padding=True)
    assert made["attention_mask"][1][0] == 0
    assert made["input_ids"][1][0] == bundle.tokenizer.pad_token_id
    assert made["attention_mask"][1][-1] == 1
