"""Depth images: tolerance, holes, discontinuities, resampling."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.geometry.depth import (
    depth_tolerance,
    discontinuity_mask,
    fill_small_holes,
    grow_mask,
    resample_depth,
)
from my3dis.types import Camera


def test_tolerance_by_hand() -> None:
    """The tolerance is as given at 2 m, half of it at the camera and two and a half times it at 4 m."""
    tolerance = depth_tolerance(np.array([0.0, 2.0, 4.0], np.float32), 0.04)
    np.testing.assert_allclose(tolerance, [0.02, 0.04, 0.10], rtol=1e-6)


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    """A hole three pixels wide takes the value around it; one of nine pixels keeps its middle empty."""
    depth = np.full((40, 40), 2.0, np.float32)
    depth[5:8, 5:8] = 0.0
    depth[20:29, 20:29] = 0.0
    filled = fill_small_holes(depth)
    np.testing.assert_allclose(filled[4:9, 4:9], 2.0)
    assert (filled[20:29, 20:29] == 0).all()
    assert (depth[5:8, 5:8] == 0).all(), "the input stays as it is"


def test_a_hole_between_two_surfaces_is_not_averaged() -> None:
    """No depth between a near and a far surface is made up."""
    depth = np.full((20, 20), 1.0, np.float32)
    depth[:, 10:] = 3.0
    depth[8:11, 9:11] = 0.0
    filled = fill_small_holes(depth)
    assert np.isin(np.round(filled, 5), [0.0, 1.0, 3.0]).all()


def test_a_jump_is_marked_on_both_sides() -> None:
    """A step of half a metre marks one column on each side of it and nothing else."""
    depth = np.full((10, 20), 1.5, np.float32)
    depth[:, 12:] = 2.0
    assert np.flatnonzero(discontinuity_mask(depth)[5]).tolist() == [11, 12]


def test_a_steep_plane_is_no_edge() -> None:
    """A floor seen at a grazing angle has large depth steps from row to row, yet no discontinuity."""
    rows = np.arange(5, 100, dtype=np.float32)[:, None]
    depth = np.broadcast_to(60.0 / rows, (95, 30)).astype(np.float32)
    assert np.abs(np.diff(depth[:, 0])).max() > 1.0
    assert not discontinuity_mask(depth).any()


def test_rims_of_holes_are_marked() -> None:
    """Pixels beside a hole are doubtful; the hole itself is never marked."""
    depth = np.full((9, 9), 2.0, np.float32)
    depth[4, 4] = 0.0
    marked = discontinuity_mask(depth)
    assert {tuple(p) for p in np.argwhere(marked).tolist()} == {(3, 4), (5, 4), (4, 3), (4, 5)}


def test_growing_by_one_pixel() -> None:
    """One pixel becomes a block of three by three; a radius of zero changes nothing."""
    mask = np.zeros((5, 5), np.bool_)
    mask[2, 2] = True
    assert grow_mask(mask, 1).sum() == 9
    assert np.array_equal(grow_mask(mask, 0), mask)


def test_resampling_to_half_size_takes_nearest_readings() -> None:
    """Half the size keeps values of the original; a wider view has no reading outside."""
    source = Camera(100.0, 100.0, 3.5, 3.5, 8, 8)
    depth = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    half = resample_depth(depth, source, source.scaled_to(4, 4))
    assert half.shape == (4, 4)
    assert np.isin(half, depth).all()
    wide = resample_depth(depth, source, Camera(50.0, 50.0, 3.5, 3.5, 8, 8))
    assert wide[0, 0] == 0.0
    assert wide[3, 3] > 0.0
    assert np.array_equal(resample_depth(depth, source, source), depth)


def test_resampling_refuses_depth_of_another_size() -> None:
    """Depth must fit its own intrinsics."""
    source = Camera(100.0, 100.0, 3.5, 3.5, 8, 8)
    with pytest.raises(DataError, match="8x8"):
        resample_depth(np.ones((4, 4), np.float32), source, source)
