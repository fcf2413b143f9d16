"""Masks for what no mask of the first level covers."""

from __future__ import annotations

import numpy as np
from rlemasklib import RLEMask

from my3dis.masks.build import from_runs
from my3dis.masks.overlap import union
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["GAP_SCORE", "find_gaps", "gap_masks"]

GAP_SCORE = 0.5
"""Score of a gap mask: nobody proposed it, so every proposed mask ranks before it."""


def find_gaps(masks: MaskSet, fill_area: int) -> list[RLEMask]:
    """Return the connected uncovered regions of at least ``fill_area`` pixels, largest first.

    The covered area is one union over all run-length codes; its complement is split into 4-connected
    components, still as runs. No mask is decoded or resized.

    Args:
        masks: the masks whose union counts as covered.
        fill_area: smallest region that is returned, pixels.
    """
    uncovered = union(masks.rle, masks.image_size).complement()
    gaps = uncovered.connected_components(connectivity=4, min_size=max(1, fill_area))
    # Ties are broken by place so that the order depends on the masks only.
    return sorted(gaps, key=lambda gap: (-gap.area(), *gap.bbox()))


def gap_masks(masks: MaskSet, level: int, fill_area: int, *, first_id: int | None = None) -> MaskSet:
    """Return gap masks for a frame, ready to be joined to its masks.

    Args:
        masks: all masks of the frame; those at ``level`` count as covered.
        level: the first (coarsest) level.
        fill_area: smallest gap, pixels.
        first_id: id of the first gap; default: after the largest id of ``masks``.

    Returns:
        Masks with ``source`` GAP, no parent, stability 1 (a stability threshold is about proposals) and
        score `GAP_SCORE`.
    """
    gaps = find_gaps(masks.at_level(level), fill_area)
    if first_id is None:
        first_id = int(masks.mask_id.max(initial=-1)) + 1
    return from_runs(
        gaps,
        frame=masks.frame,
        image_size=masks.image_size,
        mask_id=np.arange(first_id, first_id + len(gaps)),
        level=level,
        parent_id=NO_ID,
        score=GAP_SCORE,
        source=MaskSource.GAP,
    )
