"""From masks of the picture that the network saw to masks of the frame, on run-length codes.

Nearest neighbour, always: masks were cut, cleaned and compared at the picture's size, and taking each pixel
of the frame from the pixel of the picture that holds its centre keeps them inside one another and apart from
one another, which interpolating them anew would not. The earlier My3DIS did the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rlemasklib import RLEMask

from my3dis.masks.codec import Box, decode_crop, encode_in_box, to_bytes, to_rle_mask

__all__ = ["apart", "intersection", "place", "resample"]


def place(rle: bytes, picture_size: tuple[int, int], box: Box, frame_size: tuple[int, int]) -> bytes:
    """Return the code of the mask in the frame.

    Args:
        rle: code of the mask in the picture.
        picture_size: (H, W) of the picture.
        box: half-open xyxy part of the frame that the picture shows.
        frame_size: (H, W) of the frame.
    """
    x0, y0, x1, y1 = box
    if (picture_size, box) == (frame_size, (0, 0, frame_size[1], frame_size[0])):
        return rle
    runs = to_rle_mask(rle, picture_size)
    if not runs.area():
        return to_bytes(RLEMask.zeros(frame_size))
    left, top, width, height = (int(side) for side in runs.bbox())
    # The picture's row and column for each of the frame's, as in `my3dis.backends.proposers.rescale`.
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip((y1 - y0, x1 - x0), picture_size, strict=True)
    )
    ya, yb = np.searchsorted(rows, (top, top + height)).tolist()
    xa, xb = np.searchsorted(columns, (left, left + width)).tolist()
    crop = decode_crop(rle, picture_size, (left, top, left + width, top + height))
    part = crop[rows[ya:yb, None] - top, columns[xa:xb] - left]
    return encode_in_box(part, (x0 + xa, y0 + ya, x0 + xb, y0 + yb), frame_size)


def resample(rle: bytes, size: tuple[int, int], new_size: tuple[int, int]) -> bytes:
    """Return the code of a whole mask at another size."""
    return place(rle, size, (0, 0, new_size[1], new_size[0]), new_size)


def apart(rles: Sequence[bytes], size: tuple[int, int]) -> list[bytes]:
    """Give every pixel to the first mask that has it; a mask left with none has the code b""."""
    taken = RLEMask.zeros(size)
    result = []
    for rle in rles:
        mask = to_rle_mask(rle, size)
        own = mask - taken
        taken = taken | mask
        whole = own.area() == mask.area()
        result.append((rle if whole else to_bytes(own)) if own.area() else b"")
    return result


def intersection(a: bytes, b: bytes, size: tuple[int, int]) -> tuple[bytes, int]:
    """Return the code of what two masks share, and its pixels; the first code itself if it lies inside."""
    first = to_rle_mask(a, size)
    shared = first & to_rle_mask(b, size)
    area = int(shared.area())
    return (a if area == first.area() else to_bytes(shared)), area
