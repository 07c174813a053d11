"""Which weights learn, and that a checkpoint's weights arrive."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.methods.run_directory import RunError
from training.methods.trainable import merged, restore, trainable, vision_tower
from training.models.build import Dimensions, build_model, build_tokenizer

# The library that adapts asks the model under a name that the model's library will give up.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SMALL = Dimensions(vision_width=32, vision_layers=1, text_width=48, text_layers=1, text_hidden=64)


def model(seed: int = 1, dimensions: Dimensions = SMALL) -> Any:
    return build_model(build_tokenizer(["chest pain"], 300), dimensions, seed=seed)


def learning(network: Any) -> set[str]:
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


def values(network: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


def test_all_weights_learn_where_no_rank_is_given() -> None:
    whole = model().requires_grad_(False)
    made = trainable(whole, rank=0, vision_rate=0.5)
    assert made is whole
    assert learning(made) == {name for name, _ in made.named_parameters()}


def test_without_a_rate_the_vision_tower_stays_as_it_is() -> None:
    made = trainable(model(), rank=0, vision_rate=0.0)
    names = {name for name, _ in made.named_parameters()}
    assert learning(made) == {name for name in names if ".visual." not in name}
    assert learning(made) < names


@pytest.mark.parametrize("vision_rate", [0.0, 1.0])
def test_with_a_rank_only_adapters_on_the_language_model_learn(vision_rate: float) -> None:
    made = trainable(model(), rank=4, vision_rate=vision_rate)
    names = learning(made)
    assert names
    assert all("lora_" in name and "language_model" in name for name in names)
    adapted = {part for name in names for part in name.split(".") if part.endswith("_proj")}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {weight.shape[0] for name, weight in made.named_parameters() if "lora_A" in name} == {4}


def test_merged_adapters_are_worked_into_the_weights_at_twice_their_rank() -> None:
    plain = values(model())
    made = trainable(model(), rank=4, vision_rate=1.0)
    name, up = next((name, weight) for name, weight in made.named_parameters() if "q_proj.lora_B" in name)
    down = dict(made.named_parameters())[name.replace("lora_B", "lora_A")]
    torch.nn.init.ones_(up)
    added = 2 * up.detach() @ down.detach()
    whole = merged(made)
    assert not learning(whole)
    assert not whole.training
    assert set(values(whole)) == set(plain)
    (changed,) = [name for name, weight in values(whole).items() if not torch.equal(weight, plain[name])]
    assert changed.endswith("q_proj.weight")
    torch.testing.assert_close(values(whole)[changed] - plain[changed], added)


def test_a_model_without_adapters_is_served_as_it_is() -> None:
    whole = trainable(model(), rank=0, vision_rate=1.0).train()
    assert merged(whole) is whole
    assert not learning(whole)
    assert not whole.training


@pytest.mark.parametrize("rank", [0, 4])
def test_the_vision_tower_is_found_behind_adapters_too(rank: int) -> None:
    whole = model()
    tower = whole.model.visual
    assert vision_tower(trainable(whole, rank, vision_rate=1.0)) is tower


def test_without_a_checkpoint_nothing_is_restored() -> None:
    network = model()
    before = values(network)
    restore(network, None)
    assert all(torch.equal(weight, before[name]) for name, weight in values(network).items())


def test_every_weight_of_a_checkpoint_arrives_the_vision_towers_too(tmp_path: Path) -> None:
    kept, network = model(seed=1), model(seed=2)
    kept.save_pretrained(tmp_path)
    restore(network, str(tmp_path))
    wanted = values(kept)
    assert all(torch.equal(weight, wanted[name]) for name, weight in values(network).items())


def test_heads_that_learn_beside_the_model_are_left_as_they_are(tmp_path: Path) -> None:
    model(seed=1).save_pretrained(tmp_path)
    network = model(seed=2)
    network.reading = torch.nn.Linear(2, 2)
    before = network.reading.weight.detach().clone()
    restore(network, str(tmp_path))
    assert torch.equal(network.reading.weight, before)


def test_adapters_are_left_to_the_trainer(tmp_path: Path) -> None:
    adapted = trainable(model(), rank=4, vision_rate=0.0)
    restore(adapted, str(tmp_path / "nowhere"))


def test_a_checkpoint_of_fewer_layers_is_refused(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    deeper = model(dimensions=replace(SMALL, text_layers=2))
    with pytest.raises(RunError, match="does not hold this model"):
        restore(deeper, str(tmp_path))


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    held = load_file(file)
    del held[next(name for name in held if name.endswith("q_proj.weight"))]
    save_file(held, file, metadata={"format": "pt"})
    network = model(seed=2)
    before = values(network)
    with pytest.raises(RunError, match="does not hold this model"):
        restore(network, str(tmp_path))
    assert all(torch.equal(weight, before[name]) for name, weight in values(network).items())
