"""A corner of a room with exact depth: a floor and two walls, seen by a camera that moves and turns.

World: z up, floor at 0, metres. Camera: x right, y down, z forward. All layouts show this same corner.
"""

from __future__ import annotations

import numpy as np

# Planes as (normal, offset): points with normal . x = offset.
PLANES = (((0.0, 0.0, 1.0), 0.0), ((0.0, 1.0, 0.0), 3.0), ((1.0, 0.0, 0.0), 2.5))


def pose(index: int) -> np.ndarray:
    """Return the (4, 4) camera-to-world pose of a frame; a few degrees and centimetres between frames."""
    yaw, pitch = np.radians(-10 + 4 * index), np.radians(20 + index)
    looking = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(looking, right), looking], axis=1)
    matrix[:3, 3] = 0.05 * index, 0.1 * index - 0.3, 1.4 + 0.01 * index
    return matrix


def intrinsics(width: int, height: int) -> np.ndarray:
    """Return the (3, 3) intrinsic matrix for images of a size; pixel centres at integers."""
    return np.array([[0.8 * width, 0, (width - 1) / 2], [0, 0.8 * width, (height - 1) / 2], [0, 0, 1]])


def depth_m(index: int, width: int, height: int) -> np.ndarray:
    """Return (height, width) float64 z depth of a frame in metres."""
    k, camera = intrinsics(width, height), pose(index)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(rows.shape)], axis=-1)
    rays = rays @ camera[:3, :3].T
    nearest = np.full(rows.shape, np.inf)
    for normal, offset in PLANES:
        with np.errstate(divide="ignore"):
            distance = (offset - np.dot(normal, camera[:3, 3])) / (rays @ np.array(normal))
        nearest = np.minimum(nearest, np.where(distance > 0, distance, np.inf))
    assert np.isfinite(nearest).all()
    return nearest


def mesh(spacing_m: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (V, 3) vertices, (T, 3) triangles and (T,) plane of each triangle (0 floor, 1 and 2 walls)."""
    vertices: list[np.ndarray] = []
    triangles: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    count = 0
    sides = (((-3, 2.5), (-1, 3), None), ((-3, 2.5), None, (0, 2.5)), (None, (-1, 3), (0, 2.5)))
    for plane, ((normal, offset), extent) in enumerate(zip(PLANES, sides, strict=True)):
        axes = [np.arange(low, high + 1e-9, spacing_m) for low, high in (e for e in extent if e)]
        a, b = np.meshgrid(*axes, indexing="ij")
        points = np.insert(np.stack([a.ravel(), b.ravel()], axis=1), int(np.argmax(normal)), offset, axis=1)
        at = count + np.arange(a.size).reshape(a.shape)
        one = np.stack([at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[:-1, 1:].ravel()], axis=1)
        other = np.stack([at[1:, 1:].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel()], axis=1)
        vertices.append(points)
        triangles += [one, other]
        owners.append(np.full(2 * len(one), plane))
        count += a.size
    return np.concatenate(vertices), np.concatenate(triangles), np.concatenate(owners)
