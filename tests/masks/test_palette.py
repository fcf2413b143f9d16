"""One colour per id."""

from __future__ import annotations

import numpy as np

from my3dis.masks.palette import NO_ID_COLOR, colors_for_ids


def test_a_colour_depends_on_its_id_alone() -> None:
    """The same id has the same colour whatever other ids are asked for."""
    together = colors_for_ids(np.arange(100))
    assert together.dtype == np.uint8
    assert np.array_equal(colors_for_ids(np.array([42, 7])), together[[42, 7]])


def test_ids_that_mean_nothing_are_grey() -> None:
    """Negative ids share one grey that no other id comes near."""
    assert colors_for_ids(np.array([-1, -5])).tolist() == [list(NO_ID_COLOR)] * 2
    assert (np.ptp(colors_for_ids(np.arange(500)).astype(int), axis=1) > 80).all()


def test_neighbouring_ids_are_told_apart() -> None:
    """Among twenty consecutive ids no two colours are close, wherever they start."""
    for start in (0, 1, 100, 9999):
        colors = colors_for_ids(np.arange(start, start + 20)).astype(float)
        gap = np.linalg.norm(colors[:, None] - colors[None], axis=2)
        assert gap[~np.eye(20, dtype=bool)].min() > 25
        assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 90
