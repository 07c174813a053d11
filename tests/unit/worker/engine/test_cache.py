"""Slots of keys and values, and the attention over them against torch's own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AttentionInterface

from worker.engine.cache import PromptCache, SlotCache, _attend, use_slot_attention

SLOTS, LENGTH, KEY_HEADS, HEADS, HEAD = 3, 7, 2, 6, 4
CONFIG = SimpleNamespace(
    num_key_value_heads=KEY_HEADS, hidden_size=HEADS * HEAD, num_attention_heads=HEADS, num_hidden_layers=2
)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slots(dtype: torch.dtype = torch.float32) -> SlotCache:
    return SlotCache(CONFIG, SLOTS, LENGTH, torch.zeros(1, dtype=dtype))


def prompt(length: int, seed: int = 1) -> PromptCache:
    cache = PromptCache()
    for layer in range(2):
        cache.update(
            noise(1, KEY_HEADS, length, HEAD, seed=seed + layer),
            noise(1, KEY_HEADS, length, HEAD, seed=seed + layer + 100),
            layer,
        )
    return cache


def kept(cache: SlotCache, layer: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return cache._layers[layer]


def test_a_prompt_is_given_back_as_it_came_layer_by_layer() -> None:
    cache = PromptCache()
    keys, values = noise(1, KEY_HEADS, 5, HEAD), noise(1, KEY_HEADS, 5, HEAD, seed=2)
    assert cache.update(keys, values, 0) == (keys, values)
    with pytest.raises(AssertionError):
        cache.update(keys, values, 2)
    cache.update(values, keys, 1)
    assert [layer[0] is keys for layer in cache.layers] == [True, False]


def test_slots_have_the_shape_of_the_model_and_the_type_of_the_example() -> None:
    cache = slots(torch.bfloat16)
    for layer in range(2):
        for tensor in kept(cache, layer):
            assert tensor.shape == (SLOTS, KEY_HEADS, LENGTH, HEAD)
            assert tensor.dtype == torch.bfloat16
            assert not tensor.any()


def test_a_prompt_fills_its_slot_and_no_other_and_clears_what_was_behind_it() -> None:
    cache = slots()
    for layer in range(2):
        for tensor in kept(cache, layer):
            tensor.fill_(float("nan"))
    cache.fill(1, prompt(5), 4)
    for layer in range(2):
        for tensor, given in zip(kept(cache, layer), prompt(5).layers[layer], strict=True):
            assert torch.equal(tensor[1, :, :4], given[0, :, :4])
            assert not tensor[1, :, 4:].any()
            assert tensor[[0, 2]].isnan().all()


def test_keys_and_values_are_not_confused() -> None:
    cache = slots()
    cache.fill(0, prompt(5), 5)
    keys, values = kept(cache)
    assert not torch.equal(keys[0], values[0])
    assert torch.equal(values[0, :, :5], prompt(5).layers[0][1][0])


def test_a_prompt_of_other_layers_is_refused() -> None:
    cache, one_layer = slots(), PromptCache()
    one_layer.update(noise(1, KEY_HEADS, 5, HEAD), noise(1, KEY_HEADS, 5, HEAD), 0)
    with pytest.raises(ValueError, match="zip"):
        cache.fill(0, one_layer, 5)


def test_each_slot_may_look_at_its_own_past_and_the_new_token() -> None:
    mask = slots().at(torch.tensor([0, 3, LENGTH - 1]))
    assert mask.shape == (SLOTS, 1, 1, LENGTH)
    assert mask[:, 0, 0].sum(dim=1).tolist() == [1, 4, LENGTH]
    assert mask[1, 0, 0].tolist() == [True] * 4 + [False] * 3


def test_a_new_token_goes_where_its_slot_stands() -> None:
    cache = slots()
    cache.at(torch.tensor([0, 3, 6]))
    keys, values = noise(SLOTS, KEY_HEADS, 1, HEAD), noise(SLOTS, KEY_HEADS, 1, HEAD, seed=2)
    all_keys, all_values = cache.update(keys, values, 1)
    for slot, place in enumerate((0, 3, 6)):
        assert torch.equal(all_keys[slot, :, place], keys[slot, :, 0])
        assert torch.equal(all_values[slot, :, place], values[slot, :, 0])
        others = [at for at in range(LENGTH) if at != place]
        assert not all_keys[slot, :, others].any()
    assert not any(tensor.any() for tensor in kept(cache, 0))
    assert all_keys is kept(cache, 1)[0]


def test_a_token_that_is_written_again_takes_the_place_of_the_first() -> None:
    cache = slots()
    cache.at(torch.tensor([2, 2, 2]))
    cache.update(noise(SLOTS, KEY_HEADS, 1, HEAD), noise(SLOTS, KEY_HEADS, 1, HEAD), 0)
    again = noise(SLOTS, KEY_HEADS, 1, HEAD, seed=3)
    keys, _ = cache.update(again, again, 0)
    assert torch.equal(keys[:, :, 2], again[:, :, 0])


def test_filled_alike_every_slot_holds_the_same_noise_and_each_layer_its_own() -> None:
    cache = slots()
    cache.fill_with_noise(torch.Generator().manual_seed(1))
    tensors = [tensor for layer in range(2) for tensor in kept(cache, layer)]
    for tensor in tensors:
        assert tensor.std() > 0.5
        assert torch.equal(tensor, tensor[:1].expand_as(tensor))
    assert len({float(tensor.sum()) for tensor in tensors}) == 4
    again = slots()
    again.fill_with_noise(torch.Generator().manual_seed(1))
    assert torch.equal(kept(again)[0], tensors[0])


def one_token_a_slot() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A query of each slot, with keys and values of the whole length."""
    held = [noise(SLOTS, KEY_HEADS, LENGTH, HEAD, seed=seed) for seed in (2, 3)]
    return noise(SLOTS, HEADS, 1, HEAD), held[0], held[1]


def attended(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: Any, scaling: float = 0.5) -> Any:
    found, weights = _attend(None, query, keys, values, mask, scaling, dropout=0.0)
    assert weights is None
    return found


def test_one_token_a_slot_attends_as_torch_does() -> None:
    query, keys, values = one_token_a_slot()
    mask = slots().at(torch.tensor([0, 3, 6]))
    wanted = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=0.5, enable_gqa=True)
    found = attended(query, keys, values, mask)
    assert found.shape == (SLOTS, 1, HEADS, HEAD)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_a_slot_that_may_look_at_one_place_gives_its_value_whatever_lies_behind() -> None:
    query, keys, values = one_token_a_slot()
    keys[:, :, 1:] = 1e6
    found = attended(query, keys, values, slots().at(torch.zeros(SLOTS, dtype=torch.long)))
    each_for_three_heads = values[:, :, 0].repeat_interleave(HEADS // KEY_HEADS, dim=1)
    assert torch.equal(found[:, 0], each_for_three_heads)


def test_a_slot_does_not_depend_on_its_neighbours() -> None:
    query, keys, values = one_token_a_slot()
    mask = slots().at(torch.tensor([2, 2, 2]))
    before = attended(query, keys, values, mask)
    keys[1], values[1], query[1] = 5.0, 7.0, 9.0
    assert torch.equal(attended(query, keys, values, mask)[[0, 2]], before[[0, 2]])


def test_scores_are_not_rounded_to_bfloat16() -> None:
    query, keys, values = (
        noise(SLOTS, HEADS, 1, HEAD).bfloat16(), noise(SLOTS, KEY_HEADS, LENGTH, HEAD, seed=2).bfloat16(),
        noise(SLOTS, KEY_HEADS, LENGTH, HEAD, seed=3).bfloat16(),
    )  # fmt: skip
    mask = slots().at(torch.tensor([2, 4, 6]))
    found = attended(query, keys, values, mask)
    exact = attended(query.float(), keys.float(), values.float(), mask)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_a_whole_prompt_attends_causally() -> None:
    query, keys, values = (
        noise(1, HEADS, 5, HEAD), noise(1, KEY_HEADS, 5, HEAD, seed=2), noise(1, KEY_HEADS, 5, HEAD, seed=3)
    )  # fmt: skip
    found = attended(query, keys, values, None)
    assert found.shape == (1, 5, HEADS, HEAD)
    for last in range(5):
        alone = attended(query[:, :, : last + 1], keys[:, :, : last + 1], values[:, :, : last + 1], None)
        torch.testing.assert_close(found[:, last], alone[:, last])
    wanted = functional.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=0.5, enable_gqa=True)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_a_model_is_told_to_attend_this_way() -> None:
    model = SimpleNamespace(config=SimpleNamespace(_attn_implementation="sdpa"))
    use_slot_attention(model)
    known: Any = AttentionInterface
    assert known()[model.config._attn_implementation] is _attend
