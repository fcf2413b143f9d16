"""One colour per id, the same in every picture, cloud and page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_ID_COLOR", "colors_for_ids"]

NO_ID_COLOR = (128, 128, 128)
"""RGB of what belongs to nothing (negative ids)."""

_GOLDEN_RATIO_CONJUGATE = (5**0.5 - 1) / 2
# Neighbouring ids differ in brightness as well as hue, so that pictures survive print and colour blindness.
_VALUES = np.array([0.95, 0.72, 0.85])
_SATURATIONS = np.array([0.62, 0.85])


def colors_for_ids(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return an RGB colour for each id: stable, bright, and far from those of neighbouring ids.

    Hues step by the golden angle, so that any run of consecutive ids is spread evenly over the circle.

    Args:
        ids: (N,) integers; negative = belongs to nothing, grey.

    Returns:
        (N, 3) uint8 RGB.
    """
    number = np.asarray(ids).astype(np.int64)
    hue6 = np.mod(number * _GOLDEN_RATIO_CONJUGATE, 1.0) * 6.0
    value = _VALUES[np.mod(number, len(_VALUES))]
    chroma = value * _SATURATIONS[np.mod(number, len(_SATURATIONS))]
    # Each channel is the value minus chroma times a trapezoid of the hue, shifted by a third of the circle.
    channels = []
    for shift in (5.0, 3.0, 1.0):
        k = np.mod(shift + hue6, 6.0)
        channels.append(value - chroma * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))
    rgb = np.rint(np.stack(channels, axis=-1) * 255.0).astype(np.uint8)
    rgb[number < 0] = NO_ID_COLOR
    return rgb
