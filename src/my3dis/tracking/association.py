"""One-to-one assignment of tracks and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from my3dis.types import MaskSet

__all__ = ["assign", "canonical_order"]


def assign(score: NDArray[np.float64], threshold: float) -> list[tuple[int, int]]:
    """Return (row, column) pairs, each row and column at most once, of the largest total score.

    Pairs below the threshold, or of score 0, never count.

    Source: Kuhn, "The Hungarian method for the assignment problem", 1955 (solved by SciPy).
    """
    allowed = (score >= threshold) & (score > 0)
    if not allowed.any():
        return []
    rows, columns = linear_sum_assignment(np.where(allowed, score, 0.0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if allowed[row, column]]


def canonical_order(masks: MaskSet) -> list[int]:
    """Return positions sorted by what the masks are, so that results do not depend on their numbering.

    Coarse before fine, large before small, then by box and code.
    """
    boxes: Sequence[list[int]] = masks.boxes.tolist()
    return sorted(
        range(len(masks)),
        key=lambda i: (int(masks.level[i]), -int(masks.area_px[i]), boxes[i], masks.rle[i]),
    )
