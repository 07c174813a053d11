"""The caches answer however transformers' layers call them, and go under the name that the model's signature has."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
import torch
from torch import Tensor

from worker.engine.cache import PromptCache, SlotCache, cache_keyword
from worker.model.errors import EngineError

SLOTS: Final = 3
CONFIG: Final = SimpleNamespace(num_key_value_heads=2, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)

# How a layer hands over what it has: as transformers 5.20 to 5.23 do, as 5.24 does, and as its own caches allow.
CALLS: Final[dict[str, Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]]] = {
    "by place": lambda cache, keys, values: cache.update(keys, values, 0),
    "with the layer's options": lambda cache, keys, values: cache.update(keys, values, 0, kwargs={"use_cache": True}),
    "with a fourth by place": lambda cache, keys, values: cache.update(keys, values, 0, {"cache_position": None}),
    "by name": lambda cache, keys, values: cache.update(key_states=keys, value_states=values, layer_idx=0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_prompt_is_taken_up_however_layers_call(call: Callable[..., tuple[Tensor, Tensor]]) -> None:
    cache = PromptCache()
    keys, values = torch.rand(1, 2, 5, 4), torch.rand(1, 2, 5, 4)
    assert call(cache, keys, values) == (keys, values)
    assert cache.layers == [(keys, values)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_token_goes_to_its_place_in_every_slot_however_layers_call(
    call: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    cache = SlotCache(CONFIG, SLOTS, length=6, like=torch.zeros(1))
    places = torch.tensor([0, 3, 5])
    cache.at(places)
    keys, values = torch.rand(SLOTS, 2, 1, 4), torch.rand(SLOTS, 2, 1, 4)
    for new, kept in zip((keys, values), call(cache, keys, values), strict=True):
        for slot, place in enumerate(places.tolist()):
            assert torch.equal(kept[slot, :, place], new[slot, :, 0])
        assert kept.count_nonzero() == new.count_nonzero()


def _before(*, past_key_values: object = None, use_cache: bool = False, **_: object) -> None: ...
def _now(*, cache: object = None, use_cache: bool = False, **_: object) -> None: ...
def _between(*, past_key_values: object = None, cache: object = None, **_: object) -> None: ...
def _unknown(*, memory: object = None, **_: object) -> None: ...


@pytest.mark.parametrize(("forward", "keyword"), [(_before, "past_key_values"), (_now, "cache"), (_between, "cache")])
def test_the_keyword_is_the_one_of_the_signature(forward: Callable[..., None], keyword: str) -> None:
    assert cache_keyword(forward) == keyword


def test_a_model_that_would_swallow_the_cache_is_refused() -> None:
    with pytest.raises(EngineError, match="neither as `cache` nor as `past_key_values`"):
        cache_keyword(_unknown)
