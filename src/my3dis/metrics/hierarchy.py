"""Whether parts hang under the right objects in 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.metrics.matching import Overlaps, overlaps
from my3dis.types import NO_ID, InstanceSet

__all__ = ["ParentConsistency", "parent_consistency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentConsistency:
    """How many matched parts have a parent that is matched to the right object.

    Attributes:
        consistent: matched parts with a right ancestor.
        orphans: matched parts whose instance has no parent at all.
        matched: parts that some instance below the coarsest level matches.
        n_parts: parts that count.
        threshold: IoU that a match must exceed, for parts and objects alike.
    """

    consistent: int
    orphans: int
    matched: int
    n_parts: int
    threshold: float

    @property
    def share(self) -> float:
        """Consistent among matched parts; NaN when none is matched."""
        return self.consistent / self.matched if self.matched else math.nan


def parent_consistency(
    instances: InstanceSet,
    part_target: NDArray[np.int64],
    object_target: NDArray[np.int64],
    object_of_part: Mapping[int, int],
    *,
    min_region: int = 10,
    threshold: float = 0.5,
) -> ParentConsistency:
    """Check the parents of the instances that match ground-truth parts.

    Each part takes the instance with the highest IoU above the threshold among those below the coarsest
    level (ties: the first). It is consistent when an ancestor of that instance matches the part's object.

    Args:
        instances: all levels with parents.
        part_target: (P,) part id per point, -1 = void.
        object_target: (P,) object id per point, -1 = void; the ids that `object_of_part` maps to.
        object_of_part: object id of each part id.
        min_region: smaller parts and instances do not count.
        threshold: IoU that a match must exceed; from 0.5 on a match is unique.
    """
    parts = overlaps(instances, part_target, min_region=min_region)
    objects = overlaps(instances, object_target, min_region=min_region)
    counting = parts.gt_size >= min_region
    below_top = instances.level > instances.level.min(initial=np.iinfo(np.int16).max)
    best = _best_prediction(parts, threshold, below_top)
    object_of_position = _matched_object(objects, threshold)
    position_of_id = {int(i): k for k, i in enumerate(instances.instance_id)}
    consistent = orphans = matched = 0
    for g in np.flatnonzero(counting).tolist():
        if g not in best:
            continue
        matched += 1
        chain = _ancestors(instances, best[g], position_of_id)
        orphans += not chain
        wanted = object_of_part.get(int(parts.gt_id[g]))
        consistent += wanted is not None and any(object_of_position.get(k) == wanted for k in chain)
    return ParentConsistency(
        consistent=consistent,
        orphans=orphans,
        matched=matched,
        n_parts=int(counting.sum()),
        threshold=threshold,
    )


def _best_prediction(scene: Overlaps, threshold: float, allowed: NDArray[np.bool_]) -> dict[int, int]:
    """Return, per row of `gt_id`, the position of the allowed instance with the highest IoU."""
    iou = scene.pair_iou()
    usable = np.flatnonzero((iou > threshold) & allowed[scene.prediction[scene.pair_prediction]])
    best: dict[int, int] = {}
    for pair in usable[np.argsort(-iou[usable], kind="stable")].tolist():
        best.setdefault(int(scene.pair_gt[pair]), int(scene.prediction[scene.pair_prediction[pair]]))
    return best


def _matched_object(scene: Overlaps, threshold: float) -> dict[int, int]:
    """Return the object id that each matching instance (by position) overlaps most."""
    iou = scene.pair_iou()
    usable = np.flatnonzero(iou > threshold)
    found: dict[int, int] = {}
    for pair in usable[np.argsort(-iou[usable], kind="stable")].tolist():
        found.setdefault(
            int(scene.prediction[scene.pair_prediction[pair]]), int(scene.gt_id[scene.pair_gt[pair]])
        )
    return found


def _ancestors(instances: InstanceSet, position: int, position_of_id: Mapping[int, int]) -> list[int]:
    """Return positions of the parent, its parent and so on; a loop or a missing parent ends the chain."""
    chain: list[int] = []
    parent = int(instances.parent_id[position])
    while parent != NO_ID and parent in position_of_id:
        k = position_of_id[parent]
        if k in chain or k == position:
            break
        chain.append(k)
        parent = int(instances.parent_id[k])
    return chain
