"""Solid shapes that rays can hit: boxes, ellipsoids and upright-in-their-own-frame cones (frusta).

A shape has a frame of its own, centred in it; ``half_m`` is half its extent along each own axis. Rays
are ``origin + t * direction``; where directions have camera z = 1, t is the z depth in metres.
Sources: the slab test of Kay and Kajiya, Ray Tracing Complex Scenes, SIGGRAPH 1986; quadrics by
substituting the ray into the implicit equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.materials import Material

__all__ = ["Kind", "Shape", "hit", "local_normals"]

Vectors = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

_NEAR_M = 0.02


class Kind(IntEnum):
    """What a shape is."""

    BOX = 0
    ELLIPSOID = 1
    FRUSTUM = 2


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One solid of a room.

    Attributes:
        kind: what it is.
        centre_m: (3,) world position of its centre.
        rotation: (3, 3) world from own axes.
        half_m: (3,) half extents along the own axes.
        taper: of a frustum, radius at the top over radius at the bottom (``half_m[0]`` is the larger one).
        part_id: the ground truth part it belongs to.
        material: how it looks.
    """

    kind: Kind
    centre_m: NDArray[np.float64]
    rotation: NDArray[np.float64]
    half_m: NDArray[np.float64]
    part_id: int
    material: Material
    taper: float = 1.0

    def radius_along(self) -> tuple[float, float]:
        """Return (a, b) of a frustum, whose radius at own height z is ``a + b * z``."""
        largest = float(self.half_m[0])
        bottom = largest if self.taper <= 1 else largest / self.taper
        top = bottom * self.taper
        return (bottom + top) / 2, (top - bottom) / (2 * float(self.half_m[2]))


def hit(shape: Shape, origin_m: NDArray[np.float64], directions: Vectors) -> NDArray[np.float32]:
    """Return the ray parameter of the nearest hit in front, inf where a ray misses.

    Args:
        shape: the solid.
        origin_m: (3,) world position that all rays start from.
        directions: three arrays of one shape, the world components of the directions.
    """
    to_own = shape.rotation.T.astype(np.float32)
    o = (shape.rotation.T @ (origin_m - shape.centre_m)).astype(np.float32)
    d = [to_own[i, 0] * directions[0] + to_own[i, 1] * directions[1] for i in range(3)]
    for i in range(3):
        d[i] += to_own[i, 2] * directions[2]
    return _HITS[shape.kind](shape, o, (d[0], d[1], d[2]))


def _hit_box(shape: Shape, o: NDArray[np.float32], d: Vectors) -> NDArray[np.float32]:
    near = far = None
    half = shape.half_m.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(3):
            inverse = 1 / d[i]
            first, second = (-half[i] - o[i]) * inverse, (half[i] - o[i]) * inverse
            low, high = np.minimum(first, second), np.maximum(first, second)
            near = low if near is None else np.maximum(near, low, out=near)
            far = high if far is None else np.minimum(far, high, out=far)
    assert near is not None
    near[~((near <= far) & (near > _NEAR_M))] = np.inf
    return np.asarray(near, np.float32)


def _hit_ellipsoid(shape: Shape, o: NDArray[np.float32], d: Vectors) -> NDArray[np.float32]:
    scale = (1 / shape.half_m).astype(np.float32)
    q = o * scale
    e = [d[i] * scale[i] for i in range(3)]
    a = e[0] ** 2 + e[1] ** 2 + e[2] ** 2
    b = q[0] * e[0] + q[1] * e[1] + q[2] * e[2]
    discriminant = b * b - a * np.float32(q @ q - 1)
    t = np.full_like(a, np.inf)
    inside = discriminant > 0
    t[inside] = (-b[inside] - np.sqrt(discriminant[inside])) / a[inside]
    t[t <= _NEAR_M] = np.inf
    return np.asarray(t, np.float32)


def _hit_frustum(shape: Shape, o: NDArray[np.float32], d: Vectors) -> NDArray[np.float32]:
    middle, slope = shape.radius_along()
    height = np.float32(shape.half_m[2])
    r0 = np.float32(middle + slope * float(o[2]))
    k = np.float32(slope)
    a = d[0] ** 2 + d[1] ** 2 - (k * d[2]) ** 2
    b = o[0] * d[0] + o[1] * d[1] - k * d[2] * r0
    c = np.float32(o[0] ** 2 + o[1] ** 2 - r0 * r0)
    best = np.full_like(a, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(b * b - a * c)  # NaN where the ray misses the cone
        for t in ((-b - root) / a, (-b + root) / a):
            z = o[2] + t * d[2]
            good = (t > _NEAR_M) & (np.abs(z) <= height) & (t < best)
            best[good] = t[good]
        for cap in (-height, height):
            t = (cap - o[2]) / d[2]
            x, y = o[0] + t * d[0], o[1] + t * d[1]
            radius = np.float32(middle + slope * float(cap))
            good = (t > _NEAR_M) & (x * x + y * y <= radius * radius) & (t < best)
            best[good] = t[good]
    return best


_HITS: dict[Kind, Callable[[Shape, NDArray[np.float32], Vectors], NDArray[np.float32]]] = {
    Kind.BOX: _hit_box,
    Kind.ELLIPSOID: _hit_ellipsoid,
    Kind.FRUSTUM: _hit_frustum,
}


def local_normals(shape: Shape, own_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return outward unit normals, in the shape's own axes, at points of its surface.

    Args:
        shape: the solid.
        own_m: (3, n) points on the surface in own coordinates.
    """
    half = shape.half_m.astype(np.float32)[:, None]
    if shape.kind is Kind.ELLIPSOID:
        gradient = own_m / half**2
        unit: NDArray[np.float32] = gradient / np.sqrt((gradient**2).sum(axis=0))
        return unit
    normals = np.zeros_like(own_m)
    if shape.kind is Kind.BOX:
        outside = np.abs(own_m) - half
        on_x = (outside[0] >= outside[1]) & (outside[0] >= outside[2])
        on_z = ~on_x & (outside[2] > outside[1])
        for axis, chosen in ((0, on_x), (1, ~on_x & ~on_z), (2, on_z)):
            normals[axis] = np.copysign(chosen, own_m[axis])
        return normals
    middle, slope = shape.radius_along()
    x, y, z = own_m
    r = np.hypot(x, y)
    # A point belongs to the surface, of side and caps, that it lies nearest to.
    cap = np.abs(np.abs(z) - half[2]) < np.abs(r - (middle + slope * z))
    length = np.float32(np.sqrt(1 + slope**2)) * np.maximum(r, np.float32(1e-6))
    normals[0], normals[1] = np.where(cap, 0, x / length), np.where(cap, 0, y / length)
    normals[2] = np.where(cap, np.sign(z), np.float32(-slope / np.sqrt(1 + slope**2)))
    return normals
