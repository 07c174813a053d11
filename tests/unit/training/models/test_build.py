"""Model directories made here are complete, small, and the same each time."""

from pathlib import Path

import pytest
import torch

from training.models.build import Dimensions, build_model, build_tokenizer, build_untrained
from worker.model.bundle import ModelBundle
from worker.model.huggingface import load_model


def test_the_same_seed_gives_the_same_weights_and_another_seed_other_ones() -> None:
    tokenizer = build_tokenizer(["chest pain"], 300)
    first, again, other = (build_model(tokenizer, Dimensions(), seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in first.items())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(tiny_model: Path, tmp_path: Path) -> None:
    again = ModelBundle.load(build_untrained(tmp_path / "again"))
    first = ModelBundle.load(tiny_model)
    assert again.manifest.files == first.manifest.files
    assert again.digest == first.digest
    small = build_untrained(tmp_path / "other", width_px=280, height_px=196, seed=1)
    assert ModelBundle.load(small).grid.tokens == 70
    assert ModelBundle.load(small).manifest.files["model.safetensors"] != first.manifest.files["model.safetensors"]


def test_an_untrained_model_says_that_it_is_untrained(tiny_model: Path) -> None:
    assert ModelBundle.load(tiny_model).manifest.training == "untrained"


def test_it_is_a_few_hundred_thousand_parameters(tiny_model: Path) -> None:
    assert 100_000 < sum(weight.numel() for weight in load_model(tiny_model).parameters()) < 1_000_000


def test_building_leaves_the_random_numbers_of_others_alone() -> None:
    state = torch.random.get_rng_state()
    build_model(build_tokenizer(["chest pain"], 300), Dimensions(), seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_tokenizer_reads_back_any_text() -> None:
    tokenizer = build_tokenizer(["chest pain"], 300)
    for text in ("Thoraxschmerz seit 2 h, µV ≥ 0.1", "胸痛", "a\r\n\tb  c"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
