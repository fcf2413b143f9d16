"""Depth images: noise, holes, discontinuities and resampling.

Depth is z depth in metres, float32, 0 = no reading.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.types import Camera

__all__ = ["depth_tolerance", "discontinuity_mask", "fill_small_holes", "grow_mask", "resample_depth"]


def depth_tolerance(z_m: NDArray[np.float32], at_2m_m: float) -> NDArray[np.float32]:
    """Return how far a depth reading may be off at each distance.

    Half of the value at 2 m is constant (pose and quantisation), half grows with the square of the
    distance as the noise of structured light and stereo does.
    Source: Khoshelham and Oude Elberink 2012, Accuracy and resolution of Kinect depth data, eq. 10.

    Args:
        z_m: distances in metres, any shape.
        at_2m_m: the tolerance at 2 m in metres.
    """
    scaled = z_m * np.float32(0.5)
    return np.float32(0.5 * at_2m_m) * (np.float32(1.0) + scaled * scaled)


def fill_small_holes(depth_m: NDArray[np.float32], *, radius_px: int = 2) -> NDArray[np.float32]:
    """Fill holes that are at most ``2 * radius_px`` pixels wide from readings around them.

    A pixel whose readings around it disagree (a discontinuity runs through the hole) stays a hole.

    Args:
        depth_m: (H, W) metres.
        radius_px: half the width of the widest hole that is filled.

    Returns:
        (H, W) float32, a new array.
    """
    import cv2

    valid = (depth_m > 0).astype(np.uint8)
    size = 2 * radius_px + 1
    # Beyond the border counts as a hole, so that a narrow hole there is not closed from one side.
    padded = cv2.copyMakeBorder(valid, size, size, size, size, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    todo = closed[size:-size, size:-size].astype(bool) & (valid == 0)
    filled = depth_m.copy()
    for _ in range(radius_px):
        if not todo.any():
            break
        known = filled > 0
        total = cv2.boxFilter(filled, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        count = cv2.boxFilter(
            known.astype(np.float32), cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        farthest = cv2.dilate(filled, np.ones((3, 3), np.uint8))
        nearest = -cv2.dilate(np.where(known, -filled, np.float32(-np.inf)), np.ones((3, 3), np.uint8))
        agree = todo & (count > 0.5)
        agree &= farthest - nearest <= 2 * depth_tolerance(farthest, 0.05)
        filled[agree] = total[agree] / count[agree]
        todo &= ~agree
    return filled


def discontinuity_mask(depth_m: NDArray[np.float32], *, jump_at_2m_m: float = 0.1) -> NDArray[np.bool_]:
    """Mark pixels on both sides of a depth jump, and pixels next to a hole.

    The test is the second difference of inverse depth, which vanishes on every plane however steeply
    it is seen, so floors far away are no edges.

    Args:
        depth_m: (H, W) metres.
        jump_at_2m_m: smallest jump that counts at 2 m, in metres; grows as `depth_tolerance` does.

    Returns:
        (H, W) boolean; a pixel without reading is never marked.
    """
    known = depth_m > 0
    inverse = np.divide(np.float32(1.0), depth_m, out=np.zeros_like(depth_m), where=known)
    edge = np.zeros(depth_m.shape, np.bool_)
    limit = depth_tolerance(depth_m, jump_at_2m_m)
    for axis in (0, 1):
        inner = [slice(None), slice(None)]
        before, after = list(inner), list(inner)
        inner[axis], before[axis], after[axis] = slice(1, -1), slice(None, -2), slice(2, None)
        here, low, high = tuple(inner), tuple(before), tuple(after)
        bend = np.abs(inverse[low] - 2 * inverse[here] + inverse[high])
        missing = ~(known[low] & known[high])
        # A difference b of inverse depth is a difference of about b * d**2 in depth.
        edge[here] |= missing | (bend * depth_m[here] * depth_m[here] > limit[here])
    return edge & known


def grow_mask(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Widen a mask by a square of ``radius_px`` pixels to every side."""
    import cv2

    if radius_px <= 0:
        return mask.copy()
    size = 2 * radius_px + 1
    grown: NDArray[np.bool_] = cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    return grown


def resample_depth(depth_m: NDArray[np.float32], source: Camera, target: Camera) -> NDArray[np.float32]:
    """Give a depth image another size and other intrinsics, seen from the same pose.

    Nearest neighbour, so that no depth between two surfaces is made up.

    Args:
        depth_m: (H, W) metres, of ``source``.
        source: intrinsics of the image given.
        target: intrinsics of the image wanted.

    Returns:
        (target.height, target.width) float32; 0 where the source sees nothing.

    Raises:
        DataError: if the depth's size is not that of ``source``.
    """
    if depth_m.shape != (source.height, source.width):
        raise DataError(
            f"resample_depth: expected depth of {source.width}x{source.height} as the intrinsics say, "
            f"found {depth_m.shape[::-1]}"
        )
    x = (np.arange(target.width) - target.cx) / target.fx * source.fx + source.cx
    y = (np.arange(target.height) - target.cy) / target.fy * source.fy + source.cy
    column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    inside_x, inside_y = (column >= 0) & (column < source.width), (row >= 0) & (row < source.height)
    resampled = np.zeros((target.height, target.width), np.float32)
    resampled[np.ix_(inside_y, inside_x)] = depth_m[np.ix_(row[inside_y], column[inside_x])]
    return resampled
