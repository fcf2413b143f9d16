"""Small mask sets and archives for the tests, each determined by its frame index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from my3dis.archive import StreamingSegmentWriter
from my3dis.masks import codec
from my3dis.types import MaskSet

SIZE = (24, 36)


def masks(
    frame: int,
    ids: Sequence[int] = (4, 0, 2),
    *,
    levels: Sequence[int] | int = 2,
    tracks: Sequence[int] | int = -1,
    size: tuple[int, int] = SIZE,
) -> MaskSet:
    """Random masks of a frame, one of them empty when there are at least four."""
    n = len(ids)
    rng = np.random.default_rng([frame, *ids])
    rles = [codec.encode(rng.random(size) > 0.8) for _ in range(n)]
    if n >= 4:
        rles[3] = codec.encode(np.zeros(size, bool))
    boxes, areas = codec.measure(rles, size)
    return MaskSet(
        frame=frame,
        image_size=size,
        mask_id=np.array(ids, np.int32),
        level=np.full(n, levels, np.int16) if isinstance(levels, int) else np.array(levels, np.int16),
        parent_id=np.full(n, -1, np.int32),
        boxes=boxes,
        area_px=areas,
        score=rng.random(n).astype(np.float32),
        stability=rng.random(n).astype(np.float32),
        source=rng.integers(0, 3, n).astype(np.int8),
        rle=tuple(rles),
        track_id=np.full(n, tracks, np.int32) if isinstance(tracks, int) else np.array(tracks, np.int32),
    )


def in_order(one: MaskSet) -> MaskSet:
    """The order that a reader gives: by level, then mask id."""
    return one.select(np.lexsort((one.mask_id, one.level)))


def assert_equal(found: MaskSet, expected: MaskSet) -> None:
    """Every field is the same, bit for bit."""
    assert (found.frame, found.image_size, found.rle) == (expected.frame, expected.image_size, expected.rle)
    for name in ("mask_id", "level", "parent_id", "boxes", "area_px", "source", "track_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("score", "stability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def archive(path: Path, frames: Sequence[int] = (3, 5, 9)) -> dict[int, MaskSet]:
    """Write a finished archive with four masks a frame at levels 2 and 4, and return what is in it."""
    contents = {f: masks(f, (7, 1, 3, 0), levels=(4, 2, 4, 2), tracks=(10, 11, -1, 12)) for f in frames}
    with StreamingSegmentWriter(path, purpose="tracks", stage_digest="abc") as writer:
        for frame, one in contents.items():
            writer.append_frame(frame, one)
    return {frame: in_order(one) for frame, one in contents.items()}
