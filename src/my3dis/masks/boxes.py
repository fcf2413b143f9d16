"""Arithmetic on half-open xyxy boxes: width is x1 - x0, and boxes that only touch do not overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_area", "box_intersection", "boxes_overlap", "from_inclusive"]


def box_area(boxes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the areas (N,) int64 in pixels of (N, 4) half-open xyxy boxes; empty boxes have 0."""
    sides = boxes[:, 2:].astype(np.int64) - boxes[:, :2]
    areas: NDArray[np.int64] = np.maximum(sides, 0).prod(axis=1)
    return areas


def box_intersection(a_xyxy: NDArray[np.int32], b_xyxy: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the (Na, Nb) int64 pixels that each box of one list shares with each of another."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared: NDArray[np.int64] = np.maximum(high.astype(np.int64) - low, 0).prod(axis=2)
    return shared


def boxes_overlap(a_xyxy: NDArray[np.int32], b_xyxy: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return (Na, Nb) booleans: whether two boxes share at least one pixel."""
    return box_intersection(a_xyxy, b_xyxy) > 0


def from_inclusive(boxes_inclusive: NDArray[np.int32]) -> NDArray[np.int32]:
    """Turn boxes whose x1, y1 are the last pixels inside into half-open ones.

    Older runs and Semantic-SAM state boxes this way; this is the one place where the pixel is added.
    """
    half_open = boxes_inclusive.astype(np.int32)
    half_open[:, 2:] += 1
    return half_open
