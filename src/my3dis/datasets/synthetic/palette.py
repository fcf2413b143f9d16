"""The colours and materials of one room, drawn at random so that they go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from my3dis.datasets.synthetic.materials import Material, Pattern

__all__ = ["Palette", "make_palette"]

Rgb = tuple[float, float, float]

_WOODS: tuple[tuple[Rgb, Rgb], ...] = (
    ((0.42, 0.24, 0.11), (0.30, 0.16, 0.07)),
    ((0.62, 0.43, 0.24), (0.52, 0.33, 0.16)),
    ((0.24, 0.13, 0.07), (0.16, 0.08, 0.04)),
    ((0.70, 0.58, 0.42), (0.62, 0.48, 0.32)),
)
_CLOTHS: tuple[Rgb, ...] = (
    (0.10, 0.24, 0.36),
    (0.42, 0.12, 0.10),
    (0.16, 0.30, 0.17),
    (0.46, 0.30, 0.08),
    (0.30, 0.17, 0.32),
    (0.34, 0.34, 0.36),
    (0.07, 0.33, 0.35),
)
_WALLS: tuple[Rgb, ...] = ((0.66, 0.62, 0.53), (0.52, 0.60, 0.62), (0.63, 0.58, 0.60), (0.56, 0.61, 0.50))


@dataclass(frozen=True, slots=True)
class Palette:
    """Materials that a room's builders choose from.

    Attributes:
        woods: three kinds of wood, light or dark.
        cloths: upholstery, each in a colour of its own.
        paints: flat bright colours for small things.
        wall, floor, ceiling, trim: of the room itself.
        white, dark, metal, brass: everywhere the same.
    """

    woods: tuple[Material, ...]
    cloths: tuple[Material, ...]
    paints: tuple[Material, ...]
    wall: Material
    floor: Material
    ceiling: Material
    trim: Material
    white: Material
    dark: Material
    metal: Material
    brass: Material


def make_palette(rng: np.random.Generator) -> Palette:
    """Draw the materials of a room."""
    wood_order = rng.permutation(len(_WOODS))
    woods = tuple(
        Material(Pattern.WOOD, _WOODS[i][0], _WOODS[i][1], scale_m=float(rng.uniform(0.05, 0.09)), gloss=0.05)
        for i in wood_order[:3]
    )
    cloths = tuple(
        Material(Pattern.FABRIC, _CLOTHS[i], _tint(_CLOTHS[i], 1.7), scale_m=0.03)
        for i in rng.permutation(len(_CLOTHS))
    )
    paints = tuple(
        Material(Pattern.PLAIN, color, gloss=0.12)
        for color in (_tint(_CLOTHS[i], 1.5) for i in rng.permutation(len(_CLOTHS)))
    )
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    floor_wood = _WOODS[wood_order[3]]
    return Palette(
        woods=woods,
        cloths=cloths,
        paints=paints,
        wall=Material(Pattern.STRIPES, wall, _tint(wall, 0.93), scale_m=0.34),
        floor=Material(Pattern.PLANKS, floor_wood[0], floor_wood[1], scale_m=0.16, gloss=0.05),
        ceiling=Material(Pattern.PLAIN, (0.80, 0.79, 0.76)),
        trim=Material(Pattern.PLAIN, (0.74, 0.72, 0.68), gloss=0.05),
        white=Material(Pattern.PLAIN, (0.76, 0.75, 0.72), gloss=0.08),
        dark=Material(Pattern.PLAIN, (0.035, 0.035, 0.04), gloss=0.18),
        metal=Material(Pattern.PLAIN, (0.38, 0.39, 0.41), gloss=0.35),
        brass=Material(Pattern.PLAIN, (0.52, 0.36, 0.12), gloss=0.4),
    )


def _tint(color: Rgb, factor: float) -> Rgb:
    r, g, b = (min(1.0, value * factor) for value in color)
    return (r, g, b)
