"""Procedural materials: a pattern over a surface, computed from positions on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Material", "Noise", "Pattern", "albedo"]

Values = NDArray[np.float32]
Rgb = tuple[float, float, float]
Half = tuple[float, float]


class Pattern(IntEnum):
    """How colours are laid over a surface."""

    PLAIN = 0
    WOOD = 1
    PLANKS = 2
    STRIPES = 3
    FABRIC = 4
    CHECKS = 5
    RUG = 6
    PAINTING = 7
    SPINE = 8
    SCREEN = 9
    LEAVES = 10
    GLASS = 11


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks.

    Attributes:
        pattern: how the two colours are mixed.
        first, second: linear RGB in [0, 1].
        scale_m: wavelength of the pattern.
        gloss: strength of the highlight.
        glow: light that the surface sends out itself, as a factor of its colour.
    """

    pattern: Pattern
    first: Rgb
    second: Rgb = (0.0, 0.0, 0.0)
    scale_m: float = 0.1
    gloss: float = 0.0
    glow: float = 0.0


class Noise:
    """Smooth random values over the plane, from one table that repeats every 256 steps.

    The table holds four values to a step, so that taking the nearest one is smooth enough.
    """

    _STEPS = 256
    _FINE = 4

    def __init__(self, rng: np.random.Generator) -> None:
        size = self._STEPS * self._FINE
        table = np.zeros((size, size), np.float32)
        weight = np.float32(1.0)
        for cells in (32, 64, 128, 256):
            coarse = rng.random((cells, cells), np.float32)
            table += weight * _stretch(_stretch(coarse, size // cells).T, size // cells).T
            weight *= np.float32(0.55)
        low, high = table.min(), table.max()
        self._size = size
        self._table = ((table - low) / (high - low)).ravel()

    def __call__(self, u: Values, v: Values) -> Values:
        """Return values in [0, 1]; one unit of u or v is one step of the table."""
        mask = np.int32(self._size - 1)
        fine = np.float32(self._FINE)
        column = (u * fine).astype(np.int32) & mask
        row = (v * fine).astype(np.int32) & mask
        values: Values = self._table.take(row * np.int32(self._size) + column)
        return values


def _stretch(rows: Values, repeat: int) -> Values:
    """Interpolate a periodic array along its first axis with smooth steps."""
    if repeat == 1:
        return rows
    t = np.arange(repeat, dtype=np.float32) / repeat
    t = (t * t * (3 - 2 * t))[None, :, None]
    after = np.roll(rows, -1, axis=0)
    mixed = rows[:, None, :] * (1 - t) + after[:, None, :] * t
    return mixed.reshape(len(rows) * repeat, rows.shape[1]).astype(np.float32)


def albedo(material: Material, u_m: Values, v_m: Values, half_uv_m: Half, noise: Noise) -> Values:
    """Return (3, n) linear RGB reflectance.

    Args:
        material: what to lay over the surface.
        u_m: (n,) positions on the surface from its middle, along the longer side.
        v_m: (n,) positions across it.
        half_uv_m: half lengths of the surface along u and v.
        noise: the room's noise.
    """
    place = _Place(u_m, v_m, half_uv_m, np.float32(material.scale_m), noise)
    mix, shade = _PATTERNS[material.pattern](place)
    color = np.empty((3, len(u_m)), np.float32)
    for i, (first, second) in enumerate(zip(material.first, material.second, strict=True)):
        color[i] = (np.float32(first) + np.float32(second - first) * mix) * shade
    return color


Pair = tuple[Values, Values]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where on a surface a pattern is asked for; the fields are those of `albedo`."""

    u: Values
    v: Values
    half: Half
    scale_m: np.float32
    noise: Noise


def _plain(at: _Place) -> Pair:
    u, v = at.u, at.v
    return np.zeros_like(u), 0.92 + 0.16 * at.noise(u * 9, v * 9)


def _wood(at: _Place) -> Pair:
    u, v = at.u, at.v
    bend = at.noise(u * 5, v * 22 + 40)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (v / at.scale_m + 1.6 * bend))
    return np.asarray(rings * rings, np.float32), 0.86 + 0.28 * at.noise(u * 12, v * 160)


def _planks(at: _Place) -> Pair:
    u, v = at.u, at.v
    row = np.floor(v / at.scale_m)
    shifted = u + row * np.float32(0.73 * at.scale_m * 4)
    board = np.floor(shifted / np.float32(at.scale_m * 8))
    tone = _hash(row, board)
    seam = np.minimum(_edge(v, at.scale_m), _edge(shifted, at.scale_m * 8))
    grain = at.noise(u * 7 + tone * 90, v * 70)
    # Seams fade out over a centimetre: thinner lines would flicker at this resolution.
    dark = 1 - np.float32(0.35) * np.maximum(1 - seam / np.float32(0.012), 0)
    return 0.75 * tone + 0.25 * grain, (np.float32(0.85) + np.float32(0.25) * grain) * dark


def _stripes(at: _Place) -> Pair:
    u, v = at.u, at.v
    wave = np.sin(2 * np.pi * u / at.scale_m)
    return np.clip(0.5 + 2.5 * wave, 0, 1), 0.93 + 0.14 * at.noise(u * 14, v * 14)


def _fabric(at: _Place) -> Pair:
    u, v = at.u, at.v
    threads = 0.5 + 0.25 * np.sin(2 * np.pi * u / at.scale_m) + 0.25 * np.sin(2 * np.pi * v / at.scale_m)
    return 0.35 * threads + 0.5 * at.noise(u * 16, v * 16), 0.9 + 0.2 * at.noise(u * 70, v * 70)


def _checks(at: _Place) -> Pair:
    u, v = at.u, at.v
    odd = (np.floor(u / at.scale_m) + np.floor(v / at.scale_m)) % 2
    return odd.astype(np.float32), 0.93 + 0.14 * at.noise(u * 14, v * 14)


def _rug(at: _Place) -> Pair:
    u, v = at.u, at.v
    rim = np.minimum(at.half[0] - np.abs(u), at.half[1] - np.abs(v))
    diamonds = (np.abs(np.mod(u, 0.4) - 0.2) + np.abs(np.mod(v, 0.4) - 0.2)) < 0.13
    lines = np.sin(2 * np.pi * rim / at.scale_m) > 0.5
    pattern = np.where(rim < 2.2 * at.scale_m, lines, diamonds).astype(np.float32)
    return pattern, 0.82 + 0.36 * at.noise(u * 60, v * 60)


def _painting(at: _Place) -> Pair:
    u, v = at.u, at.v
    x, y = u / at.half[0], v / at.half[1]
    hills = 0.9 * at.noise(x * 4 + 7, np.zeros_like(x) + 3) - 0.4
    clouds = at.noise(x * 6 + 50, y * 9 + 20)
    sun = ((x - 0.35) ** 2 * 2 + (y - 0.5) ** 2) < 0.06
    mix = np.where(y < hills, 0.15 + 0.3 * clouds, 0.65 + 0.35 * y * clouds)
    return np.where(sun, 1.0, mix).astype(np.float32), (0.9 + 0.2 * clouds).astype(np.float32)


def _spine(at: _Place) -> Pair:
    u, v = at.u, at.v
    along = u / at.half[0]
    label = (along > 0.35) & (along < 0.7)
    return (0.75 * label).astype(np.float32), 0.9 + 0.2 * at.noise(u * 30, v * 30)


def _screen(at: _Place) -> Pair:
    u, v = at.u, at.v
    x, y = u / at.half[0], v / at.half[1]
    window = (np.abs(x + 0.25) < 0.5) & (np.abs(y - 0.05) < 0.6)
    text = window & (np.mod(y * 9, 1) > 0.55) & (x < -0.6 + 0.8 * at.noise(np.floor(y * 9), x * 0))
    mix = 0.25 * (y + 1) / 2 + 0.55 * window - 0.45 * text
    return mix.astype(np.float32), np.ones_like(u)


def _leaves(at: _Place) -> Pair:
    u, v = at.u, at.v
    clumps = at.noise(u * 60, v * 60)
    return np.clip(clumps * 1.6 - 0.3, 0, 1), 0.55 + 0.7 * at.noise(u * 110 + 9, v * 110)


def _glass(at: _Place) -> Pair:
    u, v = at.u, at.v
    sky = (v / at.half[1] + 1) / 2
    return np.clip(1 - sky + 0.25 * (at.noise(u * 8, v * 8) - 0.5), 0, 1), np.ones_like(u)


_PATTERNS: dict[Pattern, Callable[[_Place], Pair]] = {
    Pattern.PLAIN: _plain,
    Pattern.WOOD: _wood,
    Pattern.PLANKS: _planks,
    Pattern.STRIPES: _stripes,
    Pattern.FABRIC: _fabric,
    Pattern.CHECKS: _checks,
    Pattern.RUG: _rug,
    Pattern.PAINTING: _painting,
    Pattern.SPINE: _spine,
    Pattern.SCREEN: _screen,
    Pattern.LEAVES: _leaves,
    Pattern.GLASS: _glass,
}


def _hash(a: Values, b: Values) -> Values:
    """Return a value in [0, 1) for each pair of whole numbers, the same on every machine."""
    mixed = a.astype(np.int64).astype(np.uint32) * np.uint32(2654435761)
    mixed ^= b.astype(np.int64).astype(np.uint32) * np.uint32(2246822519)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(3266489917)
    return ((mixed >> np.uint32(8)) / np.float32(1 << 24)).astype(np.float32)


def _edge(x: Values, period: np.float32) -> Values:
    """Return the distance to the nearest multiple of a period."""
    within = np.mod(x, period)
    distance: Values = np.minimum(within, period - within)
    return distance
