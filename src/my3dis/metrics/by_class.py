"""Average precision of every class alone, and its mean over classes.

Source: ScanNet 3D instance benchmark (Dai et al., CVPR 2017): a prediction meets ground truth of its own
class only; what it shares with other classes is neither a match nor void.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.average_precision import ApResult, ThresholdResult, evaluate_overlaps
from my3dis.metrics.matching import Overlaps, restrict
from my3dis.metrics.protocols import AP_THRESHOLDS, ID_BASE

__all__ = ["ClassResult", "evaluate_classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """Scores of one class; `label` as in the ground truth's ids."""

    label: int
    ranked: ApResult
    constant: ApResult


def evaluate_classes(
    scenes: Sequence[tuple[Overlaps, NDArray[np.integer]]],
    labels: frozenset[int] | None,
    *,
    min_region: int,
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> tuple[tuple[ClassResult, ...], ApResult, ApResult]:
    """Score each class alone.

    Args:
        scenes: counts, and (K,) the label of each counted prediction.
        labels: the classes that exist; None = those that occur in the ground truth.
        min_region: smaller ground-truth instances do not count.
        thresholds: overlaps of which AP is the mean.

    Returns:
        The classes with ground truth, ascending; and the means over them, with confidences as predicted and
        constant. Predictions of other labels are dropped. In the means, counts are sums and precision and
        recall are of the sums.
    """
    present = {int(label) for scene, _ in scenes for label in np.unique(scene.gt_id // ID_BASE)}
    known = present if labels is None else present & labels
    classes = []
    for label in sorted(known):
        own = [restrict(scene, of == label, scene.gt_id // ID_BASE == label) for scene, of in scenes]
        ranked, constant = evaluate_overlaps(own, min_region=min_region, thresholds=thresholds)
        # Instances that are all too small leave a class without ground truth.
        if ranked.n_gt:
            classes.append(ClassResult(label=label, ranked=ranked, constant=constant))
    dropped = sum(scene.dropped_small for scene, _ in scenes)
    empty = evaluate_overlaps([], min_region=min_region, thresholds=thresholds)
    means = [
        _mean([getattr(c, mode) for c in classes], none, len(scenes), dropped)
        for mode, none in zip(("ranked", "constant"), empty, strict=True)
    ]
    return tuple(classes), means[0], means[1]


def _mean(classes: Sequence[ApResult], none: ApResult, n_scenes: int, dropped: int) -> ApResult:
    at = tuple(_mean_at([c.thresholds[i] for c in classes], blank) for i, blank in enumerate(none.thresholds))
    return ApResult(
        ap=float(np.mean([r.ap for r in at[:-1]])),
        ap50=at[0].ap,
        ap25=at[-1].ap,
        thresholds=at,
        n_gt=sum(c.n_gt for c in classes),
        n_predictions=sum(c.n_predictions for c in classes),
        dropped_small=dropped,
        n_scenes=n_scenes,
        min_region=none.min_region,
        scores=none.scores,
    )


def _mean_at(classes: Sequence[ThresholdResult], none: ThresholdResult) -> ThresholdResult:
    true, false = sum(c.true_positives for c in classes), sum(c.false_positives for c in classes)
    missed = sum(c.missed for c in classes)
    return ThresholdResult(
        threshold=none.threshold,
        ap=float(np.mean([c.ap for c in classes])) if classes else math.nan,
        precision=true / (true + false) if true + false else math.nan,
        recall=true / (true + missed) if true + missed else math.nan,
        true_positives=true,
        false_positives=false,
        missed=missed,
        ignored=sum(c.ignored for c in classes),
        closed_form=float(np.mean([c.closed_form for c in classes])) if classes else math.nan,
    )
