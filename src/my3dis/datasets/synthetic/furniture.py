"""Build the large pieces of furniture, each with its parts."""

from __future__ import annotations

import numpy as np

from my3dis.datasets.synthetic.materials import Material, Pattern
from my3dis.datasets.synthetic.palette import Palette
from my3dis.datasets.synthetic.scene import Piece, Surface, rotation

__all__ = ["bed", "bookshelf", "chair", "desk", "drawers", "sofa", "table", "television"]


def _pick(rng: np.random.Generator, options: tuple[Material, ...]) -> Material:
    return options[int(rng.integers(len(options)))]


def _legs(
    piece: Piece, at: tuple[float, float, float, float], thick: float, high: float, wood: Material
) -> None:
    """Add four legs inside the rectangle x0 y0 x1 y1."""
    x0, y0, x1, y1 = at
    for x in (x0, x1 - thick):
        for y in (y0, y1 - thick):
            piece.box("legs", (x, y, 0), (x + thick, y + thick, high), wood)


def table(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a coffee table: top, frame and legs."""
    w, d = float(rng.uniform(0.95, 1.15)), float(rng.uniform(0.55, 0.65))
    h = float(rng.uniform(0.42, 0.55))
    wood, legs = _pick(rng, palette.woods), _pick(rng, palette.woods)
    piece = Piece("table", "table", w, d)
    piece.box("top", (-w / 2, 0, h - 0.045), (w / 2, d, h), wood)
    piece.box("frame", (-w / 2 + 0.07, 0.07, h - 0.13), (w / 2 - 0.07, d - 0.07, h - 0.046), legs)
    _legs(piece, (-w / 2 + 0.04, 0.04, w / 2 - 0.04, d - 0.04), 0.065, h - 0.047, legs)
    piece.surfaces.append(Surface((-w / 2 + 0.12, w / 2 - 0.12), (0.12, d - 0.12), h))
    return piece


def desk(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a desk: top, side panel and a block of drawers with handles."""
    w, d, h = float(rng.uniform(1.25, 1.5)), 0.68, 0.74
    wood, front = palette.woods[0], palette.woods[1]
    piece = Piece("desk", "desk", w, d)
    piece.box("top", (-w / 2, 0, h - 0.04), (w / 2, d, h), wood)
    piece.box("side", (-w / 2 + 0.03, 0.04, 0), (-w / 2 + 0.07, d - 0.04, h - 0.041), wood)
    left, right, high = w / 2 - 0.46, w / 2 - 0.03, h - 0.041
    piece.box("drawer block", (left, 0.04, 0), (right, d - 0.06, high), wood)
    for i in range(3):
        low = 0.05 + i * (high - 0.06) / 3
        name = f"drawer {i + 1}"
        piece.box(
            name, (left + 0.015, d - 0.06, low), (right - 0.015, d - 0.04, low + (high - 0.1) / 3), front
        )
        piece.bar(name, ((left + right) / 2, d - 0.025, low + 0.12), 0.01, 0.14, palette.metal)
    piece.surfaces.append(Surface((-w / 2 + 0.15, w / 2 - 0.15), (0.12, d - 0.12), h))
    return piece


def chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a chair: seat, back of two posts and slats, legs."""
    w, d, seat = 0.46, 0.48, 0.46
    wood, cloth = _pick(rng, palette.woods), _pick(rng, palette.cloths)
    piece = Piece("chair", "chair", w, d)
    piece.box("seat", (-w / 2, 0.02, seat - 0.05), (w / 2, d, seat), cloth)
    _legs(piece, (-w / 2 + 0.01, 0.03, w / 2 - 0.01, d - 0.01), 0.045, seat - 0.051, wood)
    tilt = rotation(pitch=0.12)
    for x in (-w / 2 + 0.03, w / 2 - 0.03):
        piece.box("back", (x - 0.022, 0.0, seat - 0.05), (x + 0.022, 0.045, 0.96), wood, tilt)
    for z in (0.62, 0.75, 0.88):
        piece.box("back", (-w / 2 + 0.05, 0.008, z - 0.045), (w / 2 - 0.05, 0.03, z + 0.03), wood, tilt)
    return piece


def sofa(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a sofa: base, back, two arms, seat cushions, feet and throw pillows."""
    w, d = float(rng.uniform(1.7, 2.0)), 0.88
    cloth, pillow = palette.cloths[0], palette.cloths[1]
    seat = Material(Pattern.FABRIC, cloth.second, cloth.first, scale_m=0.04)
    piece = Piece("sofa", "sofa", w, d)
    piece.box("base", (-w / 2 + 0.17, 0.05, 0.09), (w / 2 - 0.17, d - 0.02, 0.27), cloth)
    piece.box("back", (-w / 2 + 0.1, 0.0, 0.09), (w / 2 - 0.1, 0.24, 0.84), cloth)
    for name, x in (("left arm", -w / 2), ("right arm", w / 2 - 0.18)):
        piece.box(name, (x, 0.03, 0.09), (x + 0.18, d, 0.58), cloth)
        _legs(piece, (x + 0.03, 0.06, x + 0.15, d - 0.05), 0.05, 0.089, palette.dark)
    half = (w - 0.38) / 2
    for i, x in enumerate((-half - 0.005, 0.005)):
        piece.box(f"seat cushion {i + 1}", (x, 0.2, 0.271), (x + half, d + 0.01, 0.42), seat)
    lean = rotation(pitch=0.35)
    stripes = Material(Pattern.STRIPES, pillow.second, palette.white.first, scale_m=0.11)
    for i, (x, cover) in enumerate(((-half * 0.66, stripes), (half * 0.62, pillow))):
        piece.box(f"pillow {i + 1}", (x - 0.2, 0.3, 0.42), (x + 0.2, 0.42, 0.78), cover, lean)
    return piece


def bed(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a bed: frame, headboard, mattress, blanket and pillows."""
    w, d = float(rng.uniform(1.2, 1.5)), 1.95
    wood, blanket = _pick(rng, palette.woods), palette.cloths[2]
    piece = Piece("bed", "bed", w, d)
    piece.box("headboard", (-w / 2, 0, 0), (w / 2, 0.06, 0.95), wood)
    piece.box("frame", (-w / 2 + 0.01, 0.061, 0.1), (w / 2 - 0.01, d, 0.3), wood)
    _legs(piece, (-w / 2 + 0.03, 0.1, w / 2 - 0.03, d - 0.03), 0.07, 0.099, wood)
    piece.box("mattress", (-w / 2 + 0.03, 0.07, 0.301), (w / 2 - 0.03, d - 0.02, 0.48), palette.white)
    cover = Material(Pattern.STRIPES, blanket.first, blanket.second, scale_m=0.26)
    piece.box("blanket", (-w / 2 + 0.015, 0.72, 0.29), (w / 2 - 0.015, d + 0.005, 0.51), cover)
    for i, x in enumerate((-w / 4, w / 4)):
        piece.ellipsoid(f"pillow {i + 1}", (x, 0.36, 0.53), (w / 4 - 0.05, 0.2, 0.085), palette.white)
    return piece


def bookshelf(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build an open bookshelf: frame, and rows of books that are a part each."""
    w, d, h = float(rng.uniform(0.85, 1.05)), 0.3, float(rng.uniform(1.65, 1.9))
    wood, back = palette.woods[0], palette.woods[2]
    piece = Piece("bookshelf", "bookshelf", w, d)
    for x in (-w / 2, w / 2 - 0.028):
        piece.box("frame", (x, 0, 0), (x + 0.028, d, h), wood)
    piece.box("frame", (-w / 2 + 0.028, 0, 0.02), (w / 2 - 0.028, 0.015, h - 0.02), back)
    boards = 5
    for i in range(boards + 1):
        z = i * (h - 0.028) / boards
        piece.box("frame", (-w / 2 + 0.0281, 0.015, z), (w / 2 - 0.0281, d - 0.005, z + 0.028), wood)
        if i < boards:
            _books(piece, rng, palette, (i, z + 0.029, (h - 0.028) / boards - 0.06))
    return piece


def _books(piece: Piece, rng: np.random.Generator, palette: Palette, row: tuple[int, float, float]) -> None:
    index, foot, room = row
    x, end = -piece.width_m / 2 + 0.04, piece.width_m / 2 - 0.05
    stop = end - float(rng.uniform(0.0, 0.35))
    while x < stop - 0.03:
        thick = float(rng.uniform(0.025, 0.06))
        high = room * float(rng.uniform(0.72, 0.98))
        color = np.array(_pick(rng, palette.paints).first) * rng.uniform(0.6, 1.3)
        r, g, b = (float(np.clip(c, 0.02, 0.9)) for c in color)
        cover = Material(Pattern.SPINE, (r, g, b), (0.75, 0.7, 0.55), gloss=0.05)
        deep = float(rng.uniform(0.02, 0.05))
        piece.box(f"books {index + 1}", (x, 0.05, foot), (x + thick, 0.3 - deep, foot + high), cover)
        x += thick + 0.002


def drawers(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a chest of drawers: body, top and drawers with knobs."""
    w, d, h = float(rng.uniform(0.8, 1.0)), 0.45, float(rng.uniform(0.75, 0.95))
    body, front = palette.woods[1], _pick(rng, (palette.white, palette.woods[2], *palette.paints[:2]))
    piece = Piece("chest of drawers", "cabinet", w, d)
    piece.box("body", (-w / 2, 0, 0), (w / 2, d - 0.02, h - 0.03), body)
    piece.box("top", (-w / 2 - 0.015, 0, h - 0.0299), (w / 2 + 0.015, d, h), body)
    n = 3
    step = (h - 0.1) / n
    for i in range(n):
        low, name = 0.05 + i * step, f"drawer {i + 1}"
        piece.box(name, (-w / 2 + 0.025, d - 0.02, low), (w / 2 - 0.025, d, low + step - 0.025), front)
        for x in (-w / 4, w / 4):
            piece.ellipsoid(name, (x, d + 0.015, low + step / 2), (0.022, 0.022, 0.022), palette.brass)
    piece.surfaces.append(Surface((-w / 2 + 0.12, w / 2 - 0.12), (0.1, d - 0.12), h))
    return piece


def television(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a low media cabinet with two doors; the set itself stands on it as an object of its own."""
    w, d, h = float(rng.uniform(1.2, 1.45)), 0.42, 0.48
    wood, door = palette.woods[2], palette.woods[0]
    piece = Piece("media cabinet", "cabinet", w, d)
    _legs(piece, (-w / 2 + 0.04, 0.03, w / 2 - 0.04, d - 0.04), 0.05, 0.099, palette.dark)
    piece.box("body", (-w / 2, 0, 0.1), (w / 2, d - 0.02, h), wood)
    for name, x in (("left door", -w / 2 + 0.03), ("right door", w / 6 + 0.01)):
        piece.box(name, (x, d - 0.02, 0.125), (x + w / 3 - 0.04, d, h - 0.03), door)
        piece.ellipsoid(name, (x + w / 6, d + 0.012, h - 0.1), (0.018, 0.018, 0.018), palette.brass)
    piece.box(
        "open shelf", (-w / 6 + 0.005, d - 0.0199, 0.125), (w / 6 - 0.005, d - 0.012, h - 0.03), palette.dark
    )
    piece.surfaces.append(Surface((-w / 2 + 0.3, w / 2 - 0.3), (0.14, 0.2), h))
    return piece
