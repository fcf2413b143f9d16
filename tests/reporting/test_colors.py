"""Colours of families."""

from __future__ import annotations

import colorsys

import numpy as np

from my3dis.masks.palette import colors_for_ids
from my3dis.reporting.colors import family_colors, hex_color


def hue_deg(color: tuple[int, int, int]) -> float:
    return 360 * colorsys.rgb_to_hls(*(v / 255 for v in color))[0]


def test_roots_have_the_palettes_colour() -> None:
    """What has no parent has the colour that clouds and pages give its id."""
    colors = family_colors([3, 8], {})
    for one in (3, 8):
        assert colors[one] == tuple(colors_for_ids(np.array([one]))[0].tolist())


def test_children_stay_near_their_parent_and_differ() -> None:
    """Three parts lie within 40 degrees of their object's hue and no two are the same."""
    colors = family_colors([5, 11, 12, 13], {11: 5, 12: 5, 13: 5})
    for part in (11, 12, 13):
        turn = abs(hue_deg(colors[part]) - hue_deg(colors[5])) % 360
        assert min(turn, 360 - turn) <= 40
    assert len({colors[i] for i in (5, 11, 12, 13)}) == 4


def test_a_colour_does_not_depend_on_what_else_is_in_the_picture() -> None:
    """Unrelated ids change nothing, so an object keeps its colour through the video."""
    assert family_colors([4], {})[4] == family_colors([1, 2, 4, 9], {9: 2})[4]


def test_unlisted_parents_and_circles_do_no_harm() -> None:
    """A parent that is not listed is coloured too; ids on a circle get colours of their own."""
    assert set(family_colors([6], {6: 2})) == {2, 6}
    assert set(family_colors([6, 7], {6: 7, 7: 6})) == {6, 7}
    assert family_colors([], {}) == {}


def test_hex() -> None:
    """Colours are written as CSS wants them."""
    assert hex_color((255, 0, 10)) == "#ff000a"
