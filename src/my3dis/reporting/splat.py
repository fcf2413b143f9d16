"""A point renderer in NumPy: square splats, a z-buffer, and shading from depth and normals.

A view is drawn once into a buffer of point indices; colouring it for another level is a look-up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.types.checks import require

__all__ = ["SplatView", "ViewPoint", "paint", "shading", "splat"]

_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_WIDEST_SPLAT_PX = 15


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ViewPoint:
    """A camera for rendering, perspective or orthographic.

    Attributes:
        camera_from_world: (4, 4) float64; axes x right, y down, z forward, metres.
        width, height: size of the picture in pixels.
        scale: perspective: focal length in pixels; orthographic: pixels per metre.
        orthographic: whether distance leaves sizes as they are.
        center_px: (cx, cy) of the picture's principal point.
    """

    camera_from_world: NDArray[np.float64]
    width: int
    height: int
    scale: float
    orthographic: bool = False
    center_px: tuple[float, float] | None = None

    def project(self, xyz_m: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixel coordinates (P, 2) and depths (P,) in metres of world points (P, 3)."""
        rotation, shift = self.camera_from_world[:3, :3], self.camera_from_world[:3, 3]
        local = xyz_m.astype(np.float64) @ rotation.T + shift
        depth = local[:, 2]
        if self.orthographic:
            uv = local[:, :2] * self.scale
        else:
            uv = local[:, :2] * (self.scale / np.where(depth > 1e-6, depth, np.inf))[:, None]
        center = self.center_px or ((self.width - 1) / 2, (self.height - 1) / 2)
        return uv + np.asarray(center), depth

    def facing(self, xyz_m: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return unit vectors (P, 3) or (1, 3) in the world from points towards the camera."""
        rotation, shift = self.camera_from_world[:3, :3], self.camera_from_world[:3, 3]
        if self.orthographic:
            return -rotation[2:3]
        towards = (-rotation.T @ shift) - xyz_m
        return np.asarray(towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SplatView:
    """What a viewpoint sees.

    Attributes:
        point: (H, W) int64 index of the nearest point in each pixel, -1 = nothing.
        depth_m: (H, W) float32 distance along the viewing axis, inf = nothing.
    """

    point: NDArray[np.int64]
    depth_m: NDArray[np.float32]


def splat(
    xyz_m: NDArray[np.floating], view: ViewPoint, spacing_m: float, keep: NDArray[np.bool_] | None = None
) -> SplatView:
    """Draw points as squares as wide as their spacing; the nearest wins each pixel, ties the lower index.

    Args:
        xyz_m: (P, 3) world points; P below 2**32.
        view: where from.
        spacing_m: usual distance of neighbouring points, so that surfaces close.
        keep: (P,) which points are drawn; None = all.
    """
    require(len(xyz_m) < 2**32, "splat", f"expected fewer than 2**32 points, found {len(xyz_m)}")
    chosen = np.arange(len(xyz_m)) if keep is None else np.flatnonzero(keep)
    uv, depth = view.project(xyz_m[chosen])
    near = depth > (-np.inf if view.orthographic else 1e-3)
    near &= (np.abs(uv) < 1e6).all(axis=1)
    chosen, uv, depth = chosen[near], uv[near], depth[near]
    buffer = np.full(view.height * view.width, _EMPTY, np.uint64)
    if len(chosen):
        low, high = float(depth.min()), float(depth.max())
        # Depth in the high half, index in the low half: one integer minimum settles depth and ties.
        steps = (depth - low) * ((2**32 - 2) / max(high - low, 1e-9))
        key = (steps.astype(np.uint64) << np.uint64(32)) | chosen.astype(np.uint64)
        size = np.full(len(chosen), view.scale) if view.orthographic else view.scale / depth
        width_px = np.clip(np.ceil(size * spacing_m * 1.6).astype(np.int64), 1, _WIDEST_SPLAT_PX)
        for width in np.unique(width_px).tolist():
            these = width_px == width
            corner = np.rint(uv[these] - (width - 1) / 2).astype(np.int64)
            _write(buffer, (view.height, view.width), corner, key[these], width)
    return _unpacked(buffer, xyz_m, view)


def _write(
    buffer: NDArray[np.uint64],
    size: tuple[int, int],
    corner: NDArray[np.int64],
    key: NDArray[np.uint64],
    width: int,
) -> None:
    height, image_width = size
    for dy in range(width):
        for dx in range(width):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (x < image_width) & (y >= 0) & (y < height)
            np.minimum.at(buffer, y[inside] * image_width + x[inside], key[inside])


def _unpacked(buffer: NDArray[np.uint64], xyz_m: NDArray[np.floating], view: ViewPoint) -> SplatView:
    seen = buffer != _EMPTY
    point = np.full(buffer.shape, -1, np.int64)
    point[seen] = (buffer[seen] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    depth = np.full(buffer.shape, np.inf, np.float32)
    depth[seen] = view.project(xyz_m[point[seen]])[1]
    shape = (view.height, view.width)
    return SplatView(point=point.reshape(shape), depth_m=depth.reshape(shape))


def shading(
    seen: SplatView,
    view: ViewPoint,
    xyz_m: NDArray[np.floating],
    normals: NDArray[np.floating] | None = None,
    strength: float = 4.5,
) -> NDArray[np.float32]:
    """Return brightness (H, W) in [0, 1]: darker where neighbours are nearer, and on slanted surfaces.

    Eye-dome lighting darkens a pixel by how much nearer the pixels around it are, which draws the edges
    of objects without any light source. Normals, where known, add a soft light from the camera.

    Source: Boucheny, "Visualisation scientifique de grands volumes de données", thesis, 2009 (eye-dome
    lighting).
    """
    depth = seen.depth_m
    extent = float(np.ptp(depth[np.isfinite(depth)])) if np.isfinite(depth).any() else 1.0
    scale = np.float32(1.0 / max(extent * 0.1, 1e-6))
    total = np.zeros(depth.shape, np.float32)
    for radius in (1, 3):
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
            other = _shifted(depth, dy * radius, dx * radius)
            with np.errstate(invalid="ignore"):
                nearer = (depth - other) * scale
            total += np.clip(np.nan_to_num(nearer, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
    light: NDArray[np.float32] = np.exp(-np.float32(strength / 16) * total)
    if normals is not None:
        hit = seen.point >= 0
        index = seen.point[hit]
        towards = view.facing(xyz_m[index])
        cosine = np.abs((normals[index] * towards).sum(axis=1))
        light[hit] *= (0.62 + 0.38 * cosine).astype(np.float32)
    return light


def _shifted(image: NDArray[np.float32], dy: int, dx: int) -> NDArray[np.float32]:
    """Return the image moved by (dy, dx), its border pixels repeated."""
    height, width = image.shape
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return image[rows[:, None], columns[None, :]]


def paint(
    seen: SplatView, colors: NDArray[np.uint8], light: NDArray[np.float32], oversampling: int = 1
) -> NDArray[np.uint8]:
    """Colour a view by its points and return (H / k, W / k, 4) RGBA, transparent where nothing is.

    Args:
        seen: the view.
        colors: (P, 3) RGB of every point.
        light: (H, W) brightness from `shading`.
        oversampling: k; the picture is averaged over k x k pixels, which smooths edges.
    """
    hit = seen.point >= 0
    rgba = np.zeros((*seen.point.shape, 4), np.float32)
    rgba[hit, :3] = colors[seen.point[hit]] * light[hit][:, None]
    rgba[hit, 3] = 255.0
    if oversampling > 1:
        import cv2

        height, width = (side // oversampling for side in seen.point.shape)
        whole = np.ascontiguousarray(rgba[: height * oversampling, : width * oversampling])
        rgba = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    # Colours were summed over covered pixels only: divide by the share that was covered.
    covered = np.maximum(rgba[:, :, 3:] / 255.0, 1e-6)
    rgba[:, :, :3] = np.where(rgba[:, :, 3:] > 0, rgba[:, :, :3] / covered, 0.0)
    return np.clip(np.rint(rgba), 0, 255).astype(np.uint8)
