"""A picture that moves, and rectangles as prompts."""

from __future__ import annotations

from functools import cache

import numpy as np

from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.types import Frame, MaskSet

SIZE = (96, 128)
Rectangle = tuple[int, int, int, int]


@cache
def picture(index: int) -> Frame:
    """Return a frame of a noisy picture that moves to the left."""
    still = np.random.default_rng(5).integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3))
    moved = np.roll(still.repeat(8, axis=0).repeat(8, axis=1), -3 * index, axis=1)
    noise = np.random.default_rng(100 + index).integers(-20, 21, moved.shape)
    return Frame(index=index, name=f"{index:04d}", color=np.clip(moved + noise, 0, 255).astype(np.uint8))


def rectangles(frame: int, *objects: tuple[int, Rectangle], level: int = 2) -> MaskSet:
    """Return half-open rectangles x0, y0, x1, y1 with track ids."""
    rles = []
    for _, (x0, y0, x1, y1) in objects:
        mask = np.zeros(SIZE, np.bool_)
        mask[y0:y1, x0:x1] = True
        rles.append(codec.encode(mask))
    return from_codes(
        rles,
        frame=frame,
        image_size=SIZE,
        mask_id=np.arange(len(rles)),
        level=level,
        track_id=np.array([track for track, _ in objects], np.int32),
    )
