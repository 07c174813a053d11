"""What transformers is given of a picture, computed without the worker's vision tower."""

import numpy as np
import torch
from numpy.typing import NDArray

from worker.model.bundle import ModelBundle


def pixel_values(image: NDArray[np.uint8], bundle: ModelBundle) -> torch.Tensor:
    """What the image processor of transformers makes of a still image of the right size: [patches, 1176]."""
    pre, grid = bundle.preprocessing, bundle.grid
    mean, std = np.array(pre.image_mean, np.float32), np.array(pre.image_std, np.float32)
    x = ((image.astype(np.float32) * np.float32(pre.rescale_factor) - mean) / std).transpose(2, 0, 1)
    m, p = grid.merge, pre.patch_size
    x = x.reshape(3, grid.rows // m, m, p, grid.columns // m, m, p).transpose(1, 4, 2, 5, 0, 3, 6)
    x = np.repeat(x[:, :, :, :, :, None], pre.temporal_patch_size, axis=5)  # the two frames of a still image
    return torch.from_numpy(x.reshape(grid.rows * grid.columns, -1).copy())
