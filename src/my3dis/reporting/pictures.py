"""Pictures as bytes: scaled, encoded, joined side by side, and embedded in a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["data_uri", "encode_jpeg", "encode_webp", "join_panels", "panel_columns", "panel_width", "resize"]

_GAP_PX = 6
_CAPTION_PX = 22
_NARROWEST_PANEL_PX = 320
_WIDEST_PANEL_PX = 480
_PAPER = (250, 250, 250)
_INK = (40, 40, 40)


def encode_jpeg(image: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode an (H, W, 3) RGB image as JPEG."""
    import cv2

    return _encoded(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_webp(image: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode an (H, W, 4) RGBA image as WebP, which keeps a transparent ground small."""
    import cv2

    return _encoded(".webp", image[:, :, [2, 1, 0, 3]], [cv2.IMWRITE_WEBP_QUALITY, quality])


def _encoded(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    import cv2

    done, buffer = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise DataError(f"expected a picture that can be written as {suffix}, found shape {image.shape}")
    return bytes(buffer)


def data_uri(encoded: bytes, kind: str) -> str:
    """Return a ``data:`` address for an encoded picture; ``kind`` is such as ``image/jpeg``."""
    return f"data:{kind};base64,{base64.b64encode(encoded).decode('ascii')}"


def resize(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Scale an image to a width, keeping its proportions."""
    import cv2

    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if (height, width) == image.shape[:2]:
        return image
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    scaled: NDArray[Any] = cv2.resize(image, (width, height), interpolation=how)
    return scaled.astype(np.uint8, copy=False)


def panel_columns(panels: int, max_width: int) -> int:
    """Return how many panels go side by side: all, unless they would be too narrow to read."""
    fits = max(1, (max_width + _GAP_PX) // (_NARROWEST_PANEL_PX + _GAP_PX))
    if panels <= fits:
        return panels
    rows = math.ceil(panels / fits)
    return math.ceil(panels / rows)


def panel_width(panels: int, max_width: int) -> int:
    """Return the width of one panel so that a row of them is at most ``max_width`` wide."""
    columns = panel_columns(panels, max_width)
    return max(16, min(_WIDEST_PANEL_PX, (max_width - _GAP_PX * (columns - 1)) // columns))


def join_panels(
    panels: Sequence[NDArray[np.uint8]], captions: Sequence[str], max_width: int
) -> NDArray[np.uint8]:
    """Join panels of equal size into one picture, each under its caption.

    Args:
        panels: (H, W, 3) RGB images of one size.
        captions: one ASCII line for each.
        max_width: the picture is at most this wide.
    """
    import cv2

    height, width = panels[0].shape[:2]
    columns = panel_columns(len(panels), max_width)
    rows = math.ceil(len(panels) / columns)
    cell_h, cell_w = height + _CAPTION_PX + _GAP_PX, width + _GAP_PX
    sheet = np.empty((rows * cell_h - _GAP_PX, columns * cell_w - _GAP_PX, 3), np.uint8)
    sheet[:] = _PAPER
    for position, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        y, x = (position // columns) * cell_h, (position % columns) * cell_w
        cv2.putText(sheet, caption, (x + 2, y + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
        sheet[y + _CAPTION_PX : y + _CAPTION_PX + height, x : x + width] = panel
    return sheet
