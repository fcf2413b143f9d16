"""Masks drawn on a colour image: a translucent fill and a thin outline in each mask's colour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.masks import codec
from my3dis.reporting.colors import Color
from my3dis.reporting.pictures import resize
from my3dis.types import MaskSet

__all__ = ["OverlayStyle", "draw_masks"]

_BAND_ROWS = 64
"""Rows that are calculated with at once: floats of a whole picture take twenty times its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How masks are drawn.

    Attributes:
        fill: opacity of the fill, 0 to 1.
        outline_px: thickness of the outline in the finished picture.
        halo_px: thickness of the dark line inside the outline, which keeps it visible on any ground.
        fade: how far the colour image is faded to grey below the masks, 0 to 1.
    """

    fill: float = 0.38
    outline_px: float = 1.5
    halo_px: float = 0.8
    fade: float = 0.6


def draw_masks(
    color: NDArray[np.uint8],
    masks: MaskSet,
    colors: Mapping[int, Color],
    width: int,
    style: OverlayStyle | None = None,
) -> NDArray[np.uint8]:
    """Draw masks on a colour image, large ones first, and return it scaled to a width.

    One mask is decoded at a time, and only inside its box. Lines are drawn at a higher resolution than
    the picture's and averaged down, which smooths them.

    Args:
        color: (H, W, 3) RGB image.
        masks: masks of this frame; their image size must be the image's.
        colors: RGB colour for each position in ``masks``.
        width: width of the result in pixels.
        style: see `OverlayStyle`.

    Raises:
        DataError: if the masks are of another image size.
    """
    style = style or OverlayStyle()
    height, full_width = color.shape[:2]
    if len(masks) and masks.image_size != (height, full_width):
        have = f"{masks.image_size[1]}x{masks.image_size[0]}"
        raise DataError(
            f"expected masks of {full_width}x{height} as the image, found {have}; import an old run with "
            "--resize, or make the masks of this scan again"
        )
    factor = max(1, math.ceil(2 * width / full_width))
    canvas = _ground(color, factor, style.fade)
    line = max(1, round(style.outline_px * full_width * factor / width))
    halo = round(style.halo_px * full_width * factor / width)
    for i in np.argsort(-masks.area_px, kind="stable").tolist():
        if masks.area_px[i] > 0:
            crop = codec.decode_crop(masks.rle[i], masks.image_size, masks.boxes[i])
            _draw_one(canvas, _Placed(crop, masks.boxes[i], factor), colors[i], (line, halo), style.fill)
    return resize(canvas, width)


def _ground(color: NDArray[np.uint8], factor: int, fade: float) -> NDArray[np.uint8]:
    import cv2

    faded = np.empty_like(color)
    for top in range(0, len(color), _BAND_ROWS):
        band = color[top : top + _BAND_ROWS]
        grey: NDArray[Any] = cv2.cvtColor(band, cv2.COLOR_RGB2GRAY)[:, :, None]
        faded[top : top + _BAND_ROWS] = band * (1 - fade) + grey * fade
    if factor == 1:
        return faded
    size = (faded.shape[1] * factor, faded.shape[0] * factor)
    return np.ascontiguousarray(cv2.resize(faded, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


class _Placed:
    """A decoded mask at the canvas's resolution and the place where it goes."""

    def __init__(self, crop: NDArray[np.bool_], box: NDArray[np.int32], factor: int) -> None:
        mask = crop.view(np.uint8)
        if factor > 1:
            mask = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
        self.mask = np.ascontiguousarray(mask)
        x0, y0, x1, y1 = (int(v) * factor for v in box)
        self.box = (x0, y0, x1, y1)

    def inside(self, distance: int, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return where the mask reaches at least ``distance`` pixels deep, image edges not counting."""
        import cv2

        if distance < 1:
            return self.mask.view(np.bool_)
        x0, y0, x1, y1 = self.box
        edges = (y0 == 0, y1 == size[0], x0 == 0, x1 == size[1])
        padded = np.pad(self.mask, distance)
        # Where the object is cut by the image's edge it has no border there: continue it outwards.
        for axis, (low, high) in enumerate((edges[:2], edges[2:])):
            view = padded if axis == 0 else padded.T
            if low:
                view[:distance] = view[distance]
            if high:
                view[-distance:] = view[-distance - 1]
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance + 1, 2 * distance + 1))
        deep: NDArray[Any] = cv2.erode(padded, kernel, borderType=cv2.BORDER_REPLICATE)
        return deep[distance:-distance, distance:-distance].astype(bool)


def _draw_one(
    canvas: NDArray[np.uint8], placed: _Placed, color: Color, lines: tuple[int, int], fill: float
) -> None:
    import cv2

    x0, y0, x1, y1 = placed.box
    line, halo = lines
    size = (canvas.shape[0], canvas.shape[1])
    region = canvas[y0:y1, x0:x1]
    mask = placed.mask.view(np.bool_)
    # What each value of a channel becomes: as bytes, for a wall in floats would take a hundred megabytes.
    values = np.arange(256)[:, None] * (1 - fill) + np.array(color, np.float32) * fill
    filled = cv2.LUT(region, values.astype(np.uint8)[None])
    cv2.copyTo(filled, placed.mask, region)
    below = placed.inside(line, size)
    if halo:
        dark = below & ~placed.inside(line + halo, size)
        region[dark] = (region[dark] * 0.45).astype(np.uint8)
    region[mask & ~below] = np.array(color, np.uint8)
