"""The same picture as another printer would have made it: other ink, shifted on the paper."""

import numpy as np

from worker.picture.raster import Picture

_PAPER = 255


def restyle(image: Picture, ink_rgb: tuple[int, int, int], right_px: int, down_px: int) -> Picture:
    """The picture with its black in another colour, moved; what moves in repeats the edge. Always a new array."""
    ink = np.array(ink_rgb, np.float32)
    coloured = ink + image * (1 - ink / _PAPER)
    margin = max(abs(right_px), abs(down_px))
    padded = np.pad(np.rint(coloured).astype(np.uint8), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    top, left = margin - down_px, margin - right_px
    return np.ascontiguousarray(padded[top : top + image.shape[0], left : left + image.shape[1]])


def blank(image: Picture) -> Picture:
    """White paper of the same size."""
    return np.full_like(image, _PAPER)
