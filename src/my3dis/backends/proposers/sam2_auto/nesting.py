"""From a flat heap of masks with ranks to masks nested level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.boxes import box_area, box_intersection
from my3dis.masks.codec import measure, to_bytes, to_rle_mask
from my3dis.masks.overlap import containment_matrix
from my3dis.types import NO_ID, MaskSet

__all__ = ["INSIDE", "Nested", "box_nms", "nest", "ranks_of_levels"]

INSIDE = 0.8
"""Share of a mask that must lie inside a coarser one for that to become its parent."""
REPEATS = 0.9
"""A child that fills more of its parent than this is the same region."""
_BLOCK = 256


def ranks_of_levels(n_levels: int, n_ranks: int = 3) -> list[list[int]]:
    """Return which of a prompt's masks, ranked from large to small, stand at each level.

    Three levels take one rank each. With fewer, neighbouring ranks share a level: at one level all masks
    compete, as in the published generator. With more, neighbouring levels show the same rank: what does
    not split any further is at the coarser of them, since refinement drops a child that equals its parent.
    """
    if n_levels <= n_ranks:
        return [[r for r in range(n_ranks) if r * n_levels // n_ranks == level] for level in range(n_levels)]
    return [[level * n_ranks // n_levels] for level in range(n_levels)]


def box_nms(boxes_xyxy: NDArray[np.int32], order: NDArray[np.intp], threshold: float) -> NDArray[np.intp]:
    """Return the positions of the boxes that overlap no better one more than a threshold, best first.

    Args:
        boxes_xyxy: (N, 4) half-open.
        order: (N,) positions, best first; ties are the caller's to break.
        threshold: intersection over union above which the worse box goes.
    """
    areas = box_area(boxes_xyxy).astype(np.float64)
    left = order
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        shared = box_intersection(boxes_xyxy[best : best + 1], boxes_xyxy[left])[0]
        union = areas[best] + areas[left] - shared
        left = left[shared <= threshold * union]
    return np.array(kept, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Nested:
    """Masks of a frame, nested.

    Attributes:
        masks: coarse to fine, with parents.
        repeats: masks that were their parent again.
        clamped: other children that lost pixels outside their parent.
        orphans: masks below the first level without a parent.
    """

    masks: MaskSet
    repeats: int
    clamped: int
    orphans: int


def nest(per_level: Sequence[MaskSet]) -> Nested:
    """Give every mask the smallest mask of the next coarser level that holds most of it, and cut it to it.

    A mask of which no coarser mask holds `INSIDE` stays whole and has no parent: nothing at the coarser
    level speaks of that object. A child that fills more than `REPEATS` of its parent is delivered equal to
    it: the same region at both levels, of which refinement drops and counts the finer one.

    Args:
        per_level: masks of each level, coarse to fine, with ids of their own; parents are ignored.
    """
    nested: list[MaskSet] = []
    repeats = clamped = orphans = 0
    for rank, masks in enumerate(per_level):
        if rank == 0 or not len(masks):
            nested.append(masks)
            continue
        parent = _smallest_holder(masks, nested[-1])
        orphans += int((parent == NO_ID).sum())
        cut, repeated, lost = _cut(masks, nested[-1], parent)
        repeats, clamped = repeats + repeated, clamped + lost
        nested.append(cut)
    return Nested(MaskSet.concatenate(nested), repeats, clamped, orphans)


def _smallest_holder(masks: MaskSet, above: MaskSet) -> NDArray[np.int64]:
    """Return the (N,) position of the smallest coarser mask that holds each mask, -1 = none does."""
    if not len(above):
        return np.full(len(masks), NO_ID, np.int64)
    found = np.full(len(masks), NO_ID, np.int64)
    by_size = np.lexsort((above.mask_id, above.area_px))
    coarser = above.select(by_size)
    for start in range(0, len(masks), _BLOCK):
        some = np.arange(start, min(start + _BLOCK, len(masks)))
        holds = containment_matrix(masks.select(some), coarser) >= INSIDE
        any_holds = holds.any(axis=1)
        found[some[any_holds]] = by_size[holds.argmax(axis=1)[any_holds]]
    return found


def _cut(masks: MaskSet, above: MaskSet, parent: NDArray[np.int64]) -> tuple[MaskSet, int, int]:
    """Return the masks inside their parents, how many repeat theirs and how many others were cut."""
    rles, repeats, clamped = list(masks.rle), 0, 0
    for i in np.flatnonzero(parent != NO_ID).tolist():
        at = int(parent[i])
        inside = to_rle_mask(rles[i], masks.image_size) & to_rle_mask(above.rle[at], above.image_size)
        if inside.area() > REPEATS * int(above.area_px[at]):
            rles[i], repeats = above.rle[at], repeats + 1
        elif inside.area() < int(masks.area_px[i]):
            rles[i], clamped = to_bytes(inside), clamped + 1
    boxes, area_px = measure(rles, masks.image_size)
    ids = np.full(len(masks), NO_ID, np.int32)
    ids[parent != NO_ID] = above.mask_id[parent[parent != NO_ID]]
    cut = replace(masks, rle=tuple(rles), boxes=boxes, area_px=area_px, parent_id=ids)
    return cut, repeats, clamped
