"""Build what stands on furniture, on the floor and on the walls."""

from __future__ import annotations

import math

import numpy as np

from my3dis.datasets.synthetic.materials import Material, Pattern
from my3dis.datasets.synthetic.palette import Palette
from my3dis.datasets.synthetic.scene import Piece, rotation

__all__ = [
    "ball", "bin_", "book_stack", "carton", "door", "floor_lamp", "fruit_bowl", "monitor", "mug", "picture",
    "plant", "rug", "screen", "stool", "table_lamp", "vase", "window",
]  # fmt: skip


def floor_lamp(palette: Palette) -> Piece:
    """Build a standing lamp: base, pole and shade."""
    piece = Piece("floor lamp", "lamp", 0.4, 0.4)
    shade = Material(Pattern.FABRIC, (0.85, 0.72, 0.48), (0.95, 0.85, 0.62), scale_m=0.03, glow=0.55)
    piece.round("base", (0, 0.2, 0), (0.15, 0.14), 0.03, palette.brass)
    piece.round("pole", (0, 0.2, 0.03), (0.016, 0.016), 1.28, palette.brass)
    piece.round("shade", (0, 0.2, 1.28), (0.2, 0.12), 0.27, shade)
    return piece


def table_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a small lamp: foot and shade."""
    foot = palette.paints[int(rng.integers(len(palette.paints)))]
    piece = Piece("table lamp", "lamp", 0.24, 0.24)
    shade = Material(Pattern.FABRIC, (0.82, 0.74, 0.60), (0.92, 0.84, 0.7), scale_m=0.02, glow=0.5)
    piece.round("foot", (0, 0.12, 0), (0.075, 0.07), 0.02, foot)
    piece.ellipsoid("foot", (0, 0.12, 0.1), (0.062, 0.062, 0.088), foot)
    piece.round("shade", (0, 0.12, 0.18), (0.125, 0.075), 0.17, shade)
    return piece


def plant(rng: np.random.Generator) -> Piece:
    """Build a potted plant: pot, soil, and leaves around a stem."""
    piece = Piece("plant", "otherprop", 0.5, 0.5)
    pot = Material(Pattern.PLAIN, (0.45, 0.20, 0.11), gloss=0.05)
    leaf = Material(Pattern.LEAVES, (0.05, 0.16, 0.04), (0.16, 0.36, 0.09))
    piece.round("pot", (0, 0.25, 0), (0.12, 0.165), 0.28, pot)
    piece.round("pot", (0, 0.25, 0.28), (0.18, 0.18), 0.035, pot)
    piece.round(
        "soil", (0, 0.25, 0.3151), (0.155, 0.155), 0.004, Material(Pattern.FABRIC, (0.06, 0.04, 0.03))
    )
    piece.round("leaves", (0, 0.25, 0.31), (0.014, 0.01), 0.45, leaf)
    for i in range(11):
        angle, lift = i * 2.4, 0.44 + 0.055 * i + float(rng.uniform(-0.02, 0.02))
        reach = 0.16 * math.sin(math.pi * (i + 2) / 14) + 0.03
        at = (reach * math.cos(angle), 0.25 + reach * math.sin(angle), lift)
        piece.ellipsoid("leaves", at, (0.10, 0.10, 0.065), leaf)
    return piece


def vase(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a vase with a few flowers."""
    paint = palette.paints[int(rng.integers(len(palette.paints)))]
    piece = Piece("vase", "otherprop", 0.18, 0.18)
    piece.ellipsoid("vase", (0, 0.09, 0.085), (0.07, 0.07, 0.085), paint)
    piece.round("vase", (0, 0.09, 0.14), (0.035, 0.045), 0.06, paint)
    stem = Material(Pattern.LEAVES, (0.06, 0.2, 0.05), (0.15, 0.35, 0.1))
    for i, (x, y) in enumerate(((-0.035, 0.07), (0.03, 0.12), (0.01, 0.055))):
        top = 0.33 + 0.03 * i
        piece.round("flowers", (x / 2, (y + 0.09) / 2, 0.19), (0.006, 0.005), top - 0.2, stem)
        bloom = Material(Pattern.PLAIN, (0.75, 0.22 + 0.16 * i, 0.2))
        piece.ellipsoid("flowers", (x, y, top), (0.035, 0.035, 0.028), bloom)
    return piece


def picture(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a framed picture that hangs on a wall: frame and canvas."""
    w, h = float(rng.uniform(0.5, 0.75)), float(rng.uniform(0.36, 0.48))
    piece = Piece("picture", "picture", w, 0.03)
    a, b = rng.uniform(0.05, 0.35, 3), rng.uniform(0.45, 0.9, 3)
    paint = Material(
        Pattern.PAINTING, (float(a[0]), float(a[1]), float(a[2])), (float(b[0]), float(b[1]), float(b[2]))
    )
    frame = palette.woods[int(rng.integers(3))] if rng.random() < 0.6 else palette.dark
    rim = 0.035
    for z in (0.0, h - rim):
        piece.box("frame", (-w / 2, 0, z), (w / 2, 0.03, z + rim), frame)
    for x in (-w / 2, w / 2 - rim):
        piece.box("frame", (x, 0, rim), (x + rim, 0.03, h - rim), frame)
    piece.box("canvas", (-w / 2 + rim, 0, rim), (w / 2 - rim, 0.015, h - rim), paint)
    return piece


def door(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a door: frame, leaf with two panels, and a handle."""
    w, h, rim = 0.95, 2.05, 0.08
    leaf = palette.woods[1] if rng.random() < 0.5 else palette.white
    piece = Piece("door", "door", w, 0.06)
    for x in (-w / 2, w / 2 - rim):
        piece.box("frame", (x, 0, 0), (x + rim, 0.05, h - rim), palette.trim)
    piece.box("frame", (-w / 2, 0, h - rim), (w / 2, 0.05, h), palette.trim)
    piece.box("leaf", (-w / 2 + rim, 0, 0.005), (w / 2 - rim, 0.03, h - rim), leaf)
    for low, high in ((0.15, 0.9), (1.05, 1.85)):
        piece.box("leaf", (-w / 2 + 0.2, 0.03, low), (w / 2 - 0.2, 0.042, high), leaf)
    piece.box("handle", (w / 2 - 0.17, 0.03, 0.93), (w / 2 - 0.12, 0.04, 1.11), palette.brass)
    piece.bar("handle", (w / 2 - 0.2, 0.085, 1.03), 0.012, 0.14, palette.brass)
    piece.box("handle", (w / 2 - 0.155, 0.04, 1.02), (w / 2 - 0.135, 0.08, 1.04), palette.brass)
    return piece


def window(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a window: frame with a cross, bright panes, sill and two curtains."""
    w, h, rim = float(rng.uniform(1.2, 1.5)), 1.15, 0.06
    piece = Piece("window", "window", w, 0.12)
    glass = Material(Pattern.GLASS, (0.50, 0.68, 0.95), (0.92, 0.93, 0.88), glow=0.9)
    for x in (-w / 2, -rim / 2, w / 2 - rim):
        piece.box("frame", (x, 0, 0), (x + rim, 0.05, h), palette.white)
    for z in (0.0, h * 0.62, h - rim):
        piece.box("frame", (-w / 2, 0.001, z), (w / 2, 0.049, z + rim), palette.white)
    piece.box("panes", (-w / 2 + 0.02, 0, 0.02), (w / 2 - 0.02, 0.015, h - 0.02), glass)
    piece.box("sill", (-w / 2 - 0.05, 0, -0.04), (w / 2 + 0.05, 0.14, -0.0001), palette.white)
    cloth = palette.cloths[3]
    curtain = Material(Pattern.STRIPES, cloth.second, cloth.first, scale_m=0.09)
    for name, x in (("left curtain", -w / 2 - 0.22), ("right curtain", w / 2 - 0.06)):
        for i in range(4):
            foot = (x + 0.035 + 0.07 * i, 0.095, -0.42)
            piece.round(name, foot, (0.04, 0.036), h + 0.54, curtain)
    piece.bar("rod", (0, 0.095, h + 0.135), 0.013, w + 0.6, palette.brass)
    return piece


def carton(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a cardboard box closed with tape."""
    w, d, h = (float(v) for v in rng.uniform((0.36, 0.3, 0.26), (0.5, 0.42, 0.38)))
    board = Material(Pattern.PLAIN, (0.50, 0.34, 0.18))
    tape = Material(Pattern.PLAIN, (0.62, 0.52, 0.36), gloss=0.15)
    piece = Piece("cardboard box", "box", w, d)
    piece.box("body", (-w / 2, 0, 0), (w / 2, d, h), board)
    piece.box("tape", (-w / 2 - 0.002, d / 2 - 0.03, h * 0.7), (w / 2 + 0.002, d / 2 + 0.03, h + 0.002), tape)
    piece.box("label", (-w / 5, d, h * 0.35), (w / 5, d + 0.002, h * 0.7), palette.white)
    return piece


def ball(rng: np.random.Generator) -> Piece:
    """Build a striped ball."""
    r = float(rng.uniform(0.12, 0.17))
    piece = Piece("ball", "otherprop", 2 * r, 2 * r)
    skin = Material(Pattern.STRIPES, (0.70, 0.13, 0.08), (0.82, 0.76, 0.62), scale_m=r, gloss=0.35)
    piece.ellipsoid("ball", (0, r, r), (r, r, r), skin)
    return piece


def bin_(palette: Palette) -> Piece:
    """Build a waste-paper bin: wall and dark inside."""
    piece = Piece("bin", "otherprop", 0.28, 0.28)
    wall = Material(Pattern.CHECKS, (0.30, 0.31, 0.33), (0.24, 0.25, 0.27), scale_m=0.035, gloss=0.1)
    piece.round("wall", (0, 0.14, 0), (0.105, 0.135), 0.33, wall)
    piece.round("inside", (0, 0.14, 0.3301), (0.122, 0.122), 0.003, palette.dark)
    return piece


def stool(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a round upholstered stool: cushion and three legs."""
    piece = Piece("stool", "chair", 0.44, 0.44)
    cloth = palette.cloths[int(rng.integers(len(palette.cloths)))]
    piece.round("cushion", (0, 0.22, 0.33), (0.2, 0.21), 0.1, cloth)
    for i in range(3):
        angle = 0.5 + i * 2 * math.pi / 3
        at = (0.13 * math.cos(angle), 0.22 + 0.13 * math.sin(angle), 0)
        piece.round("legs", at, (0.02, 0.03), 0.329, palette.woods[0])
    return piece


def monitor(palette: Palette) -> Piece:
    """Build a computer monitor: casing, screen and stand."""
    return _display("monitor", "otherprop", (0.58, 0.36), palette)


def screen(palette: Palette) -> Piece:
    """Build a television set: casing, screen and stand."""
    return _display("television", "television", (1.0, 0.58), palette)


def _display(name: str, label: str, size: tuple[float, float], palette: Palette) -> Piece:
    w, h = size
    piece = Piece(name, label, w, 0.2)
    picture = Material(Pattern.SCREEN, (0.05, 0.12, 0.22), (0.62, 0.78, 0.88), gloss=0.3, glow=0.5)
    piece.box("stand", (-w / 5, 0.0, 0), (w / 5, 0.2, 0.018), palette.dark)
    piece.box("stand", (-0.03, 0.07, 0.018), (0.03, 0.095, 0.2), palette.metal)
    piece.box("casing", (-w / 2, 0.095, 0.09), (w / 2, 0.13, 0.09 + h), palette.dark)
    piece.box("screen", (-w / 2 + 0.02, 0.13, 0.115), (w / 2 - 0.02, 0.134, 0.09 + h - 0.02), picture)
    return piece


def mug(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a mug: body, drink and handle."""
    paint = palette.paints[int(rng.integers(len(palette.paints)))]
    piece = Piece("mug", "otherprop", 0.12, 0.1)
    piece.round("body", (0, 0.05, 0), (0.042, 0.048), 0.11, paint)
    piece.round("drink", (0, 0.05, 0.1101), (0.04, 0.04), 0.002, Material(Pattern.PLAIN, (0.10, 0.05, 0.02)))
    piece.box("handle", (0.045, 0.042, 0.03), (0.075, 0.058, 0.085), paint)
    return piece


def book_stack(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a pile of books, each a part, slightly turned."""
    piece = Piece("pile of books", "books", 0.28, 0.2)
    z = 0.0
    for i in range(4):
        thick = float(rng.uniform(0.028, 0.045))
        w, d = 0.26 - 0.015 * i, 0.19 - 0.01 * i
        cover = Material(Pattern.SPINE, palette.paints[i].first, (0.8, 0.76, 0.6), gloss=0.05)
        turn = rotation(yaw=float(rng.uniform(-0.3, 0.3)))
        piece.box(f"book {i + 1}", (-w / 2, 0.1 - d / 2, z), (w / 2, 0.1 + d / 2, z + thick), cover, turn)
        z += thick + 0.0005
    return piece


def fruit_bowl(palette: Palette) -> Piece:
    """Build a bowl of fruit: bowl and fruits."""
    piece = Piece("fruit bowl", "otherprop", 0.3, 0.3)
    piece.round("bowl", (0, 0.15, 0), (0.06, 0.145), 0.085, palette.white)
    for i in range(6):
        angle, r = i * 2 * math.pi / 5, 0.075 if i < 5 else 0.0
        fruit = ((0.75, 0.36, 0.05), (0.62, 0.08, 0.06), (0.42, 0.52, 0.08))[i % 3]
        at = (r * math.cos(angle), 0.15 + r * math.sin(angle), 0.105 + (0.05 if i == 5 else 0))
        skin = Material(Pattern.PLAIN, fruit, gloss=0.25)
        piece.ellipsoid("fruit", at, (0.044, 0.044, 0.042), skin)
    return piece


def rug(rng: np.random.Generator, palette: Palette) -> Piece:
    """Build a rug: a patterned field with a plain border."""
    w, d = float(rng.uniform(1.8, 2.2)), float(rng.uniform(1.2, 1.5))
    piece = Piece("rug", "floormat", w, d)
    cloth = palette.cloths[4]
    pattern = Material(Pattern.RUG, cloth.first, (0.66, 0.56, 0.40), scale_m=0.09)
    border = Material(Pattern.FABRIC, cloth.first, cloth.second, scale_m=0.02)
    piece.box("border", (-w / 2, 0, 0), (w / 2, d, 0.010), border)
    piece.box("field", (-w / 2 + 0.1, 0.1, 0.0), (w / 2 - 0.1, d - 0.1, 0.013), pattern)
    return piece
