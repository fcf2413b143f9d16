"""Masks of one frame from coarse to fine: a child is proposed inside its parent and stays inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError, PluginError
from my3dis.masks.build import from_codes
from my3dis.masks.codec import to_bytes, to_rle_mask
from my3dis.masks.hierarchy import drop, parent_positions, require_linked
from my3dis.protocols import MaskProposer, RegionProposer
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["RefineOptions", "Refinement", "refine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """How proposals become candidates.

    Attributes:
        min_area: a child (or first mask) with fewer pixels is dropped.
        final: the proposer's masks are delivered as they are: only ids and links are checked.
    """

    min_area: int = 1
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The candidates of one frame.

    Attributes:
        masks: coarse to fine; parents are masks of the next coarser level, or, where a region was the
            same at that level and therefore appears once only, of the level above it.
        dropped: (reason, number) of proposals that did not become candidates, ascending by reason.
    """

    masks: MaskSet
    dropped: tuple[tuple[str, int], ...] = ()


def refine(
    frame: Frame,
    levels: Sequence[int],
    proposer: MaskProposer | RegionProposer,
    options: RefineOptions | None = None,
) -> Refinement:
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

    Raises:
        PluginError: if the proposer breaks its contract (ids, levels, links, sizes).

    Source: the progressive refinement of the earlier My3DIS, as an algorithm on run-length codes.
    """
    options = options or RefineOptions()
    if isinstance(proposer, MaskProposer):
        masks = proposer.propose(frame, levels)
        _require_contract(masks, frame, levels)
        return Refinement(masks=masks) if options.final else _without_repeats(masks, options)
    return _descend(frame, levels, proposer, options)


def _without_repeats(masks: MaskSet, options: RefineOptions) -> Refinement:
    """Drop nested masks that are small or equal their parent; children go to the nearest kept ancestor."""
    small = masks.area_px < max(1, options.min_area)
    parents = parent_positions(masks)
    # Inside its parent by construction, a child of the same area is the same mask.
    equal = (parents != NO_ID) & (masks.area_px == masks.area_px[parents]) & ~small
    dropped = Counter({"equals_parent": int(equal.sum()), "min_area": int(small.sum())})
    return Refinement(masks=drop(masks, ~(small | equal)), dropped=_sorted(dropped))


def _descend(
    frame: Frame, levels: Sequence[int], proposer: RegionProposer, options: RefineOptions
) -> Refinement:
    found: list[MaskSet] = []
    dropped: Counter[str] = Counter()
    regions = MaskSet.empty(frame.index, frame.image_size)
    next_id = 0
    for rank, level in enumerate(levels):
        if rank and not len(regions):
            break
        proposals = proposer.propose_in(frame, level, regions)
        _require_proposals(proposals, frame, level, regions)
        if options.final:
            children, whole = proposals, np.zeros(0, np.int32)
        else:
            children, whole = _clamp(proposals, regions, options.min_area, dropped)
        children = replace(children, mask_id=np.arange(next_id, next_id + len(children), dtype=np.int32))
        next_id += len(children)
        found.append(children)
        # What is whole at this level may still split at the next: it stays in the front.
        regions = MaskSet.concatenate([regions.select(np.isin(regions.mask_id, whole)), children])
    masks = MaskSet.concatenate(found) if found else regions
    return Refinement(masks=masks, dropped=_sorted(dropped))


def _clamp(
    proposals: MaskSet, regions: MaskSet, min_area: int, dropped: Counter[str]
) -> tuple[MaskSet, NDArray[np.int32]]:
    """Cut proposals to their regions; return what remains and the ids of regions proposed whole."""
    position = {int(i): p for p, i in enumerate(regions.mask_id.tolist())}
    kept: list[int] = []
    rles: list[bytes] = []
    whole: set[int] = set()
    for i, (rle, parent) in enumerate(zip(proposals.rle, proposals.parent_id.tolist(), strict=True)):
        area, code = int(proposals.area_px[i]), rle
        if parent != NO_ID:
            at = position[parent]
            runs = to_rle_mask(rle, proposals.image_size)
            inside = runs & to_rle_mask(regions.rle[at], regions.image_size)
            if inside.area() < area:
                area, code = int(inside.area()), to_bytes(inside)
            if area and area == int(regions.area_px[at]):
                dropped["equals_parent"] += 1
                whole.add(parent)
                continue
        if area < max(1, min_area):
            dropped["min_area"] += 1
            continue
        kept.append(i)
        rles.append(code)
    chosen = proposals.select(np.array(kept, np.int64))
    children = from_codes(
        rles,
        frame=chosen.frame,
        image_size=chosen.image_size,
        mask_id=np.arange(len(kept)),
        level=chosen.level,
        parent_id=chosen.parent_id,
        score=chosen.score,
        stability=chosen.stability,
        source=chosen.source,
    )
    return children, np.array(sorted(whole), np.int32)


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


def _sorted(dropped: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((reason, n) for reason, n in dropped.items() if n))
