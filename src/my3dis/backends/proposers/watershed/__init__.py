"""The weight-free proposer: a watershed hierarchy of colour, depth and normal edges, cut at each level.

Levels map to scales by one rule: level L is cut into about 12 * 10 ** ((L - 2) / 4) regions, so levels 2,
4 and 6 have at most 12, 38 and 120, and any other level lies between or beyond them. All cuts come from
one tree, so masks are nested by construction. A region that does not split between two levels is
delivered at both; refinement drops the finer copy, as it drops every child that equals its parent.

Images are segmented at no more than 960 pixels on the longer side and labels are scaled back by nearest
neighbour: borders of larger images are accurate to the scale (2 px at 1920x1440).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.proposers.rescale import nearest
from my3dis.backends.proposers.watershed.edges import edge_strength
from my3dis.backends.proposers.watershed.partition import NestedPartition, PixelGraph, partition
from my3dis.masks.labels import from_label_map
from my3dis.protocols import ProposerPlugin
from my3dis.refinement.limits import scaled_area
from my3dis.types import NO_ID, Camera, Frame, MaskSet

__all__ = ["PLUGIN", "WatershedProposer", "persistence", "regions_at"]

_LONGEST_SIDE = 960
_SMALLEST_REGION = 50
"""Pixels at 640x480: what is smaller joins a neighbour."""
_STEP = 2.0
"""Stability compares a cut with one into twice as many and one into half as many regions.

On rendered rooms this step ranked masks by how well they fit a true object or part better than 1.2 or 1.5.
"""


def regions_at(level: int) -> float:
    """Return the number of regions that a level stands for: a tenfold for every four levels."""
    # No image has 10^10 pixels, and powers far beyond overflow.
    return float(12.0 * 10.0 ** min((level - 2) / 4.0, 10.0))


class WatershedProposer:
    """Proposes the regions of nested cuts; needs no weights, and uses depth where a frame has it."""

    def __init__(self) -> None:
        self._graphs = PixelGraph()

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        """Return one partition of the frame per level, coarse to fine.

        ``stability`` is the persistence of a region over nearby cuts: how much of it survives as one piece
        in a cut into twice as many regions, or how much of the region that holds it in a cut into half as
        many it makes up, whichever is less. Both are intersections over unions, as cuts are nested.
        ``score`` is the stability.
        """
        counts = [
            max(1, round(regions_at(level) * factor))
            for level in levels
            for factor in (1.0, _STEP, 1 / _STEP)
        ]
        color, depth, camera = _at_working_size(frame)
        nested = partition(
            edge_strength(color, depth, camera),
            counts,
            scaled_area(_SMALLEST_REGION, color.shape[:2]),
            self._graphs,
        )
        return _mask_set(frame, levels, nested)


def _mask_set(frame: Frame, levels: Sequence[int], nested: NestedPartition) -> MaskSet:
    region = nearest(nested.region, frame.image_size)
    found: list[MaskSet] = []
    above: NDArray[np.int32] | None = None
    next_id = 0
    for rank, level in enumerate(levels):
        cut, finer, coarser = nested.cuts[3 * rank : 3 * rank + 3]
        _, first = np.unique(cut, return_index=True)
        ids = (cut + next_id).astype(np.int32)
        masks = from_label_map(ids[region], frame=frame.index, level=level, background=-1)
        parents = np.full(len(masks), NO_ID, np.int32) if above is None else above[first]
        stability = persistence(cut, finer, coarser, nested.area_px).astype(np.float32)
        found.append(replace(masks, parent_id=parents, stability=stability, score=stability))
        above = ids
        next_id += len(first)
    return MaskSet.concatenate(found)


def persistence(
    cut: NDArray[np.int64], finer: NDArray[np.int64], coarser: NDArray[np.int64], area_px: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the smaller overlap of each region of a cut with its counterparts in a finer and a coarser one.

    Args:
        cut: (R,) region 0..n-1 of each small region.
        finer: (R,) region at a cut into more.
        coarser: (R,) region at a cut into fewer.
        area_px: (R,) pixels of each small region.

    Returns:
        (n,) intersection over union in (0, 1]: 1 = the region is the same in all three cuts.
    """
    area = np.bincount(cut, weights=area_px)
    largest_piece = np.zeros(len(area))
    np.maximum.at(largest_piece, cut, np.bincount(finer, weights=area_px)[finer])
    holder = np.zeros(len(area))
    holder[cut] = np.bincount(coarser, weights=area_px)[coarser]
    return np.minimum(largest_piece / area, area / holder)


def _at_working_size(frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None, Camera]:
    """Return colour and depth at one size of at most `_LONGEST_SIDE`, and intrinsics for it."""
    import cv2

    height, width = frame.image_size
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    color = frame.color
    if size != frame.image_size:
        color = cv2.resize(color, size[::-1], interpolation=cv2.INTER_AREA)
    depth = None if frame.depth_m is None else nearest(frame.depth_m, size)
    known = frame.color_camera or frame.depth_camera
    # Without intrinsics a field of view of about 53 degrees serves: normals are compared, not measured.
    camera = known or Camera(
        fx=width, fy=width, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
    )
    return color, depth, camera.scaled_to(size[1], size[0])


PLUGIN = ProposerPlugin(
    summary="nested regions between colour, depth and normal edges; needs no weights (default)",
    version="2",
    create=lambda options: WatershedProposer(),  # noqa: ARG005 - nothing to choose
    recognises=False,
    resumable="frame",
)
