"""Masks as signed distances to their border, so that they can be sampled over and over.

A hard mask would stand still under motion of less than half a pixel per frame, however long it lasts, and a
soft one would blur. A distance is linear across the border and can be sampled without either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.codec import Box

__all__ = [
    "BORDER",
    "STEPS_PER_PX",
    "cut_box",
    "recolored",
    "signed_distances",
    "solidity",
    "tidy",
    "whole",
    "widened",
]

MARGIN_PX = 8
"""Distances are held up to this many pixels from the border, and around a mask's box."""
STEPS_PER_PX = 256
"""Held values per pixel of distance: coarser ones would round slow motion off."""
BORDER = MARGIN_PX * STEPS_PER_PX
"""The held value on the border of a mask; more is inside, 0 is far outside."""

COLOR_PUSH_PX, COLOR_CREEP_PX = 2.0, 0.25
"""How far one unit of colour evidence moves the border where sampling knows nothing, and elsewhere."""
THIN_SHARE = 0.8
"""A mask that smoothing would leave less of than this consists of thin parts, not of specks."""

PIECE_SHARE = 0.05
"""A piece smaller than this share of the largest is what tearing left over, not a part behind an occluder."""


def signed_distances(mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the held values of a mask: distance from the border half way between two pixels."""
    import cv2

    inside = mask.view(np.uint8)
    distance_in = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    distance_out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    # A mask that fills the picture has no border: OpenCV then gives distances that no scaling survives.
    signed = np.clip(np.where(mask, distance_in - 0.5, 0.5 - distance_out), -MARGIN_PX, MARGIN_PX)
    held: NDArray[np.uint16] = (BORDER + STEPS_PER_PX * signed).astype(np.uint16)
    return held


def widened(box: Box, image_size: tuple[int, int]) -> Box:
    """Return a box with `MARGIN_PX` around it, inside the image."""
    height, width = image_size
    x0, y0, x1, y1 = box
    return (
        max(0, x0 - MARGIN_PX),
        max(0, y0 - MARGIN_PX),
        min(width, x1 + MARGIN_PX),
        min(height, y1 + MARGIN_PX),
    )


def cut_box(values: NDArray[np.uint16], box: Box, wanted: Box) -> NDArray[np.uint16]:
    """Return the values of the wanted box, 0 (far outside) where they are not given."""
    x0, y0 = max(box[0], wanted[0]), max(box[1], wanted[1])
    x1, y1 = min(box[2], wanted[2]), min(box[3], wanted[3])
    cut = np.zeros((wanted[3] - wanted[1], wanted[2] - wanted[0]), np.uint16)
    inner = values[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
    cut[y0 - wanted[1] : y1 - wanted[1], x0 - wanted[0] : x1 - wanted[0]] = inner
    return cut


def recolored(
    distances: NDArray[np.uint16], known: NDArray[np.bool_], evidence: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Move the border by the evidence of colours: far in unknown places, slowly where it merely drifts."""
    reach = np.where(
        known, np.float32(COLOR_CREEP_PX * STEPS_PER_PX), np.float32(COLOR_PUSH_PX * STEPS_PER_PX)
    )
    pushed = np.clip(distances + reach * evidence, 0, 2 * BORDER).astype(np.uint16)
    # What is far outside stays there: colours alone must not start a mask anew.
    moved: NDArray[np.uint16] = np.where(distances == 0, distances, pushed)
    return moved


def tidy(distances: NDArray[np.uint16], known: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Fill narrow unknown places between parts of the mask, and remove specks around unknown places.

    Elsewhere nothing is smoothed: repeated smoothing would round every corner off.
    """
    import cv2

    if known.all():
        return distances
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(distances, cv2.MORPH_CLOSE, kernel)
    filled = np.where(known, distances, closed)
    doubtful = cv2.dilate((~known).view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    smooth: NDArray[np.uint16] = np.where(doubtful, cv2.medianBlur(filled, 3), filled)
    # The median removes specks, but also whatever is one pixel wide: such objects stay as they are.
    thin = np.count_nonzero(smooth >= BORDER) < THIN_SHARE * np.count_nonzero(filled >= BORDER)
    return filled if thin else smooth


def whole(distances: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], float]:
    """Remove the shreds of a torn mask; return the rest and the share of the mask that it is.

    An object seen behind another may fall into a few large pieces, which stay.
    """
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (distances >= BORDER).view(np.uint8), connectivity=8
    )
    if count <= 2:
        return distances, 1.0
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    shreds = areas < PIECE_SHARE * areas.max()
    shreds[0] = False
    if not shreds.any():
        return distances, 1.0
    removed = shreds[labels]
    kept: NDArray[np.uint16] = np.where(removed, np.uint16(BORDER - STEPS_PER_PX), distances)
    return kept, 1.0 - float(areas[shreds].sum() / areas.sum())


def solidity(distances: NDArray[np.uint16]) -> float:
    """Return the share that a mask has of itself after its cracks and bays are closed, 1 = compact."""
    import cv2

    mask = (distances >= BORDER).view(np.uint8)
    area = cv2.countNonZero(mask)
    if not area:
        return 1.0
    side = max(2, round(0.05 * area**0.5))
    # A square, not a disc: its closing costs the same whatever its size.
    kernel = np.ones((2 * side + 1, 2 * side + 1), np.uint8)
    # Closing must not be cut off at the border of the crop.
    mask = cv2.copyMakeBorder(mask, side, side, side, side, cv2.BORDER_CONSTANT, value=0)
    return area / cv2.countNonZero(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel))
