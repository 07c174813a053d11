"""From examples to the tensors that transformers' `Qwen2VLForConditionalGeneration` takes.

Prompts are the worker's own (`PromptBuilder`), pixels go the way of the bundle's image processor.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.example import Example
from worker.model.bundle import ModelBundle, Preprocessing
from worker.model.prompt import PromptBuilder

IGNORED: Final = -100
"""The label of tokens that are not to be learned: prompt, picture, padding."""


class Collator:
    """Makes batches for one bundle. Sequences are padded on the right to the longest of the batch."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._tokenizer: Any = bundle.tokenizer
        self._prompts = PromptBuilder(bundle)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Prompts with their targets. `labels` holds the target's tokens and the end of turn."""
        rows = [self._row(example) for example in examples]
        length = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), length), self._tokenizer.pad_token_id)
        labels = torch.full_like(ids, IGNORED)
        attended = torch.zeros_like(ids)
        for row, (tokens, prompt_length) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, prompt_length : len(tokens)] = ids[row, prompt_length : len(tokens)]
            attended[row, : len(tokens)] = 1
        return {
            "input_ids": ids,
            "attention_mask": attended,
            "labels": labels,
            "mm_token_type_ids": (ids == self._bundle.config.image_token_id).long(),
            **self.pixels(examples),
        }

    def pixels(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The pictures alone: `pixel_values` [patches of all pictures, values] and `image_grid_thw` [pictures, 3]."""
        grid = self._bundle.grid
        images = np.stack([example.image for example in examples])
        return {
            "pixel_values": patches(images, self._bundle.preprocessing),
            "image_grid_thw": torch.tensor([[1, grid.rows, grid.columns]] * len(images)),
        }

    def _row(self, example: Example) -> tuple[list[int], int]:
        prompt = self._prompts.token_ids(example.facts)
        target: list[int] = self._tokenizer(example.target, add_special_tokens=False)["input_ids"]
        return [*prompt, *target, self._tokenizer.eos_token_id], len(prompt)


def patches(images: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """uint8 [n, height, width, 3] to float32 [n * patches, 3 * frames * patch * patch], in the order of Qwen2-VL.

    Patches that will be merged stand together; a still picture is given as `temporal_patch_size` equal frames.
    """
    side, merge = preprocessing.patch_size, preprocessing.merge_size
    scaled = torch.from_numpy(images).float() * preprocessing.rescale_factor
    normal = (scaled - torch.tensor(preprocessing.image_mean)) / torch.tensor(preprocessing.image_std)
    count, height, width, _ = images.shape
    blocks = normal.reshape(count, height // side // merge, merge, side, width // side // merge, merge, side, 3)
    ordered = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).unsqueeze(6)  # n, row, column, row in, column in, colour, y, x
    frames = ordered.expand(-1, -1, -1, -1, -1, -1, preprocessing.temporal_patch_size, -1, -1)
    return frames.reshape(-1, 3 * preprocessing.temporal_patch_size * side * side)
