"""Label maps of another size than the image they belong to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest"]

T = TypeVar("T", bound=np.generic)


def nearest(image: NDArray[T], size: tuple[int, int]) -> NDArray[T]:
    """Resample an (h, w, ...) image to (H, W, ...) by nearest neighbour; always a new array.

    The pixel whose area holds the centre of the new pixel gives its value: the new pixel at x takes column
    floor((x + 0.5) w / W). Maps of several levels are sampled at the same places, so nested masks stay
    nested.
    """
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(image.shape[:2], size, strict=True)
    )
    if image.shape[:2] == tuple(size):
        return image.copy()
    return np.ascontiguousarray(image[rows[:, None], columns])
