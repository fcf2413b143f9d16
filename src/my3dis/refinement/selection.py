"""Which candidates of a frame go on, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.hierarchy import drop
from my3dis.masks.suppress import duplicates
from my3dis.refinement.limits import MaskLimits
from my3dis.types import MaskSet, MaskSource

__all__ = ["REASONS", "Selection", "select_masks", "selection"]

REASONS = ("min_area", "stability", "duplicate", "max_masks_per_level")
"""Why a mask can be dropped, in the order in which the checks run; a mask has one reason."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Selection:
    """The masks of one frame that go on, and the others with a reason each.

    Attributes:
        kept: masks that go on; children of dropped masks belong to the nearest kept ancestor.
        dropped_id: (M,) int32 ids of the others.
        dropped_level: (M,) int16 their levels.
        reasons: (M,) short names.
    """

    kept: MaskSet
    dropped_id: NDArray[np.int32]
    dropped_level: NDArray[np.int16]
    reasons: tuple[str, ...]


def selection(masks: MaskSet, verdict: NDArray[np.int64], names: Sequence[str]) -> Selection:
    """Split a set by a verdict per mask.

    Args:
        masks: N masks of a frame.
        verdict: (N,) position of the reason in ``names``, negative = kept.
        names: reasons.
    """
    out = np.flatnonzero(verdict >= 0)
    return Selection(
        kept=drop(masks, verdict < 0) if len(out) else masks,
        dropped_id=masks.mask_id[out],
        dropped_level=masks.level[out],
        reasons=tuple(names[code] for code in verdict[out].tolist()),
    )


def select_masks(masks: MaskSet, limits: MaskLimits) -> Selection:
    """Apply the limits to the masks of a frame: area, stability, duplicates, then number per level.

    Gap masks are not judged by stability, which is about proposals. What counts for the number per level
    is size: the largest are kept, ties by ``mask_id``.

    Args:
        masks: all levels of a frame.
        limits: thresholds.
    """
    reason = np.full(len(masks), -1, np.int64)

    def reject(which: NDArray[np.bool_], code: int) -> None:
        reason[which & (reason < 0)] = code

    reject(masks.area_px < limits.min_area, 0)
    proposed = masks.source != MaskSource.GAP
    # Stabilities are float32; so is the comparison, lest 0.9 fall below itself.
    reject((masks.stability < np.float32(limits.stability_threshold)) & proposed, 1)
    if limits.duplicate_iou is not None:
        left = np.flatnonzero(reason < 0)
        repeated = np.zeros(len(masks), np.bool_)
        repeated[left] = duplicates(masks.select(left), limits.duplicate_iou)
        reject(repeated, 2)
    if limits.max_per_level is not None:
        reject(_beyond(masks, reason < 0, limits.max_per_level), 3)
    return selection(masks, reason, REASONS)


def _beyond(masks: MaskSet, left: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Mark the masks that are not among the largest of their level."""
    beyond = np.zeros(len(masks), np.bool_)
    for level in np.unique(masks.level).tolist():
        where = np.flatnonzero(left & (masks.level == level))
        order = np.lexsort((masks.mask_id[where], -masks.area_px[where]))
        beyond[where[order[most:]]] = True
    return beyond
