"""Masks held as distances, and what is done about masks that tear."""

from __future__ import annotations

import numpy as np

from my3dis.backends.trackers.distances import BORDER, signed_distances, solidity, whole


def block(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((60, 80), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_distances_keep_the_mask() -> None:
    """A mask and its distances have the same pixels inside."""
    mask = block((10, 10, 40, 30))
    assert np.array_equal(signed_distances(mask) >= BORDER, mask)


def test_shreds_go_and_large_pieces_stay() -> None:
    """A piece of 4 of 600 pixels is removed, one of 100 is kept, and the share that is left is told."""
    mask = block((10, 10, 40, 30), (50, 10, 60, 20), (70, 50, 72, 52))
    kept, share = whole(signed_distances(mask))
    assert np.array_equal(kept >= BORDER, block((10, 10, 40, 30), (50, 10, 60, 20)))
    assert share == 1 - 4 / 704


def test_one_piece_is_left_alone() -> None:
    """A mask in one piece is returned as it is."""
    distances = signed_distances(block((10, 10, 40, 30)))
    kept, share = whole(distances)
    assert kept is distances
    assert share == 1.0


def test_stripes_are_not_solid() -> None:
    """A block is compact; the same block with every second pair of rows missing is half of itself."""
    solid = block((10, 10, 50, 50))
    striped = solid.copy()
    striped[12::4] = striped[13::4] = False
    assert solidity(signed_distances(solid)) > 0.98
    assert 0.45 < solidity(signed_distances(striped)) < 0.6


def test_a_mask_without_border_is_all_inside_or_all_outside() -> None:
    """A mask that fills the picture, or none of it, has no border and gives the two extremes everywhere."""
    full = np.ones((40, 60), np.bool_)
    assert set(np.unique(signed_distances(full))) == {2 * BORDER}
    assert set(np.unique(signed_distances(~full))) == {0}
