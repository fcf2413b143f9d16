"""Which frames show the instances best, and the outlines of their masks in small pictures of these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.masks import codec
from my3dis.reporting.pictures import encode_jpeg, resize
from my3dis.reporting.viewer import Polygon, ViewerPicture, ViewerShot
from my3dis.types import Frame, MaskSet

__all__ = ["choose_frames", "mask_shot", "outline_of", "picture_of"]

_LEAST_GAIN = 0.02
_WORTH = (1.0, 0.3, 0.15)
_MOST_POLYGONS = 6
_MOST_CORNERS = 90
_SMALLEST_PX = 6.0


def choose_frames(areas: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Choose frames so that every instance is seen about as large as in any frame, and again, greedily.

    A second and a third sight of an instance count less than its first.

    Args:
        areas: (F, K) area of each instance's mask in each frame, 0 = not seen.
        most: frames to choose at most.

    Returns:
        Rows of ``areas``, ascending.
    """
    best = areas.max(axis=0, initial=0.0)
    seen = best > 0
    quality = areas[:, seen] / best[seen]
    # The best sights so far, best first; the row above them bounds what a new one can add to each.
    reached = np.zeros((len(_WORTH) + 1, quality.shape[1]), np.float32)
    reached[0] = np.inf
    chosen: list[int] = []
    while len(chosen) < min(most, len(areas)):
        gains = np.zeros(len(areas))
        for place, worth in enumerate(_WORTH, start=1):
            added = np.clip(quality, reached[place], reached[place - 1]) - reached[place]
            gains += worth * added.sum(axis=1)
        row = int(gains.argmax()) if len(gains) else 0
        if gains[row] <= _LEAST_GAIN:
            break
        chosen.append(row)
        quality_now = np.concatenate([reached[1:], quality[row][None]])
        reached[1:] = -np.sort(-quality_now, axis=0)[: len(_WORTH)]
        quality[row] = 0  # not twice
    return np.array(sorted(chosen), np.int64)


def picture_of(frame: Frame, width: int) -> ViewerPicture:
    """Return a frame's colour image scaled down to a width; smaller images stay as they are."""
    image = resize(frame.color, min(width, frame.color.shape[1]))
    height, width = image.shape[:2]
    return ViewerPicture(frame=frame.index, width=width, height=height, jpeg=encode_jpeg(image, 78))


def mask_shot(masks: MaskSet, position: int, picture: int, width: int) -> ViewerShot:
    """Return where a mask is in a picture; decodes it inside its box only.

    Args:
        masks: of the picture's frame.
        position: of the mask among them; its area must not be 0.
        picture: place of the picture in the viewer's list.
        width: of the picture, pixels.
    """
    x0, y0, x1, y1 = (int(v) for v in masks.boxes[position])
    scale = width / masks.image_size[1]
    crop = codec.decode_crop(masks.rle[position], masks.image_size, (x0, y0, x1, y1))
    box = (int(x0 * scale), int(y0 * scale), int(np.ceil(x1 * scale)), int(np.ceil(y1 * scale)))
    return ViewerShot(picture=picture, box=box, outline=outline_of(crop, (x0, y0), scale))


def outline_of(crop: NDArray[np.bool_], corner: tuple[int, int], scale: float) -> tuple[Polygon, ...]:
    """Return simplified polygons of a mask, in half pixels of a picture.

    Args:
        crop: the mask inside its box.
        corner: (x, y) of the box in the mask's image.
        scale: size of the picture relative to the mask's image.
    """
    import cv2

    found: Any = cv2.findContours(crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    sized = sorted(
        ((abs(cv2.contourArea(line)) * scale**2, i) for i, line in enumerate(found[0])), reverse=True
    )
    polygons = []
    for rank, (area_px, i) in enumerate(sized[:_MOST_POLYGONS]):
        if rank and area_px < _SMALLEST_PX:
            break
        line = found[0][i]
        tolerance = 0.7 / scale
        while len(corners := cv2.approxPolyDP(line, tolerance, closed=True)) > _MOST_CORNERS:
            tolerance *= 1.5
        half_px = np.rint(2 * scale * (corners[:, 0, :] + np.array(corner) + 0.5)).astype(int).tolist()
        polygons.append(tuple((x, y) for x, y in half_px))
    return tuple(polygons)
