"""How well a mask's outline follows the true one, and what DAVIS makes of a sequence of such figures.

Source: DAVIS (Perazzi et al., CVPR 2016), boundary measure F; the mean, recall and decay of J and F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from my3dis.errors import DataError

__all__ = ["BOUNDARY_TOLERANCE", "SequenceScore", "boundary_f", "boundary_pixels", "sequence_score"]

BOUNDARY_TOLERANCE = 0.008
"""Share of the image's diagonal by which outlines may lie apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceScore:
    """One measure over the frames of a sequence.

    Attributes:
        mean: over frames.
        recall: share of frames above 0.5.
        decay: mean of the first quarter less that of the last: what is lost over time.
        frames: frames that count.
    """

    mean: float
    recall: float
    decay: float
    frames: int


def boundary_pixels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (N, 2) rows and columns of the pixels of a mask's outline.

    A pixel is on the outline when it differs from its right, lower or lower right neighbour; outside of the
    image everything is as at its edge.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    edge = (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
    return np.argwhere(edge)


def boundary_f(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], *, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """Return F, the harmonic mean of the outline's precision and recall.

    Args:
        predicted: (H, W) a mask.
        truth: (H, W) the true one.
        tolerance: pixels of the outlines match up to this share of the image's diagonal, rounded up.

    Returns:
        1 for two masks without outline, 0 when only one of them has one.

    Raises:
        DataError: if the sizes differ.
    """
    if predicted.shape != truth.shape:
        raise DataError(
            f"expected masks of one size, found {predicted.shape} and {truth.shape}; "
            "score masks at the size of the ground truth"
        )
    radius_px = math.ceil(tolerance * math.hypot(*truth.shape))
    found, wanted = boundary_pixels(predicted), boundary_pixels(truth)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    precision, recall = _near(found, wanted, radius_px), _near(wanted, found, radius_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def sequence_score(values: NDArray[np.float64]) -> SequenceScore:
    """Return mean, recall and decay over (F,) values in frame order; NaN without frames.

    Leave out frames that do not count (DAVIS: the first, which is given, and the last) beforehand.
    """
    n = len(values)
    if n == 0:
        return SequenceScore(mean=math.nan, recall=math.nan, decay=math.nan, frames=0)
    # Quarters share their end frames.
    ends = np.floor(np.linspace(1, n, 5) + 0.5 + 1e-10).astype(np.int64) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return SequenceScore(
        mean=float(values.mean()),
        recall=float((values > 0.5).mean()),
        decay=float(first.mean() - last.mean()),
        frames=n,
    )


def _near(points: NDArray[np.intp], others: NDArray[np.intp], radius_px: int) -> float:
    """Return the share of points that lie within the radius of one of the others."""
    # Distances are roots of whole numbers: half a step beyond the radius is not reached by rounding.
    limit = math.sqrt(radius_px**2 + 0.5)
    distance, _ = cKDTree(others).query(points, distance_upper_bound=limit)
    return float(np.isfinite(distance).mean())
