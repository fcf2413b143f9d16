"""Look at masks through a few of their pixels, straight from the run-length code: nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.codec import to_rle_mask
from my3dis.types import MaskSet

__all__ = ["PixelSample", "contains", "sample_pixels"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PixelSample:
    """S pixels taken from N masks.

    Attributes:
        owner: (S,) int32 position of the mask in its set, ascending.
        x_px, y_px: (S,) int32 pixel coordinates.
    """

    owner: NDArray[np.int32]
    x_px: NDArray[np.int32]
    y_px: NDArray[np.int32]

    def of(self, position: int) -> slice:
        """Return the slice of the samples of the mask at a position."""
        low, high = np.searchsorted(self.owner, (position, position + 1))
        return slice(int(low), int(high))


def sample_pixels(masks: MaskSet, per_mask: int) -> PixelSample:
    """Take at most ``per_mask`` pixels of each mask, evenly spaced along its runs; the same every time."""
    owners, flats = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for position, rle in enumerate(masks.rle):
        counts = to_rle_mask(rle, masks.image_size).counts.astype(np.int64)
        ends = np.cumsum(counts)
        filled = np.cumsum(counts[1::2])
        if not len(filled) or not filled[-1]:
            continue
        area = int(filled[-1])
        n = min(area, per_mask)
        rank = (2 * np.arange(n) + 1) * area // (2 * n)
        run = np.searchsorted(filled, rank, side="right")
        owners.append(np.full(n, position, np.int32))
        flats.append(ends[1::2][run] - filled[run] + rank)
    flat = np.concatenate(flats)
    height = masks.image_size[0]
    return PixelSample(
        owner=np.concatenate(owners),
        x_px=(flat // height).astype(np.int32),
        y_px=(flat % height).astype(np.int32),
    )


def contains(
    masks: MaskSet, position: int, x_px: NDArray[np.integer], y_px: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether pixels inside the image belong to the mask at a position: (S,) bool."""
    x0, y0, x1, y1 = masks.boxes[position].tolist()
    inside: NDArray[np.bool_] = (x_px >= x0) & (x_px < x1) & (y_px >= y0) & (y_px < y1)
    near = np.flatnonzero(inside)
    if len(near):
        counts = to_rle_mask(masks.rle[position], masks.image_size).counts
        flat = x_px[near].astype(np.int64) * masks.image_size[0] + y_px[near]
        # Even runs are background, odd runs are the mask.
        inside[near] = np.searchsorted(np.cumsum(counts), flat, side="right") % 2 == 1
    return inside
