"""Colours that stay: one object keeps its colour through the video, its parts have colours near it."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from my3dis.masks.palette import colors_for_ids

__all__ = ["Color", "family_colors", "hex_color"]

Color = tuple[int, int, int]

_GOLDEN = 0.6180339887498949
_DEGREES_PER_SIBLING = 26.0
_WIDEST_FAMILY_DEG = 150.0


def hex_color(color: Color) -> str:
    """Return ``#rrggbb`` for an RGB colour."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def family_colors(ids: Sequence[int], parents: Mapping[int, int]) -> dict[int, Color]:
    """Give every id an RGB colour; a child's hue lies near its parent's.

    A colour depends on the id and its siblings only, so it is the same in every picture of a run. The
    more siblings, the wider the range of hues they share, so that they can be told apart.

    Args:
        ids: every id that needs a colour.
        parents: id -> parent id; -1 or absent = none. Parents outside ``ids`` are coloured too.
    """
    known = {int(i) for i in ids}
    known |= {int(parents[i]) for i in known if parents.get(i, -1) >= 0}
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    for one in sorted(known):
        parent = int(parents.get(one, -1))
        if parent in known and parent != one:
            children.setdefault(parent, []).append(one)
        else:
            roots.append(one)
    base = colors_for_ids(np.asarray(roots, np.int64)) if roots else np.zeros((0, 3), np.uint8)
    colors: dict[int, Color] = {
        root: (int(c[0]), int(c[1]), int(c[2])) for root, c in zip(roots, base, strict=True)
    }
    waiting = list(roots)
    while waiting:
        parent = waiting.pop()
        siblings = [child for child in children.get(parent, []) if child not in colors]
        for position, child in enumerate(siblings):
            colors[child] = _near(colors[parent], position, len(siblings))
        waiting.extend(siblings)
    # Ids on a cycle of parents (a damaged file) are reached from no root; they get colours of their own.
    lost = sorted(known - colors.keys())
    for one, c in zip(lost, colors_for_ids(np.asarray(lost, np.int64)) if lost else (), strict=True):
        colors[one] = (int(c[0]), int(c[1]), int(c[2]))
    return colors


def _near(parent: Color, position: int, siblings: int) -> Color:
    hue, lightness, saturation = colorsys.rgb_to_hls(*(v / 255 for v in parent))
    spread = min(_WIDEST_FAMILY_DEG, _DEGREES_PER_SIBLING * siblings) / 360
    turn = ((position + 1) * _GOLDEN) % 1.0 - 0.5
    hue = (hue + turn * spread) % 1.0
    lightness = min(0.72, max(0.38, lightness + (0.10, -0.10, 0.0)[position % 3]))
    saturation = max(0.55, saturation)
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)
