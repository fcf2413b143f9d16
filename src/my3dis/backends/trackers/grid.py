"""Carry masks along a backward sampling grid; the shared core of the weight-free trackers.

For every pixel of the new frame a grid says where that pixel was in the previous frame. A mask is carried
by sampling its last version through the grid. Between prompts a mask is held as signed distances.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.trackers.colors import ColorModel, color_bins, ring_box
from my3dis.backends.trackers.distances import (
    BORDER,
    STEPS_PER_PX,
    cut_box,
    recolored,
    signed_distances,
    solidity,
    tidy,
    whole,
    widened,
)
from my3dis.errors import DataError
from my3dis.masks.codec import Box, decode_crop, encode_in_box
from my3dis.tracking.snapshot import flatten, restored
from my3dis.types import NO_ID, Frame, MaskSet, MaskSource

__all__ = ["BackwardGrid", "GridSource", "GridTracker"]

BLOCK_PX = 16
"""Side of the blocks whose ranges tell where a mask may have gone."""
TORN_BELOW = 0.95
"""Masks that are known better than this are not looked at for cracks."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BackwardGrid:
    """Where each pixel of a frame was in the frame before.

    Attributes:
        source_x_px, source_y_px: (H, W) float32 pixel coordinates in the previous frame, always finite.
        known: (H, W) bool, whether the pixel was visible there.
    """

    source_x_px: NDArray[np.float32]
    source_y_px: NDArray[np.float32]
    known: NDArray[np.bool_]


ViewT = TypeVar("ViewT")


class GridSource(Protocol[ViewT]):
    """Makes grids between two frames; `prepare` keeps what it needs of one frame."""

    def prepare(self, frame: Frame) -> ViewT:
        """Return what `grid` needs of a frame."""
        ...

    def grid(self, previous: ViewT, current: ViewT) -> BackwardGrid:
        """Return where each pixel of the current frame was in the previous one, at the mask's size."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    """One object: its level, a box, and its mask as a code, or the distances in that box, compressed."""

    level: int
    box: Box
    rle: bytes | None
    distances: bytes
    model: ColorModel | None


class GridTracker(Generic[ViewT]):
    """A `MaskTracker` over any `GridSource`. It keeps one frame and one compressed mask per held object."""

    def __init__(self, source: GridSource[ViewT], *, by_color: bool = False) -> None:
        self._source = source
        self._by_color = by_color
        self._bins: NDArray[np.uint16] = np.zeros((0, 0), np.uint16)
        self._previous: ViewT | None = None
        self._image_size: tuple[int, int] = (0, 0)
        self._held: dict[int, _Held] = {}

    def __len__(self) -> int:
        """Return the number of held objects."""
        return len(self._held)

    def step(self, frame: Frame) -> MaskSet:
        """Advance to a frame; see `MaskTracker.step`. Objects that left the image are forgotten.

        Raises:
            DataError: if the frame's size differs from the frame's before it.
        """
        if self._previous is not None and frame.image_size != self._image_size:
            raise DataError(
                f"expected frames of {self._image_size[1]}x{self._image_size[0]} throughout, found "
                f"{frame.image_size[1]}x{frame.image_size[0]} at {frame.name!r}; split the scan there"
            )
        current = self._source.prepare(frame)
        if self._by_color:
            self._bins = color_bins(frame.color)
        carried = MaskSet.empty(frame.index, frame.image_size)
        if self._previous is not None and self._held:
            carried = self._carry(self._source.grid(self._previous, current), frame.index)
        self._previous, self._image_size = current, frame.image_size
        return carried

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        """Take masks of objects on the frame last stepped to; see `MaskTracker.prompt`."""
        if masks.image_size != frame.image_size:
            raise DataError(
                f"expected prompts of the frame's size {frame.image_size}, found {masks.image_size}"
            )
        for row, track_id in enumerate(masks.track_id.tolist()):
            if masks.area_px[row] == 0:
                self._held.pop(track_id, None)
                continue
            x0, y0, x1, y1 = masks.boxes[row].tolist()
            box = (x0, y0, x1, y1)
            model = self._learn(masks.rle[row], box) if self._by_color else None
            self._held[track_id] = _Held(int(masks.level[row]), box, masks.rle[row], b"", model)

    def drop(self, track_ids: Sequence[int]) -> None:
        """Forget objects; unknown ids are ignored."""
        for track_id in track_ids:
            self._held.pop(track_id, None)

    def snapshot(self) -> Mapping[str, NDArray[Any]]:
        """Return the last frame as far as grids need it, and what is held; see `Snapshotting`."""
        return flatten((self._previous, self._image_size, self._held))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot; see `Snapshotting`."""
        self._previous, self._image_size, self._held = restored(arrays)

    def _learn(self, rle: bytes, box: Box) -> ColorModel:
        around = ring_box(box, self._image_size)
        x0, y0, x1, y1 = around
        return ColorModel.of(self._bins[y0:y1, x0:x1], decode_crop(rle, self._image_size, around))

    def _carry(self, grid: BackwardGrid, frame_index: int) -> MaskSet:
        import cv2

        reach = _Reach.of(grid)
        rows: list[tuple[int, int, Box, bytes, int, float]] = []
        for track_id, held in list(self._held.items()):
            target = reach.target_of(held.box)
            moved = None if target is None else self._move(held, grid, target)
            if moved is None:
                del self._held[track_id]
                continue
            distances, box, confidence = moved
            mask = (distances >= BORDER).view(np.uint8)
            left, top, width, height = cv2.boundingRect(mask)
            x0, y0 = box[0] + left, box[1] + top
            tight = (x0, y0, x0 + width, y0 + height)
            rle = encode_in_box(mask[top : top + height, left : left + width], tight, self._image_size)
            rows.append((track_id, held.level, tight, rle, cv2.countNonZero(mask), confidence))
            packed = zlib.compress(distances.tobytes(), 1)
            self._held[track_id] = _Held(held.level, box, None, packed, held.model)
        return _as_mask_set(rows, frame_index, self._image_size)

    def _move(
        self, held: _Held, grid: BackwardGrid, target: Box
    ) -> tuple[NDArray[np.uint16], Box, float] | None:
        """Return distances around the mask, their box and the confidence, or None when nothing is left."""
        import cv2

        before, box = self._distances(held)
        x0, y0, x1, y1 = target
        window = (slice(y0, y1), slice(x0, x1))
        sampled = cv2.remap(
            before,
            grid.source_x_px[window] - np.float32(box[0]),
            grid.source_y_px[window] - np.float32(box[1]),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        known = grid.known[window]
        expected = np.count_nonzero(sampled >= BORDER)
        # Just outside, not far outside: a hole of one pixel then closes by itself.
        distances = np.where(known, sampled, np.minimum(sampled, np.uint16(BORDER - STEPS_PER_PX // 2)))
        seen = np.count_nonzero(distances >= BORDER)
        if not seen:
            return None
        if held.model is not None:
            distances = recolored(distances, known, held.model.of_pixels(self._bins[window]))
        distances, wholeness = whole(tidy(distances, known))
        left, top, width, height = cv2.boundingRect((distances >= BORDER).view(np.uint8))
        if not width:
            return None
        tight = (x0 + left, y0 + top, x0 + left + width, y0 + top + height)
        wide = widened(tight, self._image_size)
        kept = cut_box(distances, target, wide)
        confidence = wholeness * seen / expected
        if confidence < TORN_BELOW:
            # Stripes are what a badly known surface leaves of a mask that had none.
            confidence *= min(1.0, solidity(kept) / solidity(before))
        return kept, wide, confidence

    def _distances(self, held: _Held) -> tuple[NDArray[np.uint16], Box]:
        if held.rle is None:
            x0, y0, x1, y1 = held.box
            packed = zlib.decompress(held.distances)
            return np.frombuffer(packed, np.uint16).reshape(y1 - y0, x1 - x0), held.box
        wide = widened(held.box, self._image_size)
        return signed_distances(decode_crop(held.rle, self._image_size, wide)), wide


@dataclass(frozen=True, slots=True, eq=False)
class _Reach:
    """Source coordinates in every block of the grid: (By, Bx, 4) low x, low y, high x, high y."""

    ranges: NDArray[np.float32]
    image_size: tuple[int, int]

    @classmethod
    def of(cls, grid: BackwardGrid) -> _Reach:
        height, width = grid.known.shape
        blocks_y, blocks_x = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
        padded = np.full((blocks_y * BLOCK_PX, blocks_x * BLOCK_PX), np.inf, np.float32)
        ranges = np.empty((blocks_y, blocks_x, 4), np.float32)
        shape = (blocks_y, BLOCK_PX, blocks_x, BLOCK_PX)
        for axis, source in enumerate((grid.source_x_px, grid.source_y_px)):
            for column, sign in ((axis, 1), (axis + 2, -1)):
                padded[:height, :width] = np.where(grid.known, sign * source, np.float32(np.inf))
                ranges[..., column] = sign * padded.reshape(shape).min(axis=(1, 3))
        return cls(ranges, (height, width))

    def target_of(self, box: Box) -> Box | None:
        """Return a box of the new frame that holds every pixel whose source lies in a box of the old."""
        x0, y0, x1, y1 = box
        low_x, low_y, high_x, high_y = np.moveaxis(self.ranges, -1, 0)
        meets = (low_x <= x1) & (high_x >= x0 - 1) & (low_y <= y1) & (high_y >= y0 - 1)
        rows, columns = np.flatnonzero(meets.any(axis=1)), np.flatnonzero(meets.any(axis=0))
        if not len(rows):
            return None
        height, width = self.image_size
        return (
            int(columns[0]) * BLOCK_PX,
            int(rows[0]) * BLOCK_PX,
            min(width, (int(columns[-1]) + 1) * BLOCK_PX),
            min(height, (int(rows[-1]) + 1) * BLOCK_PX),
        )


def _as_mask_set(
    rows: list[tuple[int, int, Box, bytes, int, float]], frame_index: int, image_size: tuple[int, int]
) -> MaskSet:
    n = len(rows)
    if not n:
        return MaskSet.empty(frame_index, image_size)
    track_ids, levels, boxes, rles, areas, confidences = zip(*rows, strict=True)
    return MaskSet(
        frame=frame_index,
        image_size=image_size,
        mask_id=np.arange(n, dtype=np.int32),
        level=np.array(levels, np.int16),
        parent_id=np.full(n, NO_ID, np.int32),
        boxes=np.array(boxes, np.int32),
        area_px=np.array(areas, np.int64),
        score=np.array(confidences, np.float32),
        stability=np.ones(n, np.float32),
        source=np.full(n, MaskSource.TRACK, np.int8),
        rle=rles,
        track_id=np.array(track_ids, np.int32),
    )
