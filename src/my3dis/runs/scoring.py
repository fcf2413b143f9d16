"""Turns instances and per-vertex targets of one scene into the rows of ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.hierarchy import parent_consistency
from my3dis.metrics.levels import LevelResult, best_level, evaluate_levels
from my3dis.metrics.protocols import ID_BASE, VOID, Protocol
from my3dis.runs.scores import InstanceScore, ParentScore, Target
from my3dis.types import InstanceSet

__all__ = ["SceneTargets", "instance_scores", "parent_score"]


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


def instance_scores(instances: InstanceSet, targets: SceneTargets) -> tuple[InstanceScore, ...]:
    """Score every level, all levels flattened, and the best level; objects first, then parts.

    Raises:
        DataError: if the targets are of another number of points than the instances.
    """
    rows: list[InstanceScore] = []
    if targets.objects is not None:
        rows += _rows(instances, targets.objects, "objects", targets.object_protocol, targets.scene)
    if targets.parts is not None:
        rows += _rows(instances, targets.parts, "parts", targets.part_protocol, targets.scene)
    return tuple(rows)


def _rows(
    instances: InstanceSet, values: NDArray[np.int64], target: Target, protocol: Protocol, scene: str
) -> list[InstanceScore]:
    results = evaluate_levels([(instances, values)], min_region=protocol.min_region)
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
            scenes=(scene,),
        )
        for result, is_best in marked
        for modal in (result.ranked, result.constant)
    ]


def parent_score(instances: InstanceSet, targets: SceneTargets) -> ParentScore | None:
    """Check whether matched parts hang under the right objects; None where the hierarchy is unknown."""
    if targets.objects is None or targets.parts is None or not targets.object_of_part:
        return None
    # Parts refer to objects by the object id alone; the targets carry the label before it.
    object_ids = np.where(targets.objects == VOID, VOID, targets.objects % ID_BASE)
    result = parent_consistency(
        instances,
        targets.parts,
        object_ids,
        targets.object_of_part,
        min_region=targets.part_protocol.min_region,
    )
    return ParentScore.of(result, scene=targets.scene)
