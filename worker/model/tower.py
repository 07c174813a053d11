"""Qwen2-VL's vision tower for images of one size: bytes in, one embedding per image token out.

It computes what the image processor and the tower of transformers compute, written so that it exports to ONNX with any
number of images: the grid is fixed, its rotary angles are constants, and the two equal frames that a still image is
given are folded into one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.model.bundle import Grid, Preprocessing


class _Block(nn.Module):
    """One transformer layer: attention over all patches of an image, then a two-layer perceptron."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, patches, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, patches, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, patches, width))
        hidden = self.fc1(self.norm2(x))
        out: Tensor = x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))  # "quick GELU"
        return out


class VisionTower(nn.Module):
    """uint8 images [batch, height, width, 3] to float embeddings [batch, grid.tokens, hidden]."""

    mean: Tensor
    std: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, config: Any, preprocessing: Preprocessing, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.patch_px = preprocessing.patch_size
        self.scale = preprocessing.rescale_factor
        width = config.embed_dim
        merged = width * grid.merge**2
        self.patch = nn.Linear(3 * self.patch_px**2, width, bias=False)
        self.blocks = nn.ModuleList(
            _Block(width, config.num_heads, int(width * config.mlp_ratio)) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.merge1 = nn.Linear(merged, merged)
        self.merge2 = nn.Linear(merged, config.hidden_size)
        cos, sin = _rotary(grid, width // config.num_heads, config.rope_parameters["rope_theta"])
        self.register_buffer("mean", torch.tensor(preprocessing.image_mean), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.image_std), persistent=False)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @classmethod
    def from_model(cls, visual: Any, preprocessing: Preprocessing, grid: Grid) -> "VisionTower":
        """The tower with the weights of transformers' own (`model.model.visual`), in float32."""
        tower = cls(visual.config, preprocessing, grid)
        tower.load_state_dict({_own_name(name): value.float() for name, value in _folded(visual).items()})
        return tower.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(self._patches((image.float() * self.scale - self.mean) / self.std))
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        x = self.norm(x).reshape(-1, self.grid.tokens, self.merge1.in_features)
        out: Tensor = self.merge2(functional.gelu(self.merge1(x)))
        return out

    def _patches(self, x: Tensor) -> Tensor:
        """Pixels [batch, height, width, 3] to patches [batch, patches, 3 x px x px], each merged group in a row."""
        merge, px = self.grid.merge, self.patch_px
        x = x.reshape(-1, self.grid.rows // merge, merge, px, self.grid.columns // merge, merge, px, 3)
        x = x.permute(0, 1, 4, 2, 5, 7, 3, 6)
        return x.reshape(-1, self.grid.rows * self.grid.columns, 3 * px * px)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = x.float()
    first, second = wide.chunk(2, -1)
    return (wide * cos + torch.cat((-second, first), -1) * sin).to(x.dtype)


def _rotary(grid: Grid, head: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [patches, head]: half of each head turns with the patch's row, half with its column."""
    rate = 1.0 / theta ** (torch.arange(0, head // 2, 2, dtype=torch.float) / (head // 2))
    rows, columns = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")

    def merged_order(places: Tensor) -> Tensor:
        split = places.reshape(grid.rows // grid.merge, grid.merge, grid.columns // grid.merge, grid.merge)
        return split.transpose(1, 2).flatten()[:, None].float()

    angles = torch.cat([merged_order(rows) * rate, merged_order(columns) * rate], -1).repeat(1, 2)
    return angles.cos(), angles.sin()


def _folded(visual: Any) -> dict[str, Tensor]:
    """The weights of transformers' tower; the patch weight summed over the frames, which are equal in a still image."""
    weights: dict[str, Tensor] = dict(visual.state_dict())
    patch = weights["patch_embed.proj.weight"]
    weights["patch_embed.proj.weight"] = patch.float().sum(2).flatten(1)
    return weights


def _own_name(name: str) -> str:
    """transformers' name of a weight as ours."""
    renamed = {
        "patch_embed.proj.": "patch.",
        "merger.ln_q.": "norm.",
        "merger.mlp.0.": "merge1.",
        "merger.mlp.2.": "merge2.",
        ".attn.": ".",
        ".mlp.": ".",
    }
    for theirs, ours in renamed.items():
        if theirs in name:
            return name.replace(theirs, ours)
    return name
