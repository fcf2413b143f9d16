"""Which points a posed depth frame sees, and how much it may say about each.

A point is seen when the depth image confirms it. The weight depends on how well depth agrees, whether a
depth discontinuity is near (there a pixel may belong to either side) and how frontal the surface is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.geometry.camera import nearest_pixels, project
from my3dis.geometry.depth import depth_tolerance, discontinuity_mask, fill_small_holes, grow_mask
from my3dis.geometry.transforms import invert_rigid, transform_points
from my3dis.types import Camera, Frame

__all__ = ["ClearDepth", "ViewOptions", "VisiblePoints", "visible_points"]

_AROUND_PX = 2.0
"""Kept around the image when points are sifted; rounding errors are far smaller."""
_SHORT = 1 << 16
"""Numbers below it are sorted in linear time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewOptions:
    """What a view may say about points.

    Attributes:
        depth_tolerance_m: depth agreement for a point to be visible, metres at 2 m.
        edge_radius_px: how far a depth discontinuity makes pixels doubtful; about the registration error.
        edge_weight: weight of a doubtful pixel.
        grazing_weight: weight of a surface seen edge-on; frontal surfaces weigh 1.
        spreads: differences beyond so many standard deviations of the view's own are occlusions.
        least_spread: smallest standard deviation believed, in units of the tolerance.
        least_agreement: weight of the worst agreement that still counts.
    """

    depth_tolerance_m: float = 0.05
    edge_radius_px: int = 2
    edge_weight: float = 0.2
    grazing_weight: float = 0.2
    spreads: float = 4.0
    least_spread: float = 0.05
    least_agreement: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class VisiblePoints:
    """Points that one view sees, in ascending order of image row.

    Attributes:
        point: (V,) int64 indices into the cloud.
        x, y: (V,) int64 pixel of the mask image.
        weight: (V,) float32 in (0, 1], how much the view may say about the point.
    """

    point: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ClearDepth:
    """A depth image made ready to be compared with points.

    Attributes:
        filled_m: (H, W) float32, small holes filled, 0 = no reading.
        doubtful: (H, W) boolean, pixels at depth jumps.
    """

    filled_m: NDArray[np.float32]
    doubtful: NDArray[np.bool_]

    @classmethod
    def of(cls, depth_m: NDArray[np.float32], options: ViewOptions) -> ClearDepth:
        """Fill and judge an image (H, W) in metres."""
        filled_m = fill_small_holes(depth_m)
        return cls(filled_m, grow_mask(discontinuity_mask(filled_m), options.edge_radius_px))


def visible_points(
    frame: Frame,
    xyz_m: NDArray[np.float32],
    normal: NDArray[np.float32] | None,
    *,
    mask_size: tuple[int, int],
    options: ViewOptions,
    depth: ClearDepth | None = None,
) -> VisiblePoints:
    """Find the points that a posed frame sees, by comparing their depth with the depth image.

    Args:
        frame: with depth, depth camera and pose.
        xyz_m: (P, 3) points in the world frame.
        normal: (P, 3) unit normals of either sign, 0 = unknown; or None.
        mask_size: (H, W) of the masks that will vote.
        options: what a view may say.
        depth: of this frame, where it is asked more than once; made from it otherwise.

    Raises:
        DataError: if the frame lacks depth, depth camera or a rigid pose.
    """
    depth_m, camera, pose = frame.depth_m, frame.depth_camera, frame.world_from_camera
    if depth_m is None or camera is None or pose is None:
        raise DataError(
            f"frame {frame.name!r}: expected depth, its intrinsics and a pose to vote on points, "
            "found some missing; leave the frame out"
        )
    points_camera = transform_points(invert_rigid(pose), xyz_m)
    candidate = _ahead(points_camera, camera)
    points_camera = points_camera[candidate]
    uv_px, z_m = project(points_camera, camera)
    pixel, inside = nearest_pixels(uv_px, depth_m.shape)
    depth = ClearDepth.of(depth_m, options) if depth is None else depth
    within = np.flatnonzero(inside)
    pixel, z_m = pixel[within], z_m[within]
    reading = depth.filled_m.ravel()[pixel]
    off = (reading - z_m) / depth_tolerance(z_m, options.depth_tolerance_m)
    off[reading <= 0] = np.inf
    agrees, weight = _agreement(off, options)
    within, pixel = within[agrees], pixel[agrees]
    seen, points_camera = candidate[within], points_camera[within]
    weight[depth.doubtful.ravel()[pixel]] *= np.float32(options.edge_weight)
    if normal is not None:
        weight *= _frontality(points_camera, normal[seen], pose, options.grazing_weight)
    mask_camera = _mask_camera(frame, mask_size)
    if mask_camera != camera or depth_m.shape != mask_size:
        pixel, inside = nearest_pixels(project(points_camera, mask_camera)[0], mask_size)
        pixel, seen, weight = pixel[inside], seen[inside], weight[inside]
    y, x = np.divmod(pixel, mask_size[1])
    order = _reading_order(y, x, mask_size)
    return VisiblePoints(seen[order], x[order], y[order], weight[order].astype(np.float32))


def _reading_order(
    y: NDArray[np.int64], x: NDArray[np.int64], image_size: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the order by row, then column, then as given."""
    if max(image_size) > _SHORT:
        return np.argsort(y * image_size[1] + x, kind="stable")
    order = np.argsort(x.astype(np.uint16), kind="stable")
    return order[np.argsort(y[order].astype(np.uint16), kind="stable")]


def _ahead(points_camera_m: NDArray[np.float32], camera: Camera) -> NDArray[np.int64]:
    """Return the points that may lie in the image, and a few around it, so that only these are projected."""
    x, y, z = points_camera_m[:, 0], points_camera_m[:, 1], points_camera_m[:, 2]
    near = z > 0
    for value, focal, centre, size in (
        (x, camera.fx, camera.cx, camera.width),
        (y, camera.fy, camera.cy, camera.height),
    ):
        scaled = value * np.float32(focal)
        near &= scaled > z * np.float32(-centre - _AROUND_PX)
        near &= scaled < z * np.float32(size - centre + _AROUND_PX)
    return np.flatnonzero(near)


def _agreement(
    off: NDArray[np.float32], options: ViewOptions
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which points a view sees and how much each agrees, from depth differences in tolerances.

    The view's own bias and spread (depth noise and pose error together) are measured on the points
    within the tolerance, so that a surface hidden close behind another is told apart as well as this
    view allows: its difference is an outlier.
    """
    within = np.flatnonzero(np.abs(off) < 1.0)
    if not len(within):
        return within, np.zeros(0, np.float32)
    near = off[within]
    bias = np.median(near)
    spread = 1.4826 * np.median(np.abs(near - bias))
    normalised = (near - bias) / np.clip(spread, options.least_spread, 0.5)
    kept = np.abs(normalised) < options.spreads
    weight = np.exp(-0.5 * normalised[kept] ** 2)
    return within[kept], np.maximum(weight, np.float32(options.least_agreement)).astype(np.float32)


def _frontality(
    points_camera_m: NDArray[np.float32],
    normal_world: NDArray[np.float32],
    world_from_camera: NDArray[np.float64],
    grazing_weight: float,
) -> NDArray[np.float32]:
    normal = normal_world @ world_from_camera[:3, :3].astype(np.float32)
    distance = np.sqrt(np.einsum("ij,ij->i", points_camera_m, points_camera_m))
    # The sign of normals cannot be trusted in scanned meshes, so only the angle counts.
    cosine = np.abs(np.einsum("ij,ij->i", normal, points_camera_m)) / np.maximum(distance, 1e-6)
    cosine[(normal[:, 0] == 0) & (normal[:, 1] == 0) & (normal[:, 2] == 0)] = 1.0
    frontality: NDArray[np.float32] = np.clip(cosine, np.float32(grazing_weight), np.float32(1.0))
    return frontality


def _mask_camera(frame: Frame, mask_size: tuple[int, int]) -> Camera:
    camera = frame.color_camera or frame.depth_camera
    assert camera is not None
    height, width = mask_size
    return camera if (camera.height, camera.width) == mask_size else camera.scaled_to(width, height)
