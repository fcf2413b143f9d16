"""Point clouds: fusing in voxels with flat memory, neighbours and normals.

Points are (P, 3) float32 metres in the world frame.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = [
    "FusedPoints",
    "VoxelFusion",
    "median_spacing",
    "nearest_spacing",
    "neighbour_edges",
    "normals_from_neighbours",
    "normals_from_triangles",
    "triangle_edges",
]

_BITS = 21
_HALF = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True, slots=True, eq=False)
class FusedPoints:
    """Points averaged in voxels, in ascending order of voxel (z, then y, then x).

    Attributes:
        xyz_m: (V, 3) float32 mean position.
        color: (V, 3) uint8 mean RGB.
        frames: (V,) int32 number of `VoxelFusion.add` calls that hit the voxel.
        voxel_m: the voxel size at the end; larger than asked for if memory would not have sufficed.
    """

    xyz_m: NDArray[np.float32]
    color: NDArray[np.uint8]
    frames: NDArray[np.int32]
    voxel_m: float


class VoxelFusion:
    """Averages points and colours in voxels, batch by batch, in memory bounded by ``max_voxels``.

    When more voxels than that are occupied the voxels double in size, as often as it takes.
    """

    def __init__(self, voxel_m: float, *, max_voxels: int = 2_000_000) -> None:
        self.voxel_m = voxel_m
        self._max_voxels = max_voxels
        self._keys = np.zeros(0, np.int64)
        # Per voxel: sum of x y z r g b, number of points, number of batches.
        self._sums = np.zeros((0, 8), np.float64)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, xyz_m: NDArray[np.float32], color: NDArray[np.uint8]) -> None:
        """Fuse one batch, usually the points of one frame.

        Args:
            xyz_m: (P, 3) metres.
            color: (P, 3) uint8 RGB.

        Raises:
            DataError: if a point is not finite or farther than 2**20 voxels from the origin.
        """
        if not len(xyz_m):
            return
        keys = _voxel_keys(xyz_m, self.voxel_m)
        order = np.argsort(keys, kind="stable")
        values = np.empty((len(keys), 8), np.float64)
        values[:, :3], values[:, 3:6], values[:, 6] = xyz_m[order], color[order], 1.0
        values[:, 7] = 0.0
        new_keys, sums = _sum_by_key(keys[order], values)
        sums[:, 7] = 1.0
        self._merge(new_keys, sums)
        while len(self._keys) > self._max_voxels:
            self.voxel_m *= 2
            self._merge_halved()

    def result(self, *, min_frames: int = 1, support: float = 0.0) -> FusedPoints:
        """Return the mean points of well supported voxels.

        Args:
            min_frames: drop voxels that fewer batches hit.
            support: drop voxels that were hit less often than this share of their best neighbour: depth
                noise scatters a surface over several layers of voxels, of which the middle one is hit most.
        """
        frames = self._sums[:, 7]
        chosen = frames >= min_frames
        if support > 0 and len(frames):
            chosen &= frames >= support * self._best_neighbour()
        kept = self._sums[chosen]
        number = kept[:, 6:7]
        return FusedPoints(
            xyz_m=(kept[:, :3] / number).astype(np.float32),
            color=np.rint(kept[:, 3:6] / number).astype(np.uint8),
            frames=kept[:, 7].astype(np.int32),
            voxel_m=self.voxel_m,
        )

    def _best_neighbour(self) -> NDArray[np.float64]:
        best = np.zeros(len(self._keys))
        last = len(self._keys) - 1
        for x, y, z in itertools.product((-1, 0, 1), repeat=3):
            wanted = self._keys + (x + (y << _BITS) + (z << 2 * _BITS))
            at = np.minimum(np.searchsorted(self._keys, wanted), last)
            np.maximum(best, np.where(self._keys[at] == wanted, self._sums[at, 7], 0.0), out=best)
        return best

    def _merge(self, keys: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
        # Most voxels of a frame are known already: add those in place, and insert only the new ones.
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        self._sums[at[known]] += sums[known]
        fresh = ~known
        self._keys = np.insert(self._keys, at[fresh], keys[fresh])
        self._sums = np.insert(self._sums, at[fresh], sums[fresh], axis=0)

    def _merge_halved(self) -> None:
        halved = _pack([((self._keys >> (_BITS * axis)) & _MASK) // 2 + _HALF // 2 for axis in range(3)])
        order = np.argsort(halved, kind="stable")
        self._keys, self._sums = _sum_by_key(halved[order], self._sums[order])


def _voxel_keys(xyz_m: NDArray[np.float32], voxel_m: float) -> NDArray[np.int64]:
    cells = np.floor(xyz_m.astype(np.float64) / voxel_m)
    if not np.isfinite(cells).all() or float(np.abs(cells).max()) >= _HALF:
        raise DataError(
            f"expected finite points within {_HALF * voxel_m:.0f} m of the origin, found others; "
            "check the poses and the unit of the depth, or use larger voxels"
        )
    shifted = cells.astype(np.int64) + _HALF
    return _pack([shifted[:, axis] for axis in range(3)])


def _pack(cells: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return cells[0] | (cells[1] << _BITS) | (cells[2] << (2 * _BITS))


def _sum_by_key(
    keys: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(values, starts, axis=0)


def triangle_edges(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the unique edges (E, 2) int32 of (T, 3) triangles, smaller index first, sorted."""
    return _unique_pairs(triangles.ravel(), triangles[:, [1, 2, 0]].ravel())


def neighbour_edges(xyz_m: NDArray[np.float32], *, neighbours: int, radius_m: float) -> NDArray[np.int32]:
    """Return the unique edges (E, 2) int32 from each point to its nearest ones within a radius.

    Args:
        xyz_m: (P, 3) metres.
        neighbours: at most so many per point.
        radius_m: none farther than this.
    """
    from scipy.spatial import cKDTree

    count = len(xyz_m)
    if count < 2:
        return np.zeros((0, 2), np.int32)
    tree = cKDTree(xyz_m, balanced_tree=False, compact_nodes=False)
    found: NDArray[np.int64] = np.asarray(
        tree.query(xyz_m, k=min(neighbours + 1, count), distance_upper_bound=radius_m)[1], np.int64
    )
    other = found[:, 1:].ravel()
    own = np.repeat(np.arange(count), found.shape[1] - 1)
    near = other < count
    return _unique_pairs(own[near], other[near])


def _unique_pairs(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.int32]:
    key: NDArray[np.int64] = np.minimum(first, second).astype(np.int64) << 32
    key |= np.maximum(first, second)
    key = key[first != second]
    if not len(key):
        return np.zeros((0, 2), np.int32)
    key.sort()
    key = key[np.concatenate([[True], key[1:] != key[:-1]])]
    edges = np.empty((len(key), 2), np.int32)
    edges[:, 0], edges[:, 1] = key >> 32, key & 0xFFFFFFFF
    return edges


def median_spacing(xyz_m: NDArray[np.float32], edges: NDArray[np.int32]) -> float:
    """Return the median length of edges in metres, 0 when there are none."""
    if not len(edges):
        return 0.0
    gaps = xyz_m[edges[:, 0]] - xyz_m[edges[:, 1]]
    return float(np.median(np.sqrt(np.einsum("ij,ij->i", gaps, gaps))))


def nearest_spacing(xyz_m: NDArray[np.float32], *, samples: int = 10_000) -> float:
    """Return the median distance from points to their nearest neighbour in metres, 0 for fewer than two."""
    from scipy.spatial import cKDTree

    if len(xyz_m) < 2:
        return 0.0
    tree = cKDTree(xyz_m, balanced_tree=False, compact_nodes=False)
    nearest = np.asarray(tree.query(xyz_m[:: -(-len(xyz_m) // samples)], k=2)[0])
    return float(np.median(nearest[:, 1]))


def normals_from_triangles(xyz_m: NDArray[np.float32], triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return area-weighted unit normals of vertices (P, 3); 0 for a vertex of no triangle."""
    a, b, c = (xyz_m[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros((len(xyz_m), 3), np.float64)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(triangles[:, corner], faces[:, axis], len(xyz_m))
    return _unit(normals)


def normals_from_neighbours(xyz_m: NDArray[np.float32], edges: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return unit normals (P, 3) of the planes through each point and its neighbours; the sign is arbitrary.

    Args:
        xyz_m: (P, 3) metres.
        edges: (E, 2) neighbouring points; a point with fewer than three neighbours gets 0.
    """
    count = len(xyz_m)
    ends = np.concatenate([edges, edges[:, ::-1]])
    offsets = (xyz_m[ends[:, 1]] - xyz_m[ends[:, 0]]).astype(np.float64)
    degree = np.bincount(ends[:, 0], minlength=count).astype(np.float64)
    members = degree + 1.0
    mean = np.empty((count, 3))
    for i in range(3):
        mean[:, i] = np.bincount(ends[:, 0], offsets[:, i], count) / members
    spread = np.empty((count, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            product = np.bincount(ends[:, 0], offsets[:, i] * offsets[:, j], count) / members
            spread[:, i, j] = spread[:, j, i] = product - mean[:, i] * mean[:, j]
    normals = np.linalg.eigh(spread)[1][:, :, 0]
    normals[degree < 3] = 0.0
    return normals.astype(np.float32)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit.astype(np.float32)
