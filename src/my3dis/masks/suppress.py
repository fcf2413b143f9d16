"""Duplicates among the masks of one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.overlap import iou_matrix
from my3dis.types import MaskSet

__all__ = ["best_first", "duplicates"]


def best_first(masks: MaskSet) -> NDArray[np.int64]:
    """Return the positions of the masks from best to worst, whatever order they came in.

    Higher score wins, then higher stability, then larger area, then the smaller ``mask_id``.
    """
    order: NDArray[np.int64] = np.lexsort(
        (masks.mask_id, -masks.area_px, -masks.stability, -masks.score)
    ).astype(np.int64)
    return order


def duplicates(masks: MaskSet, iou_threshold: float) -> NDArray[np.bool_]:
    """Mark the masks that overlap a better mask of their own level more than a threshold.

    A mask is compared with kept masks only, so a chain of slightly shifted masks does not vanish whole.
    An equal mask at another level is no duplicate: levels are read separately.

    Returns:
        (N,) booleans, true = duplicate.
    """
    dropped = np.zeros(len(masks), np.bool_)
    for level in np.unique(masks.level).tolist():
        where = np.flatnonzero(masks.level == level)
        some = masks.select(where)
        too_close = iou_matrix(some, some) > iou_threshold
        kept: list[int] = []
        for i in best_first(some).tolist():
            if too_close[i, kept].any():
                dropped[where[i]] = True
            else:
                kept.append(i)
    return dropped
