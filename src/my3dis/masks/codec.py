"""Run-length encoding of masks, and the count of masks that are decoded at the moment.

Masks live as COCO compressed counts (column-major runs, starting with background); an array of
pixels exists only while somebody works on it. Every array that `decode` or `decode_crop` returns is
counted until it is freed, and `MAX_DECODED` is the most that may exist at once anywhere: a scene
of 77,000 masks then costs no more memory than a scene of 256.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.errors import DataError, ResourceError

__all__ = [
    "DECODED",
    "MAX_DECODED",
    "DecodedCount",
    "decode",
    "decode_crop",
    "encode",
    "encode_in_box",
    "find_box",
    "iter_crops",
    "measure",
    "parse_counts",
    "to_bytes",
    "to_rle_mask",
]

MAX_DECODED = 256
"""The most masks that may be decoded at once in a process."""

# Below this a scan of the whole mask takes less time than finding its box.
_SMALL_PX = 1 << 18
_BAND_ROWS = 128
_DTYPES = (np.dtype(np.bool_), np.dtype(np.uint8))

Box = tuple[int, int, int, int]


class DecodedCount:
    """Counts decoded masks that are alive, and the most there ever were."""

    def __init__(self) -> None:
        self.alive = 0
        self.peak = 0
        self._lock = threading.Lock()

    def register(self, mask: NDArray[np.bool_]) -> None:
        """Count an array until it is freed.

        Raises:
            ResourceError: if more than `MAX_DECODED` masks would be decoded at once.
        """
        with self._lock:
            if self.alive >= MAX_DECODED:
                raise ResourceError(
                    f"expected at most {MAX_DECODED} decoded masks at once, found {self.alive + 1}; "
                    "process masks one batch at a time and drop each batch before the next"
                )
            self.alive += 1
            self.peak = max(self.peak, self.alive)
        owner = mask
        while isinstance(owner.base, np.ndarray):
            # Slices refer to the array that owns the pixels, not to the view handed out.
            owner = owner.base
        weakref.finalize(owner, self._release)

    def reset_peak(self) -> None:
        """Start a new measurement of the peak."""
        with self._lock:
            self.peak = self.alive

    def _release(self) -> None:
        with self._lock:
            self.alive -= 1


DECODED = DecodedCount()
"""The count for this process."""


def to_rle_mask(rle: bytes, image_size: tuple[int, int]) -> RLEMask:
    """Parse compressed counts into runs without decoding any pixel.

    Raises:
        DataError: if the runs do not cover exactly H x W pixels.
    """
    try:
        return RLEMask.from_dict({"size": list(image_size), "counts": rle})
    except ValueError as error:
        height, width = image_size
        raise DataError(
            f"expected a run-length code of {width}x{height} pixels, found {len(rle)} bytes that are none; "
            "the mask is damaged or of another image size"
        ) from error


def parse_counts(rle: bytes) -> list[int]:
    """Return the lengths of the runs, background first, as the code says them, however unlikely.

    Slow and strict: for checks and as the readable description of the code. Each run is a difference to
    the run two before it (from the fourth run on), written in groups of five bits, lowest first; a
    character is 48 plus the group, plus 32 if another follows; bit 16 of the last group is the sign.

    Raises:
        DataError: if a character is outside 48..111, the last one promises more, or a run is negative.
    """
    runs: list[int] = []
    value = shift = 0
    for character in rle:
        group = character - 48
        if not 0 <= group < 64:
            raise DataError(f"expected characters of 48..111 in a run-length code, found {character}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise DataError(f"expected runs of 0 or more pixels in a run-length code, found {value}")
        runs.append(value)
        value = shift = 0
    if shift:
        raise DataError("expected another character at the end of a run-length code, found none")
    return runs


def to_bytes(mask: RLEMask) -> bytes:
    """Return the COCO compressed counts of a run-length mask."""
    return bytes(mask.to_dict()["counts"])


def encode(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> bytes:
    """Encode an (H, W) boolean or uint8 mask as COCO compressed counts; any value but 0 is inside.

    Of a large mask only the box is scanned for runs: finding it costs less than scanning the rest.

    Raises:
        DataError: if the array has another shape or dtype; a mask of probabilities must be compared first.
    """
    if mask.ndim != 2 or mask.dtype not in _DTYPES:
        raise DataError(
            f"expected a boolean or uint8 mask of shape (H, W), found {mask.dtype} of shape {mask.shape}"
        )
    if mask.flags.f_contiguous or mask.size <= _SMALL_PX:
        return to_bytes(_to_runs(mask))
    pixels = np.ascontiguousarray(mask).view(np.bool_)
    height, width = pixels.shape
    x0, y0, x1, y1 = find_box(pixels)
    if 2 * (x1 - x0) > width:
        # Scanning whole rows in place takes less time than copying most of each.
        x0, x1 = 0, width
    return encode_in_box(pixels[y0:y1, x0:x1], (x0, y0, x1, y1), (height, width))


def find_box(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Box:
    """Return the half-open xyxy box of an (H, W) C-contiguous mask, (0, 0, 0, 0) if it is empty.

    Pixels inside the box are read once at most: the first row by a search that stops at the first pixel, the
    last one from below in bands, the columns between them.
    """
    height, width = mask.shape
    flat = mask.view(np.bool_).reshape(-1)
    first = int(flat.argmax())
    if not flat[first]:
        return (0, 0, 0, 0)
    top, bottom = first // width, height
    while not flat[(start := max(0, bottom - _BAND_ROWS)) * width : bottom * width].any():
        bottom = start
    band = np.asarray(mask[start:bottom].any(axis=1))
    bottom -= int(band[::-1].argmax())
    columns = np.asarray(np.bitwise_or.reduce(mask[top:bottom], axis=0)).view(np.bool_)
    return (int(columns.argmax()), top, width - int(columns[::-1].argmax()), bottom)


def encode_in_box(
    crop: NDArray[np.bool_] | NDArray[np.uint8], box: Box, image_size: tuple[int, int]
) -> bytes:
    """Encode a mask of which only the part inside a half-open xyxy box is given.

    Costs time in proportion to the box, not to the image.

    Args:
        crop: (y1 - y0, x1 - x0) boolean or uint8; any value but 0 is inside.
        box: (x0, y0, x1, y1) inside the image.
        image_size: (H, W) of the whole mask.

    Raises:
        DataError: if the crop's shape is not the box's, or the box is not inside the image.
    """
    x0, y0, x1, y1 = (int(v) for v in box)
    height, width = image_size
    if min(x0, y0) < 0 or x1 > width or y1 > height:
        raise DataError(f"expected a box inside {width}x{height} pixels, found {[x0, y0, x1, y1]}; clip it")
    if crop.shape != (y1 - y0, x1 - x0):
        found = "x".join(str(side) for side in reversed(crop.shape))
        raise DataError(f"expected a crop of {x1 - x0}x{y1 - y0} as the box says, found {found}")
    if crop.size == 0:
        return to_bytes(RLEMask.zeros(image_size))
    inner = _to_runs(np.ascontiguousarray(crop))
    return to_bytes(inner.pad(y0, height - y1, x0, width - x1))


def _to_runs(pixels: NDArray[Any]) -> RLEMask:
    # rlemasklib refuses arrays that it may not write to, though it only reads them.
    return RLEMask.from_array(pixels if pixels.flags.writeable else pixels.copy(order="K"))


def decode(rle: bytes, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a whole (H, W) boolean mask; counted by `DECODED` until it is freed.

    Raises:
        DataError: if the code does not fit the image size.
        ResourceError: if `MAX_DECODED` masks are decoded already.
    """
    runs = to_rle_mask(rle, image_size)
    mask: NDArray[np.bool_] = runs.to_array(order="C").view(np.bool_)
    DECODED.register(mask)
    return mask


def decode_crop(rle: bytes, image_size: tuple[int, int], box: Box | NDArray[np.int32]) -> NDArray[np.bool_]:
    """Decode the part of a mask inside a half-open xyxy box as (y1 - y0, x1 - x0) boolean.

    Raises:
        DataError: if the code does not fit the image size.
        ResourceError: if `MAX_DECODED` masks are decoded already.
    """
    x0, y0, x1, y1 = (int(v) for v in box)
    runs = to_rle_mask(rle, image_size)
    if x1 <= x0 or y1 <= y0:
        mask = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), np.bool_)
    else:
        mask = runs.crop(np.array([x0, y0, x1 - x0, y1 - y0])).to_array(order="C").view(np.bool_)
    DECODED.register(mask)
    return mask


def iter_crops(
    rles: Sequence[bytes], image_size: tuple[int, int], boxes: NDArray[np.int32]
) -> Iterator[NDArray[np.bool_]]:
    """Decode masks one after the other, each cropped to its own half-open xyxy box."""
    for rle, box in zip(rles, boxes, strict=True):
        yield decode_crop(rle, image_size, box)


def measure(
    rles: Sequence[bytes], image_size: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the half-open xyxy boxes (N, 4) int32 and areas (N,) int64 in pixels, decoding nothing.

    An empty mask has the box (0, 0, 0, 0) and area 0.
    """
    boxes = np.zeros((len(rles), 4), np.int32)
    areas = np.zeros(len(rles), np.int64)
    for i, rle in enumerate(rles):
        runs = to_rle_mask(rle, image_size)
        areas[i] = runs.area()
        if areas[i]:
            x, y, width, height = runs.bbox()
            boxes[i] = (x, y, x + width, y + height)
    return boxes, areas
