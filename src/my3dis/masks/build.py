"""Make a `MaskSet` from run-length masks: boxes and areas are measured, never handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rlemasklib import RLEMask

from my3dis.masks.codec import measure, to_bytes
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["from_codes", "from_runs", "renumber", "with_columns"]


def from_codes(  # noqa: PLR0913 - one argument per column of the set
    rles: Sequence[bytes],
    *,
    frame: int,
    image_size: tuple[int, int],
    mask_id: ArrayLike,
    level: ArrayLike = 0,
    parent_id: ArrayLike = NO_ID,
    score: ArrayLike = 1.0,
    stability: ArrayLike = 1.0,
    source: ArrayLike = MaskSource.CANDIDATE,
    track_id: ArrayLike = NO_ID,
) -> MaskSet:
    """Return a set of the given COCO compressed counts; every other column is a scalar or (N,).

    Raises:
        DataError: if a code does not fit the image size, or a column is out of range.
    """
    boxes, area_px = measure(rles, image_size)
    n = len(rles)

    def column(value: ArrayLike, dtype: type[np.generic]) -> NDArray[np.generic]:
        return np.broadcast_to(np.asarray(value).astype(dtype), (n,)).copy()

    columns = {
        name: column(value, dtype)
        for name, value, dtype in (
            ("mask_id", mask_id, np.int32),
            ("level", level, np.int16),
            ("parent_id", parent_id, np.int32),
            ("score", score, np.float32),
            ("stability", stability, np.float32),
            ("source", source, np.int8),
            ("track_id", track_id, np.int32),
        )
    }
    return MaskSet(
        frame=frame,
        image_size=image_size,
        boxes=boxes,
        area_px=area_px,
        rle=tuple(rles),
        **columns,  # type: ignore[arg-type]
    )


def from_runs(
    runs: Sequence[RLEMask], *, frame: int, image_size: tuple[int, int], **columns: ArrayLike
) -> MaskSet:
    """Return a set of run-length masks; columns as in `from_codes`."""
    return from_codes([to_bytes(r) for r in runs], frame=frame, image_size=image_size, **columns)


def with_columns(masks: MaskSet, **columns: NDArray[np.generic]) -> MaskSet:
    """Return the set with some columns replaced; pixels stay as they are."""
    return replace(masks, **columns)  # type: ignore[arg-type]


def renumber(masks: MaskSet, new_ids: NDArray[np.int32]) -> MaskSet:
    """Give the masks new ids and let parents follow; a parent outside the set becomes -1.

    Args:
        masks: N masks.
        new_ids: (N,) int32, unique.
    """
    parents = np.full(len(masks), NO_ID, np.int32)
    if len(masks):
        order = np.argsort(masks.mask_id, kind="stable")
        sorted_ids = masks.mask_id[order]
        spot = np.minimum(np.searchsorted(sorted_ids, masks.parent_id), len(masks) - 1)
        known = sorted_ids[spot] == masks.parent_id
        parents[known] = new_ids[order[spot[known]]]
    return replace(masks, mask_id=new_ids.astype(np.int32), parent_id=parents)
