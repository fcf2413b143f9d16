"""Scores of each level alone, of the best one, and of all levels together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.metrics.average_precision import ApResult, evaluate_overlaps
from my3dis.metrics.by_class import ClassResult, evaluate_classes
from my3dis.metrics.matching import Overlaps, overlaps, restrict
from my3dis.metrics.protocols import AP_THRESHOLDS, Protocol
from my3dis.types import InstanceSet

__all__ = [
    "LevelResult",
    "SceneCounts",
    "best_level",
    "count_scene",
    "evaluate_counts",
    "evaluate_levels",
    "select_level",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """Scores of the instances of one level, or of all levels flattened.

    Attributes:
        level: the level, or None for all levels in one list, coarse to fine as they are stored.
        ranked, constant: with the confidences as predicted, and with 1 for every prediction.
        classes: scores of each class where the protocol scores classes apart; `ranked` and `constant` are
            then means over them.
    """

    level: int | None
    ranked: ApResult
    constant: ApResult
    classes: tuple[ClassResult, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SceneCounts:
    """All that is needed of a scene to score it, whatever its size: hundreds of scenes fit into memory.

    Attributes:
        overlaps: of the instances of all levels.
        level, label: (K,) of each counted instance.
        dropped_level: levels of the instances that are too small.
    """

    overlaps: Overlaps
    level: NDArray[np.int16]
    label: NDArray[np.int32]
    dropped_level: NDArray[np.int16]


def count_scene(instances: InstanceSet, target: NDArray[np.int64], *, min_region: int) -> SceneCounts:
    """Count what instances share with ground truth; see `my3dis.metrics.matching.overlaps`.

    Raises:
        DataError: if the lengths differ or an instance lists a point twice.
    """
    counted = overlaps(instances, target, min_region=min_region)
    return SceneCounts(
        overlaps=counted,
        level=instances.level[counted.prediction],
        label=instances.label[counted.prediction],
        dropped_level=np.delete(instances.level, counted.prediction),
    )


def evaluate_counts(
    scenes: Sequence[SceneCounts], protocol: Protocol, *, thresholds: Sequence[float] = AP_THRESHOLDS
) -> tuple[LevelResult, ...]:
    """Score every level that occurs, coarse to fine, and then all levels flattened.

    Args:
        scenes: counted with the protocol's `min_region`, pooled.
        protocol: says whether classes are scored apart.
        thresholds: overlaps of which AP is the mean.

    Raises:
        DataError: if classes are scored apart and no instance of all scenes has a label.
    """
    if protocol.by_class:
        _require_labels(scenes, protocol)
    present = {int(n) for scene in scenes for n in (*scene.level.tolist(), *scene.dropped_level.tolist())}
    return tuple(_score(scenes, level, protocol, thresholds) for level in (*sorted(present), None))


def evaluate_levels(
    scenes: Sequence[tuple[InstanceSet, NDArray[np.int64]]], *, min_region: int
) -> tuple[LevelResult, ...]:
    """Score every level that occurs, coarse to fine, and then all levels flattened, all in one class.

    Args:
        scenes: predictions of all levels and (P,) target per point, pooled.
        min_region: predictions and ground-truth instances with fewer points do not count.
    """
    counted = [count_scene(instances, target, min_region=min_region) for instances, target in scenes]
    return evaluate_counts(counted, Protocol(name="", summary="", min_region=min_region))


def _score(
    scenes: Sequence[SceneCounts], level: int | None, protocol: Protocol, thresholds: Sequence[float]
) -> LevelResult:
    chosen = [_at_level(scene, level) for scene in scenes]
    if protocol.by_class:
        classes, ranked, constant = evaluate_classes(
            chosen, protocol.labels, min_region=protocol.min_region, thresholds=thresholds
        )
        return LevelResult(level=level, ranked=ranked, constant=constant, classes=classes)
    ranked, constant = evaluate_overlaps(
        [scene for scene, _ in chosen], min_region=protocol.min_region, thresholds=thresholds
    )
    return LevelResult(level=level, ranked=ranked, constant=constant)


def _at_level(scene: SceneCounts, level: int | None) -> tuple[Overlaps, NDArray[np.int32]]:
    if level is None:
        return scene.overlaps, scene.label
    kept = scene.level == level
    dropped = int((scene.dropped_level == level).sum())
    return replace(restrict(scene.overlaps, kept), dropped_small=dropped), scene.label[kept]


def _require_labels(scenes: Sequence[SceneCounts], protocol: Protocol) -> None:
    n = sum(len(scene.label) for scene in scenes)
    if n and all(bool((scene.label < 0).all()) for scene in scenes):
        raise DataError(
            f"expected instances with labels for protocol {protocol.name}, found {n} without any; "
            "choose a protocol without classes, such as class_agnostic or scannet_v2_merged"
        )


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
