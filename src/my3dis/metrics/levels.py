"""Scores of each level alone, of the best one, and of all levels together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.average_precision import ApResult, evaluate_score_modes
from my3dis.types import InstanceSet

__all__ = ["LevelResult", "best_level", "evaluate_levels", "select_level"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """Scores of the instances of one level, or of all levels flattened.

    Attributes:
        level: the level, or None for all levels in one list, coarse to fine as they are stored.
        ranked, constant: with the confidences as predicted, and with 1 for every prediction.
    """

    level: int | None
    ranked: ApResult
    constant: ApResult


def evaluate_levels(
    scenes: Sequence[tuple[InstanceSet, NDArray[np.int64]]], *, min_region: int
) -> tuple[LevelResult, ...]:
    """Score every level that occurs, coarse to fine, and then all levels flattened.

    Args:
        scenes: predictions of all levels and (P,) target per point, pooled.
        min_region: predictions and ground-truth instances with fewer points do not count.
    """
    levels = sorted({int(level) for instances, _ in scenes for level in instances.level})
    results = []
    for level in (*levels, None):
        chosen = [(select_level(instances, level), target) for instances, target in scenes]
        ranked, constant = evaluate_score_modes(chosen, min_region=min_region)
        results.append(LevelResult(level=level, ranked=ranked, constant=constant))
    return tuple(results)


def best_level(results: Sequence[LevelResult]) -> LevelResult | None:
    """Return the single level with the highest ranked AP50 (ties: AP, then the coarser); None without any."""
    single = [r for r in results if r.level is not None and not math.isnan(r.ranked.ap50)]
    # max() keeps the first of equals, and levels come coarse to fine.
    return max(single, key=lambda r: (r.ranked.ap50, r.ranked.ap), default=None)


def select_level(instances: InstanceSet, level: int | None) -> InstanceSet:
    """Return the instances of one level in their order, or the set itself for None."""
    if level is None:
        return instances
    kept = np.flatnonzero(instances.level == level)
    sizes = np.diff(instances.point_offsets)[kept]
    points = [instances.points_of(k) for k in kept.tolist()]
    return InstanceSet(
        instance_id=instances.instance_id[kept],
        level=instances.level[kept],
        parent_id=instances.parent_id[kept],
        label=instances.label[kept],
        score=instances.score[kept],
        point_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)]),
        point_index=np.concatenate([np.zeros(0, np.int64), *points]),
        n_points=instances.n_points,
        cloud_digest=instances.cloud_digest,
    )
