"""Overlaps between predicted instances and ground truth, and who matches whom at a threshold.

The cost is one count over the predictions' points; no (points x predictions) array is ever made.

Source: the rules of ScanNet's 3D instance benchmark (Dai et al., CVPR 2017), written anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.metrics.protocols import VOID
from my3dis.types import InstanceSet

__all__ = ["Matches", "Overlaps", "match", "overlaps", "restrict"]

_BLOCK_CELLS = 1 << 22
"""Counters held at once while counting (32 MB)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Overlaps:
    """What touches what in one scene.

    Attributes:
        gt_id: (G,) int64 ids that occur, ascending.
        gt_size: (G,) int64 points of each.
        prediction: (K,) int64 positions in the instance set, in input order; small ones are gone.
        prediction_size: (K,) int64 points of each.
        score: (K,) float64 confidences.
        void: (K,) int64 points of each prediction in void.
        pair_prediction, pair_gt: (M,) int64 rows of `prediction` and `gt_id` that touch, ordered by
            (prediction, ground truth).
        pair_count: (M,) int64 points they share, above 0.
        dropped_small: predictions left out because they have too few points.
    """

    gt_id: NDArray[np.int64]
    gt_size: NDArray[np.int64]
    prediction: NDArray[np.int64]
    prediction_size: NDArray[np.int64]
    score: NDArray[np.float64]
    void: NDArray[np.int64]
    pair_prediction: NDArray[np.int64]
    pair_gt: NDArray[np.int64]
    pair_count: NDArray[np.int64]
    dropped_small: int

    def pair_iou(self) -> NDArray[np.float64]:
        """Return (M,) intersection over union of every pair that touches."""
        union = self.gt_size[self.pair_gt] + self.prediction_size[self.pair_prediction] - self.pair_count
        return self.pair_count / union


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Matches:
    """What one scene adds to the curve at one threshold.

    Attributes:
        score: (E,) float64 confidence of every counted prediction.
        is_true: (E,) bool whether it is a true positive.
        missed: ground-truth instances without any hit.
        n_gt: ground-truth instances that count.
        ignored: predictions neither true nor false: mostly void, or on a too small instance.
        gt_matched: (n,) int64 ids of the instances with a hit.
    """

    score: NDArray[np.float64]
    is_true: NDArray[np.bool_]
    missed: int
    n_gt: int
    ignored: int
    gt_matched: NDArray[np.int64]


def overlaps(instances: InstanceSet, target: NDArray[np.int64], *, min_region: int) -> Overlaps:
    """Count the points that predictions share with ground-truth instances.

    Args:
        instances: K predictions over P points; they may overlap.
        target: (P,) ground-truth id per point, `my3dis.metrics.protocols.VOID` where nothing counts.
        min_region: predictions with fewer points are left out, and counted.

    Raises:
        DataError: if the lengths differ or an instance lists a point twice.
    """
    if target.shape != (instances.n_points,):
        raise DataError(
            f"expected ground truth for the {instances.n_points} points of the instances, found "
            f"{len(target)} values; predictions and ground truth belong to different meshes"
        )
    _require_ascending(instances)
    size = np.diff(instances.point_offsets)
    kept = np.flatnonzero((size >= min_region) & (size > 0))
    gt_id, gt_size = np.unique(target[target != VOID], return_counts=True)
    # Column 0 collects void, column 1 + g the ground-truth instance g.
    column = np.searchsorted(gt_id, target) + 1
    column[target == VOID] = 0
    rows, columns, counts = _count(instances, kept, column, len(gt_id) + 1)
    in_void = columns == 0
    void = np.zeros(len(kept), np.int64)
    void[rows[in_void]] = counts[in_void]
    return Overlaps(
        gt_id=gt_id,
        gt_size=gt_size.astype(np.int64),
        prediction=kept,
        prediction_size=size[kept],
        score=instances.score[kept].astype(np.float64),
        void=void,
        pair_prediction=rows[~in_void],
        pair_gt=columns[~in_void] - 1,
        pair_count=counts[~in_void],
        dropped_small=len(size) - len(kept),
    )


def restrict(
    scene: Overlaps, predictions: NDArray[np.bool_], gts: NDArray[np.bool_] | None = None
) -> Overlaps:
    """Return the scene with some predictions and some ground truth only; void stays as it is.

    What a prediction shares with ground truth that is left out is then neither void nor a match, as between
    classes that are scored apart.

    Args:
        scene: all counts.
        predictions: (K,) which rows of `Overlaps.prediction` to keep.
        gts: (G,) which rows of `Overlaps.gt_id` to keep; None = all.
    """
    kept_gt = np.ones(len(scene.gt_id), np.bool_) if gts is None else gts
    pairs = predictions[scene.pair_prediction] & kept_gt[scene.pair_gt]
    row = np.cumsum(predictions) - 1
    column = np.cumsum(kept_gt) - 1
    return Overlaps(
        gt_id=scene.gt_id[kept_gt],
        gt_size=scene.gt_size[kept_gt],
        prediction=scene.prediction[predictions],
        prediction_size=scene.prediction_size[predictions],
        score=scene.score[predictions],
        void=scene.void[predictions],
        pair_prediction=row[scene.pair_prediction[pairs]],
        pair_gt=column[scene.pair_gt[pairs]],
        pair_count=scene.pair_count[pairs],
        dropped_small=0,
    )


def _require_ascending(instances: InstanceSet) -> None:
    rises = np.diff(instances.point_index) > 0
    starts = instances.point_offsets[1:-1]
    starts = starts[(starts > 0) & (starts < len(instances.point_index))]
    rises[starts - 1] = True
    if not bool(rises.all()):
        raise DataError(
            "expected ascending point indices within each instance, found a repeated or unordered one; "
            "sort and deduplicate the instances' points"
        )


def _count(
    instances: InstanceSet, kept: NDArray[np.int64], column: NDArray[np.int64], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (row, column, count) of the non-zero cells, a block of predictions at a time."""
    offsets = instances.point_offsets
    step = max(1, _BLOCK_CELLS // n_columns)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    for first in range(0, len(kept), step):
        block = kept[first : first + step]
        codes = [
            column[instances.point_index[offsets[k] : offsets[k + 1]]] + row * n_columns
            for row, k in enumerate(block.tolist())
        ]
        cells = np.bincount(np.concatenate(codes), minlength=len(block) * n_columns)
        filled = np.flatnonzero(cells)
        found.append((filled // n_columns + first, filled % n_columns, cells[filled].astype(np.int64)))
    if not found:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    rows, columns, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, counts


def match(scene: Overlaps, threshold: float, *, min_region: int) -> Matches:
    """Match the predictions of a scene to its ground truth at one overlap threshold.

    Ground truth is visited in id order and, for each, touching predictions in input order (not by
    confidence). The first unvisited one with IoU strictly above the threshold is a hit; each later one
    makes the lower of the two confidences a false positive and stays unvisited. A prediction that hits
    nothing is a false positive unless more than `threshold` of it lies in void or on instances smaller
    than `min_region`.
    """
    counts = scene.gt_size >= min_region
    iou = scene.pair_iou()
    hits = iou > threshold
    visited: set[int] = set()
    true_scores: list[float] = []
    false_scores: list[float] = []
    matched: list[int] = []
    # Pairs are sorted by prediction; a stable sort by ground truth keeps input order within each.
    candidates = np.flatnonzero(hits & counts[scene.pair_gt])
    candidates = candidates[np.argsort(scene.pair_gt[candidates], kind="stable")]
    current = -1
    for gt, prediction in zip(
        scene.pair_gt[candidates].tolist(), scene.pair_prediction[candidates].tolist(), strict=True
    ):
        if prediction in visited:
            continue
        score = float(scene.score[prediction])
        if gt != current:
            current = gt
            visited.add(prediction)
            true_scores.append(score)
            matched.append(gt)
        else:
            false_scores.append(min(true_scores[-1], score))
            true_scores[-1] = max(true_scores[-1], score)
    unhit, neutral = _unmatched(scene, hits, threshold, counts)
    scores = np.concatenate([np.asarray(true_scores), np.asarray(false_scores), scene.score[unhit]])
    is_true = np.zeros(len(scores), np.bool_)
    is_true[: len(true_scores)] = True
    n_gt = int(counts.sum())
    return Matches(
        score=scores,
        is_true=is_true,
        missed=n_gt - len(matched),
        n_gt=n_gt,
        ignored=neutral,
        gt_matched=scene.gt_id[np.asarray(matched, np.int64)],
    )


def _unmatched(
    scene: Overlaps, hits: NDArray[np.bool_], threshold: float, counts: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], int]:
    """Return the predictions that are false positives for hitting nothing, and how many are neutral."""
    has_hit = np.zeros(len(scene.prediction), np.bool_)
    has_hit[scene.pair_prediction[hits]] = True
    on_small = ~counts[scene.pair_gt]
    ignorable = scene.void + np.bincount(
        scene.pair_prediction[on_small],
        weights=scene.pair_count[on_small],
        minlength=len(scene.prediction),
    ).astype(np.int64)
    counted = ignorable / scene.prediction_size <= threshold
    hit_only_small = has_hit.copy()
    hit_only_small[scene.pair_prediction[hits & counts[scene.pair_gt]]] = False
    neutral = int((~has_hit & ~counted).sum() + hit_only_small.sum())
    return np.flatnonzero(~has_hit & counted), neutral
