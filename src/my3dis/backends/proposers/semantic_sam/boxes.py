"""Non-maximum suppression on boxes with inclusive corners, as the automatic masks need it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["inclusive_boxes", "suppress_boxes"]


def inclusive_boxes(half_open: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return (N, 4) boxes whose x1, y1 are the last pixels inside; of empty masks (0, 0, 0, 0)."""
    boxes = half_open.astype(np.int32)
    boxes[:, 2:] -= (half_open[:, 2:] > half_open[:, :2]).astype(np.int32)
    return boxes


def suppress_boxes(
    boxes_inclusive: NDArray[np.int32], scores: NDArray[np.float32], max_iou: float
) -> NDArray[np.int64]:
    """Return the positions of the boxes that no better kept box overlaps more than ``max_iou``, best first.

    All in float32. Equal scores keep their order. The area of a box is (x1 - x0)(y1 - y0), one row and one
    column short of the pixels inside, so boxes one pixel wide have none; two of them do not suppress one
    another (their overlap is 0 / 0).

    Args:
        boxes_inclusive: (N, 4).
        scores: (N,).
        max_iou: a box that overlaps a kept one by more is dropped.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes_inclusive[order].astype(np.float32)
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low).prod(axis=1)
    alive = np.ones(len(order), np.bool_)
    kept = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        sides = np.maximum(np.minimum(high[i], high[i + 1 :]) - np.maximum(low[i], low[i + 1 :]), 0)
        shared = sides.prod(axis=1)
        union = areas[i] + areas[i + 1 :] - shared
        iou = np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0)
        alive[i + 1 :] &= ~(iou > np.float32(max_iou))
    return order[kept]
