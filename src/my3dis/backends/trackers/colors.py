"""Tell an object from what surrounds it by colour, to correct the border of a carried mask.

Flow loses thin, fast and newly seen parts. The colours inside and just outside a prompted mask say which side
such pixels belong to; where both sides look alike they say nothing, and the carried border stays.
Source: the region force of active contours, Chan and Vese, IEEE TIP 2001, with histograms for the two means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.codec import Box

__all__ = ["RING_PX", "ColorModel", "color_bins", "ring_box"]

BITS = 4
N_BINS = 1 << (3 * BITS)
RING_PX = 12
"""Width of the surroundings that a mask is compared with, at least."""
RARE = 0.002
"""Shares of colours below this are chance; a colour that neither side has is no evidence."""
STRONGEST = 2.0
"""Log-likelihood ratios are cut here, a factor of 7."""


def color_bins(color: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return (H, W) uint16 bins of an (H, W, 3) RGB image, 16 steps per channel, noise smoothed first."""
    import cv2

    coarse = (cv2.GaussianBlur(color, (3, 3), 0) >> (8 - BITS)).astype(np.uint16)
    bins: NDArray[np.uint16] = (coarse[..., 0] << (2 * BITS)) | (coarse[..., 1] << BITS) | coarse[..., 2]
    return bins


def ring_box(box: Box, image_size: tuple[int, int]) -> Box:
    """Return a box with its surroundings: a quarter of its size on each side, at least `RING_PX`."""
    x0, y0, x1, y1 = box
    pad_x, pad_y = max(RING_PX, (x1 - x0) // 4), max(RING_PX, (y1 - y0) // 4)
    height, width = image_size
    return max(0, x0 - pad_x), max(0, y0 - pad_y), min(width, x1 + pad_x), min(height, y1 + pad_y)


@dataclass(frozen=True, slots=True, eq=False)
class ColorModel:
    """How much each colour speaks for the object: (N_BINS,) int8 log-likelihood ratio, 32 = one unit."""

    evidence: NDArray[np.int8]

    @classmethod
    def of(cls, bins: NDArray[np.uint16], mask: NDArray[np.bool_]) -> ColorModel:
        """Learn from the bins of a mask's surroundings and the mask in them."""
        inside = np.bincount(bins[mask], minlength=N_BINS)
        outside = np.bincount(bins[~mask], minlength=N_BINS)
        share_in = inside / max(1, inside.sum()) + RARE
        share_out = outside / max(1, outside.sum()) + RARE
        ratio = np.clip(np.log(share_in / share_out), -STRONGEST, STRONGEST)
        return cls(np.rint(32 * ratio).astype(np.int8))

    def of_pixels(self, bins: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return the mean evidence around each pixel, -`STRONGEST` (outside) to `STRONGEST` (inside)."""
        import cv2

        each = self.evidence[bins].astype(np.float32) / np.float32(32)
        smooth: NDArray[np.float32] = cv2.blur(each, (5, 5), borderType=cv2.BORDER_REPLICATE)
        return smooth
