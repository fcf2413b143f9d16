"""Masks of one frame: the one record that proposers, trackers, the archive and exporters share."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.types.checks import frozen_array, require

__all__ = ["NO_ID", "MaskSet", "MaskSource"]

NO_ID = -1
"""The id that stands for "none": no parent, no track."""


class MaskSource(IntEnum):
    """Where a mask came from."""

    CANDIDATE = 0
    GAP = 1
    TRACK = 2


def _unset() -> NDArray[np.int32]:
    return np.full(0, NO_ID, np.int32)


def _whole(value: object, owner: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # refuses what is no whole number
    except TypeError as error:
        raise DataError(f"{owner}: expected a whole number, found {value!r}") from error


def _size(value: object) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) else ()
    require(len(pair) == 2, "MaskSet.image_size", f"expected (H, W), found {value!r}")
    return _whole(pair[0], "MaskSet.image_size"), _whole(pair[1], "MaskSet.image_size")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MaskSet:
    """N masks of one frame, run-length encoded; construction checks and decodes nothing.

    Attributes:
        frame: index of the frame in the scan.
        image_size: (H, W) in pixels; every mask has this size.
        mask_id: (N,) int32, at least 0, unique in the frame.
        level: (N,) int16 granularity; a smaller number is coarser.
        parent_id: (N,) int32 ``mask_id`` of the parent in the same frame, -1 = none.
        boxes: (N, 4) int32 half-open xyxy; (0, 0, 0, 0) for an empty mask.
        area_px: (N,) int64 number of pixels.
        score: (N,) float32.
        stability: (N,) float32.
        source: (N,) int8, see `MaskSource`.
        rle: N byte strings, COCO compressed counts (column-major runs, starting with background).
        track_id: (N,) int32, -1 = not tracked.

    Raises:
        DataError: if a field has another shape, dtype or range than stated here.
    """

    frame: int
    image_size: tuple[int, int]
    mask_id: NDArray[np.int32]
    level: NDArray[np.int16]
    parent_id: NDArray[np.int32]
    boxes: NDArray[np.int32]
    area_px: NDArray[np.int64]
    score: NDArray[np.float32]
    stability: NDArray[np.float32]
    source: NDArray[np.int8]
    rle: tuple[bytes, ...]
    track_id: NDArray[np.int32] = field(default_factory=_unset)

    def __post_init__(self) -> None:
        # NumPy integers become plain ones: SQLite stores the former as bytes, JSON refuses them.
        object.__setattr__(self, "frame", _whole(self.frame, "MaskSet.frame"))
        object.__setattr__(self, "image_size", _size(self.image_size))
        n = len(self.rle)
        if self.track_id.shape == (0,) and n:
            object.__setattr__(self, "track_id", np.full(n, NO_ID, np.int32))
        height, width = self.image_size
        require(self.frame >= 0, "MaskSet.frame", f"expected 0 or more, found {self.frame}")
        require(
            height > 0 and width > 0,
            "MaskSet.image_size",
            f"expected (H, W) above 0, found {self.image_size}",
        )
        require(isinstance(self.rle, tuple), "MaskSet.rle", _RLE_MESSAGE)
        columns = {name: getattr(self, name) for name, _, _ in _FIELDS}
        for name, checked in _checked(self.rle, columns, height, width).items():
            object.__setattr__(self, name, checked)
        require(
            n < 2 or len(np.unique(self.mask_id)) == n,
            "MaskSet.mask_id",
            f"expected ids unique in frame {self.frame}, found repeats",
        )

    def __len__(self) -> int:
        return len(self.rle)

    @classmethod
    def empty(cls, frame: int, image_size: tuple[int, int]) -> MaskSet:
        """Return a set without masks for a frame."""
        columns = {name: np.zeros((0, *shape), dtype) for name, shape, dtype in _FIELDS}
        return cls(frame=frame, image_size=image_size, rle=(), **columns)

    def select(self, index: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int]) -> MaskSet:
        """Return the masks at the given positions (integers) or where the (N,) boolean array is true."""
        chosen = np.asarray(index)
        require(chosen.ndim == 1, "MaskSet.select", f"expected (n,) positions, found shape {chosen.shape}")
        if chosen.dtype == bool:
            require(chosen.shape == (len(self),), "MaskSet.select", f"expected {len(self)} booleans")
            chosen = np.flatnonzero(chosen)
        else:
            chosen = chosen.astype(np.int64)
            require(
                len(np.unique(self.mask_id[chosen])) == chosen.size,
                "MaskSet.select",
                "expected each mask at most once, found repeats",
            )
        rle = tuple([self.rle[i] for i in chosen.tolist()])
        columns = {name: getattr(self, name)[chosen] for name, _, _ in _FIELDS}
        for column in columns.values():
            column.flags.writeable = False
        return self._trusted(self.frame, self.image_size, rle, columns)

    def at_level(self, level: int) -> MaskSet:
        """Return the masks of one level."""
        return self.select(self.level == level)

    @classmethod
    def singles(
        cls,
        frames: Sequence[int],
        image_sizes: Sequence[tuple[int, int]],
        rle: Sequence[bytes],
        columns: Mapping[str, NDArray[np.generic]],
    ) -> Iterator[MaskSet]:
        """Return a set of one mask for each of N masks of any frames, such as those of a track.

        All are checked together, before the first set is returned: in a fifth of the time that N
        constructions take.

        Args:
            frames: N indices of frames.
            image_sizes: N pairs (H, W).
            rle: N codes.
            columns: all the other attributes by name, shaped and typed as in the class, for N masks.

        Raises:
            DataError: if a field has another shape, dtype or range than stated in the class.
        """
        n = len(rle)
        require(
            len(frames) == len(image_sizes) == n,
            "MaskSet.singles",
            f"expected {n} frames and sizes, found {len(frames)} and {len(image_sizes)}",
        )
        numbers = [_whole(frame, "MaskSet.frame") for frame in frames]
        require(min(numbers, default=0) >= 0, "MaskSet.frame", "expected 0 or more")
        sizes = [_size(size) for size in image_sizes]
        high, wide = np.array(sizes, np.int64).reshape(n, 2).T
        require(bool(((high > 0) & (wide > 0)).all()), "MaskSet.image_size", "expected (H, W) above 0")
        checked = _checked(rle, columns, high, wide)
        return (
            cls._trusted(numbers[i], sizes[i], (rle[i],), {name: c[i : i + 1] for name, c in checked.items()})
            for i in range(n)
        )

    @classmethod
    def _trusted(
        cls,
        frame: int,
        image_size: tuple[int, int],
        rle: tuple[bytes, ...],
        columns: Mapping[str, NDArray[np.generic]],
    ) -> MaskSet:
        """Make a set of what has been checked; the columns are read-only already."""
        made = object.__new__(cls)
        give = object.__setattr__
        give(made, "frame", frame)
        give(made, "image_size", image_size)
        give(made, "rle", rle)
        for name, column in columns.items():
            give(made, name, column)
        return made

    @staticmethod
    def concatenate(sets: Sequence[MaskSet]) -> MaskSet:
        """Join sets of the same frame; ids must stay unique.

        Raises:
            DataError: if the sets are of different frames or sizes, repeat an id, or there are none.
        """
        require(len(sets) > 0, "MaskSet.concatenate", "expected at least one set")
        first = sets[0]
        for other in sets[1:]:
            same = (other.frame, other.image_size) == (first.frame, first.image_size)
            require(same, "MaskSet.concatenate", "expected sets of one frame and size")
        columns = {name: np.concatenate([getattr(s, name) for s in sets]) for name, _, _ in _FIELDS}
        rle = tuple(r for s in sets for r in s.rle)
        return MaskSet(frame=first.frame, image_size=first.image_size, rle=rle, **columns)


_FIELDS: tuple[tuple[str, tuple[int, ...], type[np.generic]], ...] = (
    ("mask_id", (), np.int32),
    ("level", (), np.int16),
    ("parent_id", (), np.int32),
    ("boxes", (4,), np.int32),
    ("area_px", (), np.int64),
    ("score", (), np.float32),
    ("stability", (), np.float32),
    ("source", (), np.int8),
    ("track_id", (), np.int32),
)

_RLE_MESSAGE = "expected a tuple of bytes objects (COCO compressed counts)"


def _checked(
    rle: Sequence[bytes],
    columns: Mapping[str, NDArray[np.generic]],
    height: int | NDArray[np.int64],
    width: int | NDArray[np.int64],
) -> dict[str, NDArray[np.generic]]:
    """Return read-only views of all columns after checking each mask by itself; sizes are for all or each."""
    n = len(rle)
    require(all(isinstance(r, bytes) for r in rle), "MaskSet.rle", _RLE_MESSAGE)
    views = {
        name: frozen_array(columns.get(name), f"MaskSet.{name}", (n, *shape), dtype)
        for name, shape, dtype in _FIELDS
    }
    if not n:
        return views
    for name, least, message in _LEAST:
        require(int(np.minimum.reduce(views[name])) >= least, f"MaskSet.{name}", message)
    boxes = views["boxes"]
    x0, y0, x1, y1 = boxes.T
    inside = (x0 >= 0) & (y0 >= 0) & (x0 <= x1) & (y0 <= y1) & (x1 <= width) & (y1 <= height)
    if not inside.all():
        bad = int(np.argmin(inside))
        high, wide = (int(np.broadcast_to(side, n)[bad]) for side in (height, width))
        raise DataError(
            f"MaskSet.boxes: expected half-open xyxy boxes in {wide}x{high}, found {boxes[bad].tolist()}"
        )
    return views


_LEAST = (
    ("mask_id", 0, "expected ids of 0 or more"),
    ("parent_id", NO_ID, "expected -1 or an id"),
    ("track_id", NO_ID, "expected -1 or an id"),
    ("area_px", 0, "expected 0 or more pixels"),
)
