"""Between label maps (one integer per pixel) and sets of run-length masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.errors import DataError
from my3dis.masks.codec import decode_crop, to_bytes
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["from_label_map", "paint"]


def from_label_map(
    labels: NDArray[np.integer],
    *,
    frame: int,
    level: int = 0,
    background: int = 0,
    source: MaskSource = MaskSource.CANDIDATE,
) -> MaskSet:
    """Turn every label of a map into a mask whose ``mask_id`` is the label, in ascending order.

    One pass over the pixels finds all runs of all labels at once, so the cost does not grow with the
    number of labels. Scores and stabilities are 1, parents and tracks -1.

    Args:
        labels: (H, W) integers; every value but ``background`` must be 0 or more.
        frame: index of the frame.
        level: granularity of all masks.
        background: the value that belongs to no mask.
        source: where the masks come from.

    Raises:
        DataError: if the map is not two-dimensional or has a negative label.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise DataError(f"expected a label map of (H, W) integers, found shape {labels.shape}")
    height, width = labels.shape
    starts, lengths, values = _runs(labels, background)
    if len(values) and int(values.min()) < 0:
        raise DataError(f"expected labels of 0 or more, found {int(values.min())}")
    order = np.argsort(values, kind="stable")
    starts, lengths, values = starts[order], lengths[order], values[order]
    first = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))) if len(values) else values
    groups = list(zip(first.tolist(), [*first[1:].tolist(), len(values)], strict=True)) if len(values) else []
    n = len(groups)
    boxes = np.zeros((n, 4), np.int32)
    areas = np.zeros(n, np.int64)
    rles = []
    for i, (begin, end) in enumerate(groups):
        s, ln = starts[begin:end], lengths[begin:end]
        boxes[i], areas[i] = _box(s, ln, height), ln.sum()
        rles.append(_encode(s, ln, (height, width)))
    return MaskSet(
        frame=frame,
        image_size=(height, width),
        mask_id=values[first].astype(np.int32),
        level=np.full(n, level, np.int16),
        parent_id=np.full(n, NO_ID, np.int32),
        boxes=boxes,
        area_px=areas,
        score=np.ones(n, np.float32),
        stability=np.ones(n, np.float32),
        source=np.full(n, source, np.int8),
        rle=tuple(rles),
    )


def paint(masks: MaskSet) -> NDArray[np.int32]:
    """Paint the masks in their order, later ones over earlier, decoding one at a time.

    Returns:
        (H, W) int32 position of the topmost mask in the set, -1 where there is none.
    """
    canvas = np.full(masks.image_size, NO_ID, np.int32)
    for position, (rle, box) in enumerate(zip(masks.rle, masks.boxes, strict=True)):
        x0, y0, x1, y1 = box.tolist()
        canvas[y0:y1, x0:x1][decode_crop(rle, masks.image_size, box)] = position
    return canvas


def _runs(
    labels: NDArray[np.integer], background: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.integer]]:
    """Return start, length and label of the column-major runs that are not background."""
    flat = labels.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    values = flat[starts]
    wanted = values != background
    return starts[wanted], lengths[wanted], values[wanted]


def _box(starts: NDArray[np.int64], lengths: NDArray[np.int64], height: int) -> tuple[int, int, int, int]:
    last = starts + lengths - 1
    x_first, x_last = starts // height, last // height
    y_first, y_last = starts % height, last % height
    # A run that goes on into the next column touches the bottom of one and the top of the other.
    wraps = x_last > x_first
    top = 0 if wraps.any() else int(y_first.min())
    bottom = height if wraps.any() else int(y_last.max()) + 1
    return int(x_first[0]), top, int(x_last[-1]) + 1, bottom


def _encode(starts: NDArray[np.int64], lengths: NDArray[np.int64], image_size: tuple[int, int]) -> bytes:
    ends = starts + lengths
    counts = np.empty(2 * len(starts) + 1, np.uint32)
    counts[0] = starts[0]
    counts[1::2] = lengths
    counts[2:-1:2] = starts[1:] - ends[:-1]
    counts[-1] = image_size[0] * image_size[1] - ends[-1]
    # A code does not end with an empty run of background.
    return to_bytes(RLEMask.from_counts(counts if counts[-1] else counts[:-1], image_size))
