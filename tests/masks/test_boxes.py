"""Boxes are half-open."""

import numpy as np

from my3dis.masks.boxes import box_area, box_intersection, boxes_overlap, from_inclusive


def boxes(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, np.int32).reshape(-1, 4)


def test_area_of_half_open_boxes() -> None:
    """A box from 1 to 4 is three pixels wide; an empty or inverted box has no area."""
    assert box_area(boxes((1, 2, 4, 4), (0, 0, 0, 0), (5, 5, 3, 9))).tolist() == [6, 0, 0]


def test_touching_boxes_do_not_overlap() -> None:
    """Boxes that share an edge share no pixel."""
    a, b = boxes((0, 0, 4, 4)), boxes((4, 0, 8, 4), (3, 3, 8, 8), (1, 1, 2, 2))
    assert box_intersection(a, b).tolist() == [[0, 1, 1]]
    assert boxes_overlap(a, b).tolist() == [[False, True, True]]


def test_inclusive_boxes_gain_a_pixel() -> None:
    """The last pixel of an inclusive box is inside the half-open one."""
    assert from_inclusive(boxes((2, 3, 2, 5))).tolist() == [[2, 3, 3, 6]]
