"""Sample the surfaces of a room as a mesh, and keep what some frame sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.cast import Hits
from my3dis.datasets.synthetic.scene import Room
from my3dis.datasets.synthetic.shapes import Kind, Shape

__all__ = ["Mesh", "SurfaceSampler"]

_AXES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
# Samples keep this share of the spacing from an edge: on the edge itself no pixel could tell the sides.
_EDGE_SHARE = 0.15
_DEPTH_SLACK = 0.06
_CONTACT_M = 0.015


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mesh:
    """P vertices on surfaces that some frame sees, and T triangles.

    Attributes:
        xyz_m, normal: (P, 3) float32, world frame.
        shape: (P,) int32 index into ``Room.shapes``, ascending.
        triangles: (T, 3) int32.
    """

    xyz_m: NDArray[np.float32]
    normal: NDArray[np.float32]
    shape: NDArray[np.int32]
    triangles: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A grid of samples, (rows * columns, 3) in the shape's own frame."""

    own_m: NDArray[np.float64]
    normal: NDArray[np.float64]
    rows: int
    columns: int
    closed: bool = False


class SurfaceSampler:
    """Counts, frame by frame, which samples of a room's surfaces are seen."""

    def __init__(self, room: Room, spacing_m: float = 0.02) -> None:
        self.room = room
        eyes = room.poses[:, :3, 3]
        xyz, normal, owner, triangles, n = [], [], [], [], 0
        for index, shape in enumerate(room.shapes):
            for patch in _patches(shape, spacing_m):
                world = patch.own_m @ shape.rotation.T + shape.centre_m
                outward = patch.normal @ shape.rotation.T
                if not _may_face(world, outward, eyes):
                    continue
                xyz.append(world)
                normal.append(outward)
                owner.append(np.full(len(world), index, np.int32))
                triangles.append(_triangles(patch) + n)
                n += len(world)
        self._xyz = np.concatenate(xyz).astype(np.float32)
        self._normal = np.concatenate(normal).astype(np.float32)
        self._shape = np.concatenate(owner)
        self._triangles = np.concatenate(triangles)
        self._part = np.array([s.part_id for s in room.shapes], np.int32)
        self._seen = np.zeros(n, np.int32)
        self._contested = np.zeros(n, np.int32)

    def add_frame(self, index: int, hits: Hits) -> None:
        """Count the samples that a frame sees: facing it, and met by the ray of the nearest pixel."""
        pose, camera = self.room.poses[index].astype(np.float32), self.room.camera
        away = self._xyz - pose[:3, 3]
        facing = np.flatnonzero(
            (
                away[:, 0] * self._normal[:, 0]
                + away[:, 1] * self._normal[:, 1]
                + away[:, 2] * self._normal[:, 2]
            )
            < 0
        )
        local = away[facing] @ pose[:3, :3]
        front = local[:, 2] > 0.05
        facing, local = facing[front], local[front]
        u = np.floor(local[:, 0] / local[:, 2] * np.float32(camera.fx) + np.float32(camera.cx + 0.5))
        v = np.floor(local[:, 1] / local[:, 2] * np.float32(camera.fy) + np.float32(camera.cy + 0.5))
        inside = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
        facing, z = facing[inside], local[inside, 2]
        flat = v[inside].astype(np.int64) * camera.width + u[inside].astype(np.int64)
        off = np.abs(hits.depth_m.ravel()[flat] - z)
        met = hits.shape.ravel()[flat]
        self._seen[facing[(met == self._shape[facing]) & (off < _DEPTH_SLACK * z)]] += 1
        other = self._part[met] != self._part[self._shape[facing]]
        self._contested[facing[other & (off < _CONTACT_M)]] += 1

    def mesh(self) -> Mesh:
        """Return the samples seen so far, less those that pixels more often give to a neighbour."""
        keep = self._seen > self._contested
        new_index = np.cumsum(keep, dtype=np.int32) - 1
        whole = keep[self._triangles].all(axis=1)
        return Mesh(
            xyz_m=self._xyz[keep],
            normal=self._normal[keep],
            shape=self._shape[keep],
            triangles=new_index[self._triangles[whole]].astype(np.int32),
        )


def _may_face(xyz_m: NDArray[np.float64], normal: NDArray[np.float64], eyes_m: NDArray[np.float64]) -> bool:
    """Whether some eye may see the outside of a patch; decided on its corners and middle."""
    some = np.unique(np.linspace(0, len(xyz_m) - 1, 25).astype(int))
    to_eye = eyes_m[:, None, :] - xyz_m[None, some]
    return bool(((to_eye * normal[some]).sum(axis=2) > 0).any())


def _triangles(patch: _Patch) -> NDArray[np.int32]:
    grid = np.arange(patch.rows * patch.columns, dtype=np.int32).reshape(patch.rows, patch.columns)
    if patch.closed:
        grid = np.concatenate([grid, grid[:1]])
    a, b, c, d = grid[:-1, :-1].ravel(), grid[1:, :-1].ravel(), grid[1:, 1:].ravel(), grid[:-1, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    first = patch.own_m[triangles[0]]
    if np.cross(first[1] - first[0], first[2] - first[0]) @ patch.normal[triangles[0, 0]] < 0:
        triangles = triangles[:, ::-1]
    return triangles


def _patches(shape: Shape, spacing_m: float) -> list[_Patch]:
    if shape.kind is Kind.FRUSTUM:
        return _frustum_patches(shape, spacing_m)
    half = shape.half_m
    patches = []
    for axis, a, b in _AXES:
        for sign in (-1.0, 1.0):
            if shape.kind is Kind.BOX:
                s, t = _line(half[a], spacing_m), _line(half[b], spacing_m)
                own, normal = np.empty((len(s), len(t), 3)), np.zeros((len(s), len(t), 3))
                own[..., axis], own[..., a], own[..., b] = sign * half[axis], s[:, None], t[None, :]
                normal[..., axis] = sign
            else:
                s, t = (np.tan(_line(math.pi / 4, spacing_m / h, 0.0)) for h in (half[a], half[b]))
                sphere = np.empty((len(s), len(t), 3))
                sphere[..., axis], sphere[..., a], sphere[..., b] = sign, s[:, None], t[None, :]
                sphere /= np.linalg.norm(sphere, axis=2, keepdims=True)
                own, normal = sphere * half, sphere / half
                normal /= np.linalg.norm(normal, axis=2, keepdims=True)
            patches.append(_Patch(own.reshape(-1, 3), normal.reshape(-1, 3), len(s), len(t)))
    return patches


def _frustum_patches(shape: Shape, spacing_m: float) -> list[_Patch]:
    middle, slope = shape.radius_along()
    high = float(shape.half_m[2])
    around = max(6, math.ceil(2 * math.pi * float(shape.half_m[0]) / spacing_m))
    angle = np.arange(around) * 2 * math.pi / around
    z = _line(high, spacing_m)
    radius = middle + slope * z
    own = np.empty((around, len(z), 3))
    own[..., 0], own[..., 1] = np.cos(angle)[:, None] * radius, np.sin(angle)[:, None] * radius
    own[..., 2] = z
    normal = np.empty_like(own)
    normal[..., 0], normal[..., 1], normal[..., 2] = np.cos(angle)[:, None], np.sin(angle)[:, None], -slope
    normal /= math.sqrt(1 + slope**2)
    patches = [_Patch(own.reshape(-1, 3), normal.reshape(-1, 3), around, len(z), closed=True)]
    for sign in (-1.0, 1.0):
        r = middle + slope * sign * high
        s = _line(1.0, spacing_m / r)
        x, y = s[:, None], s[None, :]
        own, normal = np.empty((len(s), len(s), 3)), np.zeros((len(s), len(s), 3))
        # A square becomes a disc with little distortion.
        own[..., 0], own[..., 1] = r * x * np.sqrt(1 - y**2 / 2), r * y * np.sqrt(1 - x**2 / 2)
        own[..., 2], normal[..., 2] = sign * high, sign
        patches.append(_Patch(own.reshape(-1, 3), normal.reshape(-1, 3), len(s), len(s)))
    return patches


def _line(half: float, spacing: float, edge_share: float = _EDGE_SHARE) -> NDArray[np.float64]:
    """Return evenly spaced samples of [-half, half], at least two, keeping off the ends."""
    end = half - edge_share * min(spacing, half)
    return np.linspace(-end, end, max(2, math.ceil(2 * half / spacing) + 1))
