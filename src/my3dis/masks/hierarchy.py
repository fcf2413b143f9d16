"""The tree over the masks of one frame: checking it, and keeping it whole when masks are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.masks.codec import to_rle_mask
from my3dis.types import NO_ID, MaskSet

__all__ = ["at_levels", "drop", "nearest_kept_parent", "parent_positions", "require_linked", "require_nested"]


def parent_positions(masks: MaskSet) -> NDArray[np.int64]:
    """Return the (N,) int64 position of every mask's parent in the set, -1 = it has none.

    Raises:
        DataError: if a parent is not in the set.
    """
    positions = np.full(len(masks), NO_ID, np.int64)
    has = np.flatnonzero(masks.parent_id != NO_ID)
    if not len(has):
        return positions
    order = np.argsort(masks.mask_id, kind="stable")
    sorted_ids = masks.mask_id[order]
    spot = np.minimum(np.searchsorted(sorted_ids, masks.parent_id[has]), len(masks) - 1)
    unknown = sorted_ids[spot] != masks.parent_id[has]
    if unknown.any():
        bad = has[np.flatnonzero(unknown)[0]]
        raise DataError(
            f"expected the parent of mask {masks.mask_id[bad]} in frame {masks.frame} to be a mask of it, "
            f"found parent id {masks.parent_id[bad]}"
        )
    positions[has] = order[spot]
    return positions


def require_linked(masks: MaskSet, levels: Sequence[int]) -> None:
    """Check ids, levels and links: every mask is of a known level, every parent of the next coarser one.

    Masks at the first level, and masks that no coarser mask holds, have no parent. Decodes nothing.

    Raises:
        DataError: naming the first mask that breaks a rule.
    """
    known = np.asarray(levels, np.int64)
    strange = ~np.isin(masks.level, known)
    if strange.any():
        i = int(np.flatnonzero(strange)[0])
        raise DataError(
            f"expected masks at levels {list(levels)}, "
            f"found mask {masks.mask_id[i]} at level {masks.level[i]}"
        )
    parents = parent_positions(masks)
    has = np.flatnonzero(parents != NO_ID)
    rank = np.searchsorted(known, masks.level)
    wrong = has[rank[parents[has]] != rank[has] - 1]
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"expected the parent of mask {masks.mask_id[i]} (level {masks.level[i]}, frame {masks.frame}) "
            f"at the next coarser of the levels {list(levels)}, found it at level {masks.level[parents[i]]}"
        )


def require_nested(masks: MaskSet) -> None:
    """Check on the run-length codes that every mask lies inside its parent.

    Raises:
        DataError: naming the first child that has pixels outside its parent, or whose parent is missing.
    """
    parents = parent_positions(masks)
    for i in np.flatnonzero(parents != NO_ID).tolist():
        child = to_rle_mask(masks.rle[i], masks.image_size)
        parent = to_rle_mask(masks.rle[int(parents[i])], masks.image_size)
        outside = (child - parent).area()
        if outside:
            raise DataError(
                f"expected mask {masks.mask_id[i]} in frame {masks.frame} to lie inside its parent "
                f"{masks.parent_id[i]}, found {outside} pixels outside"
            )


def nearest_kept_parent(masks: MaskSet, kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the (N,) int32 id of the nearest kept ancestor of every mask, -1 = none is kept.

    Args:
        masks: N masks with their parents among them.
        kept: (N,) booleans.

    Raises:
        DataError: if a parent is not in the set, or parents form a circle.
    """
    parents = parent_positions(masks)
    current = parents.copy()
    for _ in range(len(masks) + 1):
        climbing = (current != NO_ID) & ~kept[current]
        if not climbing.any():
            break
        current[climbing] = parents[current[climbing]]
    else:
        raise DataError(f"expected a tree of masks in frame {masks.frame}, found a circle of parents")
    ids = np.full(len(masks), NO_ID, np.int32)
    found = current != NO_ID
    ids[found] = masks.mask_id[current[found]]
    return ids


def at_levels(masks: MaskSet, levels: Sequence[int]) -> MaskSet:
    """Return the masks of some levels; children of others go to the nearest ancestor that is left."""
    kept = np.isin(masks.level, levels)
    return masks if kept.all() else drop(masks, kept)


def drop(masks: MaskSet, kept: NDArray[np.bool_]) -> MaskSet:
    """Return the kept masks; children of dropped ones go to the nearest kept ancestor."""
    return replace(masks, parent_id=nearest_kept_parent(masks, kept)).select(kept)
