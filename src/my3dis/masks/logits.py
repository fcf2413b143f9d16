"""Masks straight from logits of a model's own, smaller resolution: the full-size array is never built.

Bilinear interpolation is separable, and along an output column it is a line between two neighbouring rows
of the model's grid. So the runs of a column, which are what a run-length code holds, follow from where those
lines cross the threshold: only the columns are interpolated, at the height of the model's grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rlemasklib import RLEMask
from scipy.sparse import csr_array

from my3dis.errors import DataError
from my3dis.masks.codec import Box, to_bytes

__all__ = ["LogitMask", "encode_logits", "iter_encode_logits", "stability"]

# Interpolated logits that exist at once: few enough to stay in the processor's second cache.
_BAND_VALUES = 1 << 18


@dataclass(frozen=True, slots=True)
class LogitMask:
    """A mask of full size.

    Attributes:
        rle: COCO compressed counts.
        box: half-open xyxy; (0, 0, 0, 0) for an empty mask.
        area_px: number of pixels.
    """

    rle: bytes
    box: Box
    area_px: int


def encode_logits(
    logits: NDArray[np.float32], image_size: tuple[int, int], *, threshold: float = 0.0
) -> LogitMask:
    """Encode the pixels whose interpolated logit is above a threshold.

    Equal to ``torch.nn.functional.interpolate(logits, image_size, mode="bilinear", align_corners=False)``
    compared with the threshold, but for pixels whose value differs from it by a rounding error of float32.
    Costs time in proportion to the box of the mask, its height taken on the model's grid.

    Args:
        logits: (h, w) finite floats at the model's resolution, taken as float32.
        image_size: (H, W) of the mask, larger or smaller than the logits.
        threshold: a pixel belongs if its logit is above it.

    Raises:
        DataError: if the logits are no (h, w) array, or one is not finite.
    """
    starts, ends = _runs(logits, image_size, threshold)
    if not len(starts):
        return LogitMask(to_bytes(RLEMask.zeros(image_size)), (0, 0, 0, 0), 0)
    height, width = image_size
    x, top = np.divmod(starts, height)
    box = (int(x[0]), int(top.min()), int(x[-1]) + 1, int((ends - x * height).max()))
    counts = np.empty(2 * len(starts) + 1, np.int64)
    counts[0] = starts[0]
    counts[1::2] = ends - starts
    counts[2:-1:2] = starts[1:] - ends[:-1]
    counts[-1] = height * width - ends[-1]
    # A code does not end with an empty run of background.
    runs = RLEMask.from_counts((counts if counts[-1] else counts[:-1]).astype(np.uint32), image_size)
    return LogitMask(to_bytes(runs), box, int(counts[1::2].sum()))


def iter_encode_logits(
    logits: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    image_size: tuple[int, int],
    *,
    threshold: float = 0.0,
) -> Iterator[LogitMask]:
    """Encode a batch of (h, w) logits, or (N, h, w) of them, one after the other; as `encode_logits`.

    Raises:
        DataError: as `encode_logits`.
    """
    for some in logits:
        yield encode_logits(some, image_size, threshold=threshold)


def stability(
    logits: NDArray[np.float32],
    image_size: tuple[int, int],
    *,
    threshold: float = 0.0,
    offset: float = 1.0,
) -> float:
    """Return how little a mask changes with its threshold: IoU of the masks ``offset`` above and below it.

    The higher one lies inside the lower one, so this is the ratio of their areas at full size; 0 if the lower
    one is empty.

    Raises:
        DataError: as `encode_logits`.
    """
    high, low = (
        sum(int(side.sum()) * sign for side, sign in zip(_runs(logits, image_size, t), (-1, 1), strict=True))
        for t in (threshold + offset, threshold - offset)
    )
    return high / low if low else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """Where the output samples of one axis lie on the model's grid, as torch places them.

    Attributes:
        low: (n,) int32 index of the grid point before each sample.
        share: (n,) float32 weight of the one after.
        points: (2 n,) int32 index of the grid points before and after; the same one at the far border.
        weights: (2 n,) float32 weights of these.
        first: (size + 1,) int32 first sample at or after each grid point.
        step: distance of two samples in grid points.
    """

    low: NDArray[np.int32]
    share: NDArray[np.float32]
    points: NDArray[np.int32]
    weights: NDArray[np.float32]
    first: NDArray[np.int32]
    step: float

    def sample(self, grid: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
        """Interpolate the rows (size, m) of a grid at the samples begin..end, as (end - begin, m)."""
        some, n = slice(2 * begin, 2 * end), end - begin
        pointers = np.arange(0, 2 * n + 1, 2, dtype=np.int32)
        weights = csr_array((self.weights[some], self.points[some], pointers), shape=(n, len(grid)))
        return np.asarray(weights @ grid)


@lru_cache(maxsize=16)
def _axis(size: int, n: int) -> _Axis:
    step = np.float32(size) / np.float32(n)
    place = np.maximum(step * (np.arange(n, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    low = np.minimum(place.astype(np.int32), size - 1)
    share = np.clip(place - low.astype(np.float32), 0, 1).astype(np.float32)
    return _Axis(
        low=low,
        share=share,
        points=np.stack([low, np.minimum(low + 1, size - 1)], axis=1).ravel(),
        weights=np.stack([1 - share, share], axis=1).ravel(),
        first=np.searchsorted(low, np.arange(size + 1)).astype(np.int32),
        step=float(step),
    )


def _runs(
    logits: NDArray[np.float32], image_size: tuple[int, int], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return starts and ends of the column-major runs above the threshold, each inside one column."""
    grid = _checked(logits, image_size)
    bar = np.float32(threshold)
    above = grid > bar
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    down, across = _axis(grid.shape[0], image_size[0]), _axis(grid.shape[1], image_size[1])
    # A sample is above only if one of its four grid points is: a margin of one point around them is enough.
    y0, y1 = max(0, int(rows[0]) - 1), min(grid.shape[0], int(rows[-1]) + 2)
    part = np.ascontiguousarray(grid[y0:y1].T)
    begin, last = int(across.first[max(0, columns[0] - 1)]), int(across.first[columns[-1] + 1])
    band = max(1, _BAND_VALUES // (y1 - y0))
    toggles = [np.zeros(0, np.int64)]
    for x0 in range(begin, last, band):
        lines = across.sample(part, x0, min(x0 + band, last))
        toggles.append(_toggles(lines, y0, down, bar) + x0 * image_size[0])
    flat = np.concatenate(toggles)
    starts, ends = flat[::2], flat[1::2]
    # A run between two samples of a column has no pixel.
    there = ends > starts
    return starts[there], ends[there]


def _toggles(lines: NDArray[np.float32], y0: int, down: _Axis, bar: np.float32) -> NDArray[np.int64]:
    """Return where the mask begins and ends along columns, as ascending column-major positions.

    Args:
        lines: (n, m) logits of n output columns at the grid rows y0 to y0 + m.
        y0: first grid row of the lines; no pixel outside them and their next samples is above.
        down: the axis of rows.
        bar: the threshold.
    """
    n, m = lines.shape
    # Every column begins with a place outside the image, where nothing is above, and one ends the last.
    flat = np.zeros(n * (m + 1) + 1, np.bool_)
    np.greater(lines, bar, out=flat[:-1].reshape(n, m + 1)[:, 1:])
    x, k = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]) + 1, m + 1)
    # Change k lies between the rows k - 2 and k - 1. At 0 the column before ends, at 1 this one begins inside
    # the mask: both at the border, position 0 of column x.
    toggles: NDArray[np.int64] = x * len(down.low)
    inner = np.flatnonzero(k > 1)
    after = x[inner] * m + k[inner] - 1
    values = lines.ravel()
    toggles[inner] += _crossings(values[after - 1], values[after], y0 + k[inner] - 2, down, bar)
    return toggles


def _crossings(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    row: NDArray[np.int64],
    down: _Axis,
    bar: np.float32,
) -> NDArray[np.int64]:
    """Return the first output rows at which lines from grid row ``row`` to the next are on their far side."""
    rising = after > bar
    span = after.astype(np.float64) - before
    place = row + (float(bar) - before) / span
    low, high = down.first[row], down.first[row + 1]
    y = np.clip(np.ceil((place + 0.5) / down.step - 0.5).astype(np.int64), low, high)

    def passed(at: NDArray[np.int64]) -> NDArray[np.bool_]:
        share = down.share[np.minimum(at, len(down.share) - 1)]
        side: NDArray[np.bool_] = ((1 - share) * before + share * after > bar) == rising
        return side

    # The quotient is rounded; the interpolation itself, as torch rounds it, has the last word.
    y -= (y > low) & passed(y - 1)
    y += (y < high) & ~passed(y)
    return y


def _checked(logits: NDArray[np.float32], image_size: tuple[int, int]) -> NDArray[np.float32]:
    grid = np.asarray(logits, np.float32)
    if grid.ndim != 2 or not grid.size:
        raise DataError(f"expected logits of shape (h, w), found {grid.shape}; pass one mask at a time")
    if min(image_size) < 1:
        raise DataError(f"expected an image size (H, W) above 0, found {image_size}")
    if not (np.isfinite(grid.min()) and np.isfinite(grid.max())):
        raise DataError("expected finite logits, found NaN or infinity; use float32 for the last layers")
    return grid
