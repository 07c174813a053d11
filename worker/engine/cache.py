"""Keys and values of the prompts and answers in work, and the attention over them.

Both caches are what transformers' layers ask of one: an `update` that stores a layer's new keys and values and returns
all that the new tokens may look at. Tensors are [batch, heads, length, head].

How layers call it differs between versions: 5.24 began to hand over their own options too. Parameters are named as in
`transformers.Cache.update`, and whatever comes beside them is for caches of other kinds and changes nothing here.
"""

import inspect
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from worker.model.errors import EngineError

_ATTENTION: Final = "ecg_slots"
# What a model's `forward` calls its cache, the newer name first: where both are there, the older one is on its way out.
_CACHE_KEYWORDS: Final = ("cache", "past_key_values")


class PromptCache:
    """Takes up the keys and values of one prompt, layer by layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_others: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values; layers come in order."""
        assert layer_idx == len(self.layers)
        self.layers.append((key_states, value_states))
        return key_states, value_states


class SlotCache:
    """Keys and values of every slot, `length` tokens long. `like` gives the number type and the device."""

    def __init__(self, config: Any, slots: int, length: int, like: Tensor) -> None:
        shape = (slots, config.num_key_value_heads, length, config.hidden_size // config.num_attention_heads)
        self._layers = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in range(config.num_hidden_layers)]
        self.length = length
        self._rows = torch.arange(slots, device=like.device)
        self._places = torch.arange(length, device=like.device)
        self._position = torch.zeros(slots, dtype=torch.long, device=like.device)

    def fill(self, slot: int, prompt: PromptCache, length: int) -> None:
        """Put a prompt's `length` tokens into a slot and clear what the slot's last answer left behind them.

        Masking is not enough: a masked value that is not finite still spoils a sum.
        """
        for slots, read in zip(self._layers, prompt.layers, strict=True):
            for cached, new in zip(slots, read, strict=True):
                cached[slot, :, :length] = new[0, :, :length]
                cached[slot, :, length:] = 0

    def fill_with_noise(self, generator: torch.Generator) -> None:
        """Put the same noise into every slot, to test the machine with."""
        for layer in self._layers:
            for tensor in layer:
                noise = torch.randn(tensor.shape[1:], generator=generator)
                tensor[:] = noise.to(tensor)

    def at(self, position: Tensor) -> Tensor:
        """Set where each slot's next token goes; returns the mask [slots, 1, 1, length] of what it may look at."""
        self._position = position
        return (self._places <= position[:, None])[:, None, None, :]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_others: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Store one new token's keys and values [slots, heads, 1, head] in every slot."""
        all_keys, all_values = self._layers[layer_idx]
        all_keys[self._rows, :, self._position] = key_states[:, :, 0]
        all_values[self._rows, :, self._position] = value_states[:, :, 0]
        return all_keys, all_values


def cache_keyword(forward: Callable[..., Any]) -> str:
    """The keyword under which a model's `forward` takes a cache, by its signature. Raises EngineError if it has none.

    Passing an unknown one is no error in transformers: the model would go on with a cache of its own, and answers would
    be written without the prompt.
    """
    declared = inspect.signature(forward).parameters
    for keyword in _CACHE_KEYWORDS:
        if keyword in declared:
            return keyword
    raise EngineError(
        f"The text model takes a cache neither as {' nor as '.join(f'`{keyword}`' for keyword in _CACHE_KEYWORDS)}: "
        "this version of transformers is not one that the worker knows. Install one within the declared range."
    )


def use_slot_attention(text_model: Any) -> None:
    """Make a text model attend as the slot decoder needs it."""
    AttentionInterface.register(_ATTENTION, _attend)
    text_model.config._attn_implementation = _ATTENTION


def _attend(
    _module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Grouped-query attention: causal over a whole prompt, under a mask for one token in every slot.

    Over the slots it is written out, in float32. torch's fused attention on the CPU gives other last bits depending on
    which thread computes a slot (measured: 7e-9 after one layer), and in bfloat16 scores would be rounded. The queries
    that share a key are stacked along the length, so that keys and values need not be repeated.
    """
    if mask is None:
        out = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2), None
    slots, heads, _length, head = query.shape
    stacked = query.reshape(slots, key.shape[1], heads // key.shape[1], head)
    scores = stacked.float() @ key.float().transpose(-1, -2) * scaling
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return (weights @ value.float()).to(query.dtype).reshape(slots, 1, heads, head), None
