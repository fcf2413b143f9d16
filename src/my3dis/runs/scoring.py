"""Turns instances and per-vertex targets, of one scene or of many, into the rows of ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.hierarchy import ParentConsistency, parent_consistency
from my3dis.metrics.levels import LevelResult, SceneCounts, best_level, count_scene, evaluate_counts
from my3dis.metrics.protocols import AP_THRESHOLDS, ID_BASE, VOID, Protocol
from my3dis.runs.scores import InstanceScore, ParentScore, Target
from my3dis.types import InstanceSet

__all__ = [
    "CountedScene",
    "SceneTargets",
    "counted_scene",
    "instance_scores",
    "parent_score",
    "pooled_parents",
    "pooled_scores",
]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SceneTargets:
    """What the instances of one scene are scored against; targets as `my3dis.metrics.protocols` makes them.

    Attributes:
        scene: name printed with every figure.
        objects, parts: (P,) targets, or None when not scored.
        object_protocol, part_protocol: how the targets were chosen.
        object_of_part: object id (without label) of each part id; empty = unknown.
    """

    scene: str
    object_protocol: Protocol
    part_protocol: Protocol
    objects: NDArray[np.int64] | None = None
    parts: NDArray[np.int64] | None = None
    object_of_part: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CountedScene:
    """What remains of a scene for pooling once its instances are counted; its masks may be forgotten."""

    scene: str
    object_protocol: Protocol
    part_protocol: Protocol
    objects: SceneCounts | None
    parts: SceneCounts | None
    parents: ParentConsistency | None


def counted_scene(instances: InstanceSet, targets: SceneTargets) -> CountedScene:
    """Count a scene.

    Raises:
        DataError: if the targets are of another number of points than the instances.
    """
    kinds = ((targets.objects, targets.object_protocol), (targets.parts, targets.part_protocol))
    objects, parts = (
        None if target is None else count_scene(instances, target, min_region=protocol.min_region)
        for target, protocol in kinds
    )
    return CountedScene(
        scene=targets.scene,
        object_protocol=targets.object_protocol,
        part_protocol=targets.part_protocol,
        objects=objects,
        parts=parts,
        parents=_parents(instances, targets),
    )


def instance_scores(instances: InstanceSet, targets: SceneTargets) -> tuple[InstanceScore, ...]:
    """Score every level, all levels flattened, and the best level; objects first, then parts.

    Raises:
        DataError: if the targets are of another number of points than the instances.
    """
    return pooled_scores([counted_scene(instances, targets)])


def pooled_scores(
    scenes: Sequence[CountedScene], thresholds: Sequence[float] = AP_THRESHOLDS
) -> tuple[InstanceScore, ...]:
    """Score scenes pooled: every level, all levels flattened, and the best level; objects, then parts.

    Args:
        scenes: at least one, all counted by the same protocols. Each has objects, or none has; so with parts.
        thresholds: overlaps of which AP is the mean.

    Raises:
        DataError: if the protocol needs labels and no instance has one.
    """
    names = tuple(scene.scene for scene in scenes)
    rows: list[InstanceScore] = []
    objects = [scene.objects for scene in scenes if scene.objects is not None]
    parts = [scene.parts for scene in scenes if scene.parts is not None]
    if objects:
        protocol = scenes[0].object_protocol
        rows += _rows(evaluate_counts(objects, protocol, thresholds=thresholds), "objects", protocol, names)
    if parts:
        protocol = scenes[0].part_protocol
        rows += _rows(evaluate_counts(parts, protocol, thresholds=thresholds), "parts", protocol, names)
    return tuple(rows)


def _rows(
    results: Sequence[LevelResult], target: Target, protocol: Protocol, scenes: tuple[str, ...]
) -> list[InstanceScore]:
    best = best_level(results)
    marked: list[tuple[LevelResult, bool]] = [(result, False) for result in results]
    if best is not None:
        marked.append((best, True))
    return [
        InstanceScore.of(
            modal,
            target=target,
            selection="best level" if is_best else "all levels" if result.level is None else "level",
            level=result.level,
            protocol=protocol.name,
            scenes=scenes,
        ).with_classes(result.classes)
        for result, is_best in marked
        for modal in (result.ranked, result.constant)
    ]


def parent_score(instances: InstanceSet, targets: SceneTargets) -> ParentScore | None:
    """Check whether matched parts hang under the right objects; None where the hierarchy is unknown."""
    result = _parents(instances, targets)
    return None if result is None else ParentScore.of(result, scene=targets.scene)


def pooled_parents(scenes: Sequence[CountedScene]) -> ParentScore | None:
    """Add up what `parent_score` says of each scene; None where no scene's hierarchy is known."""
    known = [scene.parents for scene in scenes if scene.parents is not None]
    if not known:
        return None
    total = ParentConsistency(
        consistent=sum(one.consistent for one in known),
        orphans=sum(one.orphans for one in known),
        matched=sum(one.matched for one in known),
        n_parts=sum(one.n_parts for one in known),
        threshold=known[0].threshold,
    )
    return ParentScore.of(total, scene=scenes[0].scene if len(scenes) == 1 else f"{len(known)} scenes")


def _parents(instances: InstanceSet, targets: SceneTargets) -> ParentConsistency | None:
    if targets.objects is None or targets.parts is None or not targets.object_of_part:
        return None
    # Parts refer to objects by the object id alone; the targets carry the label before it.
    object_ids = np.where(targets.objects == VOID, VOID, targets.objects % ID_BASE)
    return parent_consistency(
        instances,
        targets.parts,
        object_ids,
        targets.object_of_part,
        min_region=targets.part_protocol.min_region,
    )
