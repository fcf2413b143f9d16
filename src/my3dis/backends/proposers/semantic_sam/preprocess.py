"""The picture that the network sees: its shorter side has 640 pixels, resampled as Pillow's bicubic does it.

Written anew so that no imaging library is needed: bicubic with antialiasing in fixed-point arithmetic, along
one axis after the other, rounded to 8 bits between the two. Equal to Pillow 13 bit for bit, which axis comes
first included. A JPEG may be decoded a little differently by the reader than by Pillow, and its EXIF
orientation is the reader's affair.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from my3dis.errors import DataError

__all__ = ["SHORT_SIDE", "resize_bicubic", "resized_size"]

SHORT_SIDE = 640
"""Pixels of the shorter side of what the network sees."""

_FRACTION_BITS = 22
"""Bits after the point of a weight: 8 bits of picture and 2 of headroom are left of 32."""
_SUPPORT = 2.0


def resized_size(image_size: tuple[int, int], short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """Return the (H, W) at which the shorter side has a given length; the longer one is rounded down."""
    height, width = image_size
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def resize_bicubic(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample an (h, w, C) uint8 image to (H, W, C), larger or smaller; always a new array.

    Raises:
        DataError: if it is no such image, or a side is below 1.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size or min(size) < 1:
        raise DataError(
            f"expected an (h, w, C) uint8 image and a size above 0, found {image.dtype} {image.shape} "
            f"and {size}"
        )
    height, width = size
    rows_lost, columns_lost = image.shape[0] - height, image.shape[1] - width
    # Found by trying Pillow 13 on thousands of sizes: it begins with the columns where the image loses rows,
    # and more than twice as many as columns; for our sizes, where it is over twice as tall as wide.
    if rows_lost > max(0, 2 * columns_lost):
        return np.array(_across(_filtered(image, height), width), order="C")
    return np.array(_filtered(_across(image, width), height), order="C")


def _across(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resample the second axis of (n, m, C) uint8."""
    return _filtered(image.transpose(1, 0, 2), size).transpose(1, 0, 2)


def _filtered(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resample the first axis of (n, m, C) uint8."""
    if image.shape[0] == size:
        return image
    flat = image.reshape(image.shape[0], -1).astype(np.int32)
    total = _weights(image.shape[0], size) @ flat
    total += 1 << (_FRACTION_BITS - 1)
    total >>= _FRACTION_BITS
    return np.clip(total, 0, 255, out=total).astype(np.uint8).reshape(size, *image.shape[1:])


@lru_cache(maxsize=8)
def _weights(n: int, size: int) -> csr_array:
    """Return the (size, n) int32 weights of the antialiased bicubic filter, in units of 2 ** -22."""
    scale = n / size
    stretch = max(scale, 1.0)
    centers = (np.arange(size) + 0.5) * scale
    first = np.maximum((centers - _SUPPORT * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + _SUPPORT * stretch + 0.5).astype(np.int64), n)
    taps = np.arange(int((last - first).max()))
    columns = first[:, None] + taps
    inside = columns < last[:, None]
    weights = np.where(inside, _bicubic((columns - centers[:, None] + 0.5) * (1.0 / stretch)), 0.0)
    # Summed one after the other, not in pairs, as the last bit could round a weight the other way.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    fixed = np.trunc(weights * (1 << _FRACTION_BITS) + np.copysign(0.5, weights)).astype(np.int32)
    rows = np.broadcast_to(np.arange(size)[:, None], columns.shape)
    return csr_array((fixed[inside], (rows[inside], columns[inside])), shape=(size, n))


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    a = -0.5
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    result: NDArray[np.float64] = np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
    return result
