"""Average precision of instances over points, as ScanNet's official code computes it.

Source: ScanNet 3D instance benchmark (Dai et al., CVPR 2017). Nine overlaps 0.50 to 0.90, strict
comparison, curve without monotone envelope; COCO-style code gives other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.matching import Matches, Overlaps, match, overlaps
from my3dis.metrics.protocols import AP25_THRESHOLD, AP_THRESHOLDS, ScoreMode
from my3dis.types import InstanceSet

__all__ = [
    "ApResult",
    "ThresholdResult",
    "average_precision",
    "constant_score_ap",
    "evaluate_instances",
    "evaluate_overlaps",
    "evaluate_score_modes",
    "precision_recall_curve",
]

CURVE_POINTS = 50
"""A recorded curve is thinned to so many points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdResult:
    """One overlap threshold; shares in [0, 1], NaN where undefined.

    Attributes:
        threshold: IoU that a hit must exceed.
        ap: area under the curve; NaN without ground truth.
        precision, recall: over all counted predictions.
        true_positives, false_positives, missed, ignored: instances.
        closed_form: R (1 + P) / 2, what `ap` must be when all confidences are equal; over classes its mean.
        curve: (recall, precision), recall descending, at most `CURVE_POINTS`; for ranked predictions at 0.50.
    """

    threshold: float
    ap: float
    precision: float
    recall: float
    true_positives: int
    false_positives: int
    missed: int
    ignored: int
    closed_form: float = math.nan
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApResult:
    """Average precision pooled over scenes; shares in [0, 1], NaN without ground truth.

    Attributes:
        ap: mean over the thresholds, nine unless others were asked for.
        ap50, ap25: at 0.50 and 0.25.
        thresholds: the thresholds of `ap` and, last, 0.25.
        n_gt: instances that count.
        n_predictions: predictions that were scored.
        dropped_small: predictions left out for having fewer than `min_region` points.
        n_scenes: scenes pooled.
        min_region, scores: how it was computed.
    """

    ap: float
    ap50: float
    ap25: float
    thresholds: tuple[ThresholdResult, ...]
    n_gt: int
    n_predictions: int
    dropped_small: int
    n_scenes: int
    min_region: int
    scores: ScoreMode

    @property
    def closed_form(self) -> float:
        """What `ap` must be when all confidences are equal: the mean of R (1 + P) / 2."""
        return float(np.mean([at.closed_form for at in self.thresholds[:-1]]))


def evaluate_instances(
    scenes: Sequence[tuple[InstanceSet, NDArray[np.int64]]],
    *,
    min_region: int = 100,
    scores: ScoreMode = "ranked",
) -> ApResult:
    """Score instances of one class against ground truth, pooled over scenes.

    Args:
        scenes: predictions and (P,) target per point (`my3dis.metrics.protocols.object_targets`).
        min_region: predictions and ground-truth instances with fewer points do not count.
        scores: use the confidences, or 1 for every prediction.

    Raises:
        DataError: if the lengths of predictions and targets differ.
    """
    return evaluate_score_modes(scenes, (scores,), min_region=min_region)[0]


def evaluate_score_modes(
    scenes: Sequence[tuple[InstanceSet, NDArray[np.int64]]],
    modes: Sequence[ScoreMode] = ("ranked", "constant"),
    *,
    min_region: int = 100,
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> tuple[ApResult, ...]:
    """Return one result per way of using confidences; see `evaluate_instances`.

    Who matches whom depends on the order of the input alone, so it is worked out once for all.
    """
    touching = [overlaps(instances, target, min_region=min_region) for instances, target in scenes]
    return evaluate_overlaps(touching, modes, min_region=min_region, thresholds=thresholds)


def evaluate_overlaps(
    scenes: Sequence[Overlaps],
    modes: Sequence[ScoreMode] = ("ranked", "constant"),
    *,
    min_region: int,
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> tuple[ApResult, ...]:
    """Return one result per way of using confidences, from counts alone: no mask is needed any more.

    Args:
        scenes: counts made with the same `min_region`.
        modes: ways of using confidences.
        min_region: smaller ground-truth instances do not count.
        thresholds: overlaps of which `ApResult.ap` is the mean; the first is that of `ApResult.ap50`.
    """
    every = (*thresholds, AP25_THRESHOLD)
    matches = [[match(scene, t, min_region=min_region) for scene in scenes] for t in every]
    results = []
    for mode in modes:
        at = tuple(_at_threshold(t, m, mode) for t, m in zip(every, matches, strict=True))
        results.append(
            ApResult(
                ap=float(np.mean([r.ap for r in at[:-1]])),
                ap50=at[0].ap,
                ap25=at[-1].ap,
                thresholds=at,
                n_gt=sum(scene.n_gt for scene in matches[0]),
                n_predictions=sum(len(scene.prediction) for scene in scenes),
                dropped_small=sum(scene.dropped_small for scene in scenes),
                n_scenes=len(scenes),
                min_region=min_region,
                scores=mode,
            )
        )
    return tuple(results)


def _at_threshold(threshold: float, matches: Sequence[Matches], scores: ScoreMode) -> ThresholdResult:
    is_true = np.concatenate([np.zeros(0, np.bool_), *(m.is_true for m in matches)])
    score = np.concatenate([np.zeros(0), *(m.score for m in matches)])
    if scores == "constant":
        score = np.ones_like(score)
    missed = sum(m.missed for m in matches)
    true_positives = int(is_true.sum())
    n_gt = true_positives + missed
    precision = true_positives / len(is_true) if len(is_true) else math.nan
    recall = true_positives / n_gt if n_gt else math.nan
    return ThresholdResult(
        threshold=threshold,
        ap=average_precision(score, is_true, missed),
        precision=precision,
        recall=recall,
        # Without a counted prediction there is no precision, and nothing was found.
        closed_form=constant_score_ap(0.0 if math.isnan(precision) else precision, recall),
        true_positives=true_positives,
        false_positives=len(is_true) - true_positives,
        missed=missed,
        ignored=sum(m.ignored for m in matches),
        curve=_thinned(score, is_true, missed)
        if scores == "ranked" and threshold == AP_THRESHOLDS[0]
        else (),
    )


def _thinned(
    score: NDArray[np.float64], is_true: NDArray[np.bool_], missed: int
) -> tuple[tuple[float, float], ...]:
    recall, precision = precision_recall_curve(score, is_true, missed)
    kept = np.unique(np.linspace(0, len(recall) - 1, min(CURVE_POINTS, len(recall))).round().astype(int))
    return tuple((round(float(recall[k]), 4), round(float(precision[k]), 4)) for k in kept)


def average_precision(score: NDArray[np.float64], is_true: NDArray[np.bool_], missed: int) -> float:
    """Return the area under the precision-recall curve.

    Args:
        score: (E,) confidences of the counted predictions.
        is_true: (E,) which of them are true positives.
        missed: ground-truth instances without a hit, which no confidence can reach.

    Returns:
        NaN without ground truth, 0 without predictions. One point of the curve per distinct
        confidence, and (precision 1, recall 0); each precision weighs half the recall between its
        neighbours, the first point standing beside itself.
    """
    if int(is_true.sum()) + missed == 0:
        return math.nan
    if len(score) == 0:
        return 0.0
    recall, precision = precision_recall_curve(score, is_true, missed)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    width = (padded[:-2] - padded[2:]) / 2
    return float(precision @ width)


def precision_recall_curve(
    score: NDArray[np.float64], is_true: NDArray[np.bool_], missed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall, descending, and precision at each: what `average_precision` is the area of.

    Args:
        score: (E,) confidences of the counted predictions.
        is_true: (E,) which of them are true positives.
        missed: ground-truth instances without a hit.

    Returns:
        (C,) each; empty without ground truth or without predictions.
    """
    n_true = int(is_true.sum())
    if n_true + missed == 0 or len(score) == 0:
        return np.zeros(0), np.zeros(0)
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    trues_below = np.concatenate([[0], np.cumsum(is_true[order])])[first]
    true_positives = n_true - trues_below
    precision = np.append(true_positives / (len(score) - first), 1.0)
    recall = np.append(true_positives / (n_true + missed), 0.0)
    return recall, precision


def constant_score_ap(precision: float, recall: float) -> float:
    """Return the closed form R (1 + P) / 2 of `average_precision` when all confidences are equal."""
    return recall * (1 + precision) / 2
