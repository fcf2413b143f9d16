"""Masks drawn on pictures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.masks.build import from_codes
from my3dis.masks.codec import DECODED, encode
from my3dis.reporting.overlays import OverlayStyle, draw_masks
from my3dis.types import MaskSet
from tests.reporting.fakes import HEIGHT, WIDTH, mask_set

RED = (255, 0, 0)
SHARP = OverlayStyle(fill=0.4, outline_px=1.0, halo_px=0.0, fade=0.0)


def gray() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def test_outline_lies_on_the_masks_border() -> None:
    """Border pixels have the full colour, inner pixels are tinted, outer pixels are untouched."""
    drawn = draw_masks(gray(), mask_set(0, [(1, 2, (10, 10, 30, 30))]), {0: RED}, WIDTH, SHARP).astype(int)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    border, inside, outside = drawn[10, 20], drawn[20, 20], drawn[9, 20]
    assert border[0] > 240
    assert border[1] < 15
    assert abs(inside - [162, 60, 60]).max() <= 2  # 0.6 * 100 + 0.4 * colour
    assert (outside == 100).all()
    assert drawn[29, 20, 0] > 240
    assert (drawn[30, 20] == 100).all()


def test_no_outline_where_the_image_cuts_the_object() -> None:
    """A mask that touches the image's edge has its outline only on its own border."""
    drawn = draw_masks(gray(), mask_set(0, [(1, 2, (0, 0, 20, 20))]), {0: RED}, WIDTH, SHARP).astype(int)
    assert abs(drawn[0, 5] - [162, 60, 60]).max() <= 2
    assert drawn[10, 19, 0] > 240


def test_small_masks_are_drawn_over_large_ones() -> None:
    """The order of the masks does not matter: the smaller one is on top."""
    small, large = (1, 2, (20, 20, 26, 26)), (2, 2, (5, 5, 50, 40))
    one = draw_masks(gray(), mask_set(0, [small, large]), {0: (0, 255, 0), 1: RED}, WIDTH, SHARP)
    other = draw_masks(gray(), mask_set(0, [large, small]), {0: RED, 1: (0, 255, 0)}, WIDTH, SHARP)
    assert (one == other).all()
    assert one[20, 23, 1] > 240


def test_one_mask_is_decoded_at_a_time() -> None:
    """Forty masks never have more than a few decoded at once, and none stays."""
    rows = [(i, 2, (i, i // 2, i + 8, i // 2 + 8)) for i in range(40)]
    before = DECODED.alive
    DECODED.reset_peak()
    draw_masks(gray(), mask_set(0, rows), dict.fromkeys(range(40), RED), 96)
    assert DECODED.peak <= before + 2
    assert DECODED.alive == before


def test_pictures_scale_and_empty_frames_are_plain() -> None:
    """Any width is served; a frame without masks is the faded image."""
    for width in (32, 200):
        drawn = draw_masks(gray(), MaskSet.empty(0, (HEIGHT, WIDTH)), {}, width)
        assert drawn.shape == (width * HEIGHT // WIDTH, width, 3)
        assert (drawn == 100).all()


def test_masks_of_another_size_are_refused() -> None:
    """Masks that do not fit the image are an error, not a wrong picture."""
    with pytest.raises(DataError, match="expected masks of 20x10"):
        draw_masks(np.zeros((10, 20, 3), np.uint8), mask_set(0, [(1, 2, (0, 0, 4, 4))]), {0: RED}, 20)


def test_large_pictures_take_little_memory() -> None:
    """A mask over a whole 1440x1920 picture of 8 MB is drawn in 60 MB, not in floats of all its pixels."""
    rows, columns = 1440, 1920
    color = np.full((rows, columns, 3), 100, np.uint8)
    wall = from_codes(
        [encode(np.ones((rows, columns), bool))], frame=0, image_size=(rows, columns), mask_id=0
    )
    tracemalloc.start()
    try:
        drawn = draw_masks(color, wall, {0: RED}, 480)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6
    assert abs(drawn[180, 240].astype(int) - [159, 62, 62]).max() <= 1  # 0.62 * 100 + 0.38 * colour
