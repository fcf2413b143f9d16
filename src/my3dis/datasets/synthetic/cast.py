"""Cast one ray per pixel and find the nearest shape; shapes are tried only where they can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.shapes import Shape, hit
from my3dis.types import Camera

__all__ = ["Hits", "cast", "ray_directions"]

_NEAR_M = 0.05
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What the rays of one image met.

    Attributes:
        depth_m: (H, W) float32 z depth, inf where nothing was met.
        shape: (H, W) int32 index of the nearest shape, -1 where none.
    """

    depth_m: NDArray[np.float32]
    shape: NDArray[np.int32]


def ray_directions(
    camera: Camera, world_from_camera: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the world components (H, W) of the rays through the pixel centres, with camera z = 1."""
    x = ((np.arange(camera.width) - camera.cx) / camera.fx)[None, :]
    y = ((np.arange(camera.height) - camera.cy) / camera.fy)[:, None]
    r = world_from_camera[:3, :3]
    dx, dy, dz = ((r[i, 0] * x + r[i, 1] * y + r[i, 2]).astype(np.float32) for i in range(3))
    return dx, dy, dz


def cast(shapes: tuple[Shape, ...], camera: Camera, world_from_camera: NDArray[np.float64]) -> Hits:
    """Find the nearest shape of every pixel.

    Args:
        shapes: the solids.
        camera: the intrinsics.
        world_from_camera: (4, 4) pose.
    """
    directions = ray_directions(camera, world_from_camera)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    index = np.full(depth.shape, -1, np.int32)
    origin = world_from_camera[:3, 3]
    for i, (x0, y0, x1, y1) in enumerate(_screen_boxes(shapes, camera, world_from_camera)):
        if x1 <= x0 or y1 <= y0:
            continue
        window = np.s_[y0:y1, x0:x1]
        t = hit(shapes[i], origin, (directions[0][window], directions[1][window], directions[2][window]))
        nearer = t < depth[window]
        np.copyto(depth[window], t, where=nearer)
        np.copyto(index[window], i, where=nearer)
    return Hits(depth, index)


def _screen_boxes(
    shapes: tuple[Shape, ...], camera: Camera, world_from_camera: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return (S, 4) pixel rectangles x0 y0 x1 y1, half open, that hold the picture of each shape.

    The edges of each bounding box are clipped at a plane just before the camera.
    """
    centre = np.stack([s.centre_m for s in shapes])
    axes = np.stack([s.rotation * s.half_m for s in shapes])
    corners = centre[:, None, :] + _CORNERS[None] @ axes.transpose(0, 2, 1)
    seen = (corners - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    z = seen[:, :, 2]
    start, end = seen[:, _EDGES[:, 0]], seen[:, _EDGES[:, 1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = (_NEAR_M - start[..., 2]) / (end[..., 2] - start[..., 2])
    crosses = (cut > 0) & (cut < 1)
    clipped = start + np.where(crosses, cut, 0)[..., None] * (end - start)
    points = np.concatenate([seen, clipped], axis=1)
    valid = np.concatenate([z >= _NEAR_M, crosses], axis=1)
    depth = np.maximum(points[..., 2], _NEAR_M)
    u = points[..., 0] / depth * camera.fx + camera.cx
    v = points[..., 1] / depth * camera.fy + camera.cy
    big = 1e6
    low_u, high_u = np.where(valid, u, big).min(axis=1), np.where(valid, u, -big).max(axis=1)
    low_v, high_v = np.where(valid, v, big).min(axis=1), np.where(valid, v, -big).max(axis=1)
    box = np.stack([np.floor(low_u), np.floor(low_v), np.ceil(high_u) + 1, np.ceil(high_v) + 1], axis=1)
    limit = [camera.width, camera.height, camera.width, camera.height]
    clamped: NDArray[np.int64] = np.clip(box, 0, limit).astype(np.int64)
    return clamped
