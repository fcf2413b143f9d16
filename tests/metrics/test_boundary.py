"""Outlines: hand-made cases, and vectors worked out with trackeval 1.3's own boundary measure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.metrics.boundary import boundary_f, boundary_pixels, sequence_score

SIZE = (60, 80)  # diagonal 100: outlines may lie 1 px apart


def box(y0: int, x0: int, y1: int, x1: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def disk(y: float, x: float, radius: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.indices(size)
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def test_outline_of_one_pixel() -> None:
    """A pixel differs from its neighbours to the left, above, and above left."""
    assert boundary_pixels(box(5, 7, 6, 8)).tolist() == [[4, 6], [4, 7], [5, 6], [5, 7]]


def test_mask_over_the_whole_image_has_no_outline() -> None:
    """Beyond the image everything is as at its edge."""
    assert len(boundary_pixels(np.ones(SIZE, np.bool_))) == 0


def test_same_mask_and_two_empty_ones_score_1() -> None:
    """Nothing to find and nothing found is right."""
    mask, nothing = box(10, 10, 30, 40), np.zeros(SIZE, np.bool_)
    assert boundary_f(mask, mask) == 1.0
    assert boundary_f(nothing, nothing) == 1.0
    assert boundary_f(mask, nothing) == boundary_f(nothing, mask) == 0.0


def test_outline_one_pixel_off_is_right_and_two_off_is_not() -> None:
    """At a diagonal of 100 px the tolerance is 1 px."""
    truth = box(10, 10, 40, 60)
    assert boundary_f(box(11, 10, 41, 60), truth) == 1.0
    assert boundary_f(box(13, 10, 43, 60), truth) < 1.0


def test_half_of_the_outline() -> None:
    """Two equal boxes of which one is found: precision 1, recall 1/2, F 2/3."""
    one, other = box(10, 5, 30, 25), box(10, 50, 30, 70)
    assert boundary_f(one, one | other) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("predicted", "truth", "size", "expected"),
    [
        ((31.5, 42.0, 18.0), (30.0, 40.0, 20.0), (64, 90), 0.41866884776607716),
        ((90.0, 120.0, 50.0), (88.0, 131.0, 47.5), (200, 260), 0.2028007965568189),
        ((10.0, 10.0, 14.0), (12.0, 9.0, 15.0), (48, 64), 0.46280991735537197),
        ((240.0, 400.0, 100.0), (240.0, 409.0, 104.0), (480, 854), 0.6548995739500914),
    ],
)
def test_equals_trackeval(
    predicted: tuple[float, float, float],
    truth: tuple[float, float, float],
    size: tuple[int, int],
    expected: float,
) -> None:
    """Disks of which trackeval's `JAndF._compute_f` gives these F."""
    assert boundary_f(disk(*predicted, size), disk(*truth, size)) == pytest.approx(expected, abs=1e-12)


def test_sizes_must_agree() -> None:
    """Masks of two sizes are refused."""
    with pytest.raises(DataError, match="one size"):
        boundary_f(np.zeros((4, 5), np.bool_), np.zeros((5, 4), np.bool_))


def test_mean_recall_and_decay() -> None:
    """Values that fall from 1 to 0 lose what lies between the first and the last quarter."""
    score = sequence_score(np.linspace(1, 0, 9))
    assert (score.mean, score.recall, score.frames) == (0.5, 4 / 9, 9)
    # Quarters of 9 values share their ends: 1, 0.875, 0.75 and 0.25, 0.125, 0.
    assert score.decay == pytest.approx(0.75)
    assert math.isnan(sequence_score(np.zeros(0)).mean)
