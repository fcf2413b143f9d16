"""Masks as old runs write them, turned into run-length codes one at a time.

Three ways: bits packed row by row (as bytes or in base64) with a shape, arrays of booleans or small
integers, and either with a leading axis of length 1, as the model returned them. Boxes are inclusive:
``[x, y, max x - min x, max y - min y]`` or ``[min x, min y, max x, max y]``.
"""

from __future__ import annotations

import base64
import binascii
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.archive.legacy.limits import MAX_ID, MAX_PIXELS
from my3dis.errors import DataError
from my3dis.masks.boxes import from_inclusive
from my3dis.masks.codec import decode, encode

__all__ = [
    "BITS",
    "BITS_BASE64",
    "FULL_SHAPE",
    "SHAPE",
    "LegacyItem",
    "LegacyMask",
    "check_size",
    "half_open_box",
    "mask_from_bits",
    "mask_from_pixels",
    "mask_from_record",
    "real_number",
    "resized",
    "whole_number",
]

BITS, BITS_BASE64 = "packed_bits", "packed_bits_b64"
SHAPE, FULL_SHAPE = "shape", "full_resolution_shape"


@dataclass(frozen=True, slots=True)
class LegacyMask:
    """One mask of an old run.

    Attributes:
        rle: COCO compressed counts.
        image_size: (H, W) in pixels, as recorded.
        full_size: (H, W) of the image where the mask was recorded smaller, else None.
    """

    rle: bytes
    image_size: tuple[int, int]
    full_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyItem:
    """One mask with what an old run says about it.

    Attributes:
        mask: None when the run recorded a box only.
        box_xyxy: the recorded box, half-open; None when none was recorded.
        stability: 1 when none was recorded.
        object_id: of a tracked object, unique in its level; None for candidates.
        unique_id, parent_unique_id: ids over the levels of a frame; None where the run has none.
        is_gap: whether it fills a region that nothing covered.
    """

    mask: LegacyMask | None
    box_xyxy: tuple[int, int, int, int] | None = None
    stability: float = 1.0
    object_id: int | None = None
    unique_id: int | None = None
    parent_unique_id: int | None = None
    is_gap: bool = False


def whole_number(value: object, owner: str) -> int:
    """Return an id or index, which JSON may hold as a number or as text.

    Raises:
        DataError: if it is no whole number from 0 to `MAX_ID`; NaN is none.
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ID:
        raise DataError(
            f"{owner}: expected a whole number from 0 to {MAX_ID}, found {_shown(value)}; the file is damaged"
        )
    return value


def real_number(value: object, owner: str) -> float:
    """Return a finite number.

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise DataError(f"{owner}: expected a finite number, found {_shown(value)}; the file is damaged")
    return float(value)


def check_size(shape: object, owner: str) -> tuple[int, int]:
    """Return (H, W) of a mask's shape; axes of length 1 around it are left out.

    Raises:
        DataError: if it is no shape of an image of at most `MAX_PIXELS`.
    """
    sides = list(shape) if isinstance(shape, list | tuple) else []
    if not 2 <= len(sides) <= 4:
        raise DataError(f"{owner}: expected a shape [H, W], found {_shown(shape)}")
    sides = [whole_number(side, f"{owner}: shape") for side in sides]
    while len(sides) > 2:
        outer = 0 if sides[0] == 1 else -1
        if sides[outer] != 1:
            raise DataError(f"{owner}: expected a shape [H, W], found {sides}")
        del sides[outer]
    height, width = sides
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"{owner}: expected masks of 1 to {MAX_PIXELS} pixels, found {width}x{height}")
    return height, width


def mask_from_bits(bits: bytes, size: tuple[int, int], owner: str) -> LegacyMask:
    """Return the mask of packed bits, row by row, the highest bit of a byte first.

    Raises:
        DataError: if there are not exactly as many bytes as the size needs.
    """
    pixels = math.prod(size)
    if len(bits) != (pixels + 7) // 8:
        raise DataError(
            f"{owner}: expected {(pixels + 7) // 8} bytes of packed bits for {size[1]}x{size[0]} pixels, "
            f"found {len(bits)}"
        )
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=pixels)
    return LegacyMask(encode(unpacked.reshape(size)), size)


def mask_from_pixels(pixels: NDArray[np.generic], owner: str) -> LegacyMask:
    """Return the mask of an array in which everything but 0 belongs to it.

    Raises:
        DataError: if it is no image of booleans or integers.
    """
    if pixels.dtype.kind not in "bu" or pixels.dtype.itemsize != 1:
        raise DataError(f"{owner}: expected booleans or bytes, found {pixels.dtype}")
    size = check_size(pixels.shape, owner)
    return LegacyMask(encode(pixels.reshape(size) != 0), size)


def mask_from_record(record: object, owner: str) -> LegacyMask:
    """Return the mask of a JSON object with a shape and packed bits in base64.

    Raises:
        DataError: if something is missing or does not fit.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get(BITS_BASE64), str):
        raise DataError(
            f'{owner}: expected {{"{SHAPE}": [H, W], "{BITS_BASE64}": "..."}}, found another mask'
        )
    size = check_size(record.get(SHAPE), owner)
    try:
        bits = base64.b64decode(record[BITS_BASE64], validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: a character beyond ASCII
        raise DataError(f"{owner}: expected bits in base64, found other text ({error})") from error
    mask = mask_from_bits(bits, size, owner)
    full = record.get(FULL_SHAPE)
    if full is None:
        return mask
    full_size = check_full_size(full, owner)
    return LegacyMask(mask.rle, size, full_size if full_size != size else None)


def check_full_size(shape: object, owner: str) -> tuple[int, int] | None:
    """Return (H, W) of the image that a mask was made smaller from, or None if that is not told.

    Some runs wrote the first two of three axes here: (1, H) says nothing.

    Raises:
        DataError: as `check_size`.
    """
    size = check_size(shape, f"{owner}: {FULL_SHAPE}")
    return None if 1 in size else size


def half_open_box(item: Mapping[str, object], owner: str) -> tuple[int, int, int, int] | None:
    """Return the box of a candidate as half-open xyxy, or None when it has none.

    Old boxes end on the last pixel: ``bbox`` is [x, y, max x - min x, max y - min y] and ``bbox_xyxy`` is
    [min x, min y, max x, max y]; the pixel is added here.

    Raises:
        DataError: if a box is not four numbers of sane size.
    """
    corners = item.get("bbox_xyxy")
    sized = item.get("bbox")
    given = corners if corners is not None else sized
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 4:
        raise DataError(f"{owner}: expected a box of four numbers, found {_shown(given)}")
    numbers = [real_number(side, f"{owner}: box") for side in given]
    if any(abs(side) > MAX_PIXELS for side in numbers):
        raise DataError(f"{owner}: expected a box inside an image, found {numbers}")
    if corners is None:
        numbers[2:] = [numbers[0] + numbers[2], numbers[1] + numbers[3]]
    box = from_inclusive(np.array([numbers], np.float64).round().astype(np.int32))[0].tolist()
    return box[0], box[1], box[2], box[3]


def resized(mask: LegacyMask, size: tuple[int, int]) -> LegacyMask:
    """Return the mask at another size, taking the nearest pixel."""
    if mask.image_size == size:
        return mask
    pixels = decode(mask.rle, mask.image_size)
    rows = (np.arange(size[0]) * 2 + 1) * mask.image_size[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * mask.image_size[1] // (2 * size[1])
    return LegacyMask(encode(pixels[rows[:, None], columns]), size, mask.full_size)


def _shown(value: object) -> str:
    # Bounded in depth too: values of a pickle may hold each other a million times.
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
