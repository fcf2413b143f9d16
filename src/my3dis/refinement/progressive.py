"""Masks of one frame from coarse to fine: a child is proposed inside its parent and stays inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError, PluginError
from my3dis.masks.codec import measure, to_bytes, to_rle_mask
from my3dis.masks.hierarchy import parent_positions, require_linked
from my3dis.protocols import MaskProposer, RegionProposer
from my3dis.refinement.selection import Selection, selection
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["RefineOptions", "refine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """How proposals become candidates.

    Attributes:
        min_area: a child (or first mask) with fewer pixels is dropped.
        final: the proposer's masks are delivered as they are: only ids and links are checked.
    """

    min_area: int = 1
    final: bool = False


def refine(
    frame: Frame,
    levels: Sequence[int],
    proposer: MaskProposer | RegionProposer,
    options: RefineOptions | None = None,
) -> Selection:
    """Propose masks at all levels of a frame.

    A `MaskProposer` delivers all levels at once, nested; a `RegionProposer` is driven level by level:
    the whole frame first, then inside each mask. A child is clamped to its parent (its pixels outside
    are removed), and dropped if it then equals the parent or has fewer than ``min_area`` pixels; a
    region that is whole at a level is looked into again at the next.

    Args:
        frame: the frame.
        levels: granularities, coarse to fine.
        proposer: what proposes.
        options: what is dropped.

    Returns:
        The candidates, coarse to fine, and what was dropped with reason ``min_area`` or
        ``equals_parent``. Parents are masks of the next coarser level or, where a region was the same at
        that level and therefore appears once only, of the level above it. Every proposal has its own id.

    Raises:
        PluginError: if the proposer breaks its contract (ids, levels, links, sizes).

    Source: the progressive refinement of the earlier My3DIS, as an algorithm on run-length codes.
    """
    options = options or RefineOptions()
    if isinstance(proposer, MaskProposer):
        masks = proposer.propose(frame, levels)
        _require_contract(masks, frame, levels)
        return (
            selection(masks, np.full(len(masks), -1), ())
            if options.final
            else _without_repeats(masks, options)
        )
    return _descend(frame, levels, proposer, options)


_REASONS = ("min_area", "equals_parent")
_KEPT, _SMALL, _WHOLE = -1, 0, 1


def _without_repeats(masks: MaskSet, options: RefineOptions) -> Selection:
    """Drop nested masks that are small or equal their parent; children go to the nearest kept ancestor."""
    parents = parent_positions(masks)
    # Inside its parent by construction, a child of the same area is the same mask.
    equal = (parents != NO_ID) & (masks.area_px == masks.area_px[parents])
    verdict = np.where(equal, _WHOLE, _KEPT)
    verdict[masks.area_px < max(1, options.min_area)] = _SMALL
    return selection(masks, verdict, _REASONS)


def _descend(
    frame: Frame, levels: Sequence[int], proposer: RegionProposer, options: RefineOptions
) -> Selection:
    proposed: list[MaskSet] = []
    verdicts: list[NDArray[np.int64]] = []
    regions = MaskSet.empty(frame.index, frame.image_size)
    next_id = 0
    for rank, level in enumerate(levels):
        if rank and not len(regions):
            break
        children = proposer.propose_in(frame, level, regions)
        _require_proposals(children, frame, level, regions)
        ids = np.arange(next_id, next_id + len(children), dtype=np.int32)
        next_id += len(children)
        children = replace(children, mask_id=ids)
        verdict = np.full(len(children), _KEPT)
        if not options.final:
            children, verdict = _clamp(children, regions, options.min_area)
        proposed.append(children)
        verdicts.append(verdict)
        # What is whole at this level may still split at the next: it stays in the front.
        whole = np.isin(regions.mask_id, children.parent_id[verdict == _WHOLE])
        regions = MaskSet.concatenate([regions.select(whole), children.select(verdict == _KEPT)])
    return selection(MaskSet.concatenate(proposed), np.concatenate(verdicts), _REASONS)


def _clamp(proposals: MaskSet, regions: MaskSet, min_area: int) -> tuple[MaskSet, NDArray[np.int64]]:
    """Cut proposals to their regions and judge what remains of each."""
    position = {int(i): p for p, i in enumerate(regions.mask_id.tolist())}
    verdict = np.full(len(proposals), _KEPT)
    rles = list(proposals.rle)
    for i, parent in enumerate(proposals.parent_id.tolist()):
        area = int(proposals.area_px[i])
        if parent != NO_ID:
            at = position[parent]
            region = to_rle_mask(regions.rle[at], regions.image_size)
            inside = to_rle_mask(rles[i], proposals.image_size) & region
            if inside.area() < area:
                area, rles[i] = int(inside.area()), to_bytes(inside)
            if area == int(regions.area_px[at]):
                verdict[i] = _WHOLE
        if area < max(1, min_area):
            verdict[i] = _SMALL
    boxes, area_px = measure(rles, proposals.image_size)
    return replace(proposals, rle=tuple(rles), boxes=boxes, area_px=area_px), verdict


def _require_contract(masks: MaskSet, frame: Frame, levels: Sequence[int]) -> None:
    _require_frame(masks, frame)
    try:
        require_linked(masks, levels)
    except DataError as error:
        raise PluginError(f"the proposer broke its contract: {error}; fix the plug-in") from error


def _require_proposals(proposals: MaskSet, frame: Frame, level: int, regions: MaskSet) -> None:
    _require_frame(proposals, frame)
    allowed = regions.mask_id if len(regions) else np.array([NO_ID], np.int32)
    if (proposals.level != level).any() or not np.isin(proposals.parent_id, allowed).all():
        raise PluginError(
            f"expected proposals at level {level} inside the {len(regions)} regions given, found levels "
            f"{np.unique(proposals.level).tolist()}, parents {np.unique(proposals.parent_id).tolist()[:8]}; "
            "fix the plug-in"
        )


def _require_frame(masks: MaskSet, frame: Frame) -> None:
    if (masks.frame, masks.image_size) != (frame.index, frame.image_size):
        raise PluginError(
            f"expected masks of frame {frame.index} with size {frame.image_size}, "
            f"found frame {masks.frame} with size {masks.image_size}; fix the plug-in"
        )
