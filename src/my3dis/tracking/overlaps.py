"""How the predicted masks of tracks and the candidates of a frame lie over each other, on one level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.overlap import iou_matrix
from my3dis.types import MaskSet

__all__ = ["MOSTLY", "NOTABLE", "Overlaps"]

MOSTLY = 0.7
"""A mask lies mostly inside another, or is mostly explained by others, from this share on."""
NOTABLE = 0.15
"""A part of this share or more of a mask is no border effect."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Shared areas of K predictions and N candidates.

    Attributes:
        iou: (K, N) intersection over union.
        of_prediction: (K, N) share of the prediction that lies in the candidate.
        of_candidate: (K, N) share of the candidate that lies in the prediction.
    """

    iou: NDArray[np.float64]
    of_prediction: NDArray[np.float64]
    of_candidate: NDArray[np.float64]

    @classmethod
    def between(cls, predictions: MaskSet, candidates: MaskSet) -> Overlaps:
        """Measure every pair, from the run-length codes."""
        iou = iou_matrix(predictions, candidates)
        total = predictions.area_px[:, None] + candidates.area_px[None, :]
        shared = iou * total / (1.0 + iou)
        return cls(
            iou=iou,
            of_prediction=shared / np.maximum(predictions.area_px, 1)[:, None],
            of_candidate=shared / np.maximum(candidates.area_px, 1)[None, :],
        )

    def swallowing(self, fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each candidate (N,) holds two or more fresh tracks whole: a merged mask, not one object."""
        inside = (self.of_prediction >= MOSTLY) & (self.of_candidate >= NOTABLE) & fresh[:, None]
        several: NDArray[np.bool_] = inside.sum(axis=0) >= 2
        return several

    def grown(self) -> NDArray[np.float64]:
        """Score (K, N) candidates that hold a prediction which covers more of them than any other does.

        This is how an object looks that comes into the image or from behind another: what was seen before is
        inside, the rest is nobody's.
        """
        leading = self.of_candidate >= self.of_candidate.max(axis=0, initial=0.0, keepdims=True)
        holds = (self.of_prediction >= MOSTLY) & leading & (self.of_candidate > 0)
        return np.where(holds, 0.5 + 0.5 * self.iou, 0.0)

    def is_clean(self, row: int, column: int) -> bool:
        """Whether a candidate matched to a prediction holds little of the other predictions."""
        others = float(self.of_candidate[:, column].sum() - self.of_candidate[row, column])
        return others <= NOTABLE
