"""Fill small holes of a mask and remove its small islands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["clean_regions"]


def clean_regions(mask: NDArray[np.bool_], min_area: int) -> tuple[NDArray[np.bool_], bool]:
    """Fill holes of less than an area, then remove what islands of less than it the result has.

    Background and foreground are both 8-connected, and the background outside counts as a hole too. When all
    islands are small, the largest stays (the first of equals).

    Args:
        mask: (H, W) boolean.
        min_area: pixels that a hole or island must have to be left alone.

    Returns:
        The (H, W) mask, and whether a small hole or island was there.
    """
    labels, areas = _components(~mask)
    holes = np.flatnonzero(areas < min_area) + 1
    if len(holes):
        mask = mask | np.isin(labels, holes)
    labels, areas = _components(mask)
    islands = areas < min_area
    if islands.any():
        kept = np.flatnonzero(~islands) if not islands.all() else np.array([areas.argmax()])
        mask = np.isin(labels, kept + 1)
    return mask, bool(len(holes) or islands.any())


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return labels (H, W), 0 outside, and the (N,) areas of the components 1..N."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
