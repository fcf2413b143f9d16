"""Specks go, pieces stay, unseen patches are filled."""

from __future__ import annotations

import numpy as np

from my3dis.geometry.points import neighbour_edges
from my3dis.lifting.clean import CleanOptions, drop_specks, fill_unseen

STEP = 0.02


def grid(x0: float, width: int, height: int, y0: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].reshape(2, -1)
    return np.stack([x0 + x * STEP, y0 + y * STEP, np.zeros(x.size)], axis=1).astype(np.float32)


def joined(*pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    xyz = np.concatenate(pieces)
    return xyz, neighbour_edges(xyz, neighbours=8, radius_m=1.5 * STEP)


def test_a_far_speck_is_dropped_and_near_or_large_pieces_stay() -> None:
    """Of three pieces beside a large one, only the one that is both small and far goes."""
    main, near, large, speck = grid(0, 20, 20), grid(0.45, 2, 2), grid(1.0, 10, 10), grid(3.0, 2, 2)
    xyz, edges = joined(main, near, large, speck)
    owner = np.full(len(xyz), 7, np.int32)
    cleaned, taken = drop_specks(owner, xyz, edges, CleanOptions())
    assert taken == 4
    assert (cleaned[-4:] == -1).all()
    assert (cleaned[:-4] == 7).all()
    assert (owner == 7).all(), "the input stays as it is"


def test_each_object_is_judged_by_its_own_size() -> None:
    """A small object far from everything is no speck: it is its own largest piece."""
    xyz, edges = joined(grid(0, 20, 20), grid(3.0, 2, 2))
    owner = np.where(np.arange(len(xyz)) < 400, 3, 5).astype(np.int32)
    cleaned, taken = drop_specks(owner, xyz, edges, CleanOptions())
    assert taken == 0
    assert np.array_equal(cleaned, owner)


def test_points_of_nobody_stay_so() -> None:
    """Nothing owned, nothing done."""
    xyz, edges = joined(grid(0, 4, 4))
    cleaned, taken = drop_specks(np.full(16, -1, np.int32), xyz, edges, CleanOptions())
    assert (cleaned == -1).all()
    assert taken == 0


def test_an_unseen_patch_inside_an_object_is_filled() -> None:
    """Points that no view saw take the owner around them."""
    _, edges = joined(grid(0, 10, 10))
    owner = np.full(100, 2, np.int32)
    unseen = np.zeros(100, np.bool_)
    unseen[[44, 45, 54, 55]] = True
    owner[unseen] = -1
    assert (fill_unseen(owner, unseen, edges, CleanOptions()) == 2).all()


def test_seen_points_and_large_patches_are_not_filled() -> None:
    """A seen hole is a hole; a patch larger than allowed stays open; so does one between two objects."""
    _, edges = joined(grid(0, 10, 10))
    owner = np.full(100, 2, np.int32)
    owner[[44, 45]] = -1
    nothing = np.zeros(100, np.bool_)
    assert np.array_equal(fill_unseen(owner, nothing, edges, CleanOptions()), owner)
    unseen = owner == -1
    tight = CleanOptions(hole_points=1)
    assert np.array_equal(fill_unseen(owner, unseen, edges, tight), owner)
    halves = np.where(np.arange(100) % 10 < 5, 1, 2).astype(np.int32)
    halves[[44, 45]] = -1
    assert np.array_equal(fill_unseen(halves, unseen, edges, CleanOptions()), halves)
