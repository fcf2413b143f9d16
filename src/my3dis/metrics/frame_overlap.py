"""Counts the pixels that tracks share with labelled objects in one frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.codec import decode_crop
from my3dis.metrics.video import FrameOverlap
from my3dis.types import MaskSet

__all__ = ["frame_overlap"]


def frame_overlap(masks: MaskSet, labels: NDArray[np.integer], void_ids: Iterable[int] = ()) -> FrameOverlap:
    """Count what each track covers, one mask decoded at a time and only inside its box.

    Args:
        masks: one row per track, as in a track archive.
        labels: (H, W) object ids, 0 = none; resampled by nearest neighbour where the size differs.
        void_ids: ids that count as none, such as walls and floors.
    """
    height, width = masks.image_size
    if labels.shape != (height, width):
        rows = np.arange(height) * labels.shape[0] // height
        columns = np.arange(width) * labels.shape[1] // width
        labels = labels[rows[:, None], columns[None, :]]
    ids, compact = _compact(labels)
    counts = np.zeros((len(masks), len(ids)), np.int64)
    for row, (rle, box) in enumerate(zip(masks.rle, masks.boxes, strict=True)):
        x0, y0, x1, y1 = box.tolist()
        covered = compact[y0:y1, x0:x1][decode_crop(rle, masks.image_size, box)]
        counts[row] = np.bincount(covered, minlength=len(ids))
    is_void = np.isin(ids, [0, *void_ids])
    return FrameOverlap(
        track_id=masks.track_id,
        track_px=masks.area_px,
        gt_id=ids[~is_void],
        gt_px=np.bincount(compact.ravel(), minlength=len(ids))[~is_void].astype(np.int64),
        shared_px=counts[:, ~is_void],
        void_px=counts[:, is_void].sum(axis=1),
    )


def _compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids that occur, ascending, and (H, W) the position of each pixel's id among them.

    The ids of a label image are small, so counting them is ten times as fast as sorting the pixels.
    """
    counts = np.bincount(labels.ravel())
    ids = np.flatnonzero(counts)
    position = np.zeros(len(counts), np.int64)
    position[ids] = np.arange(len(ids))
    return ids, position[labels]
