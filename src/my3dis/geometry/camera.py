"""Pinhole projection and its inverse.

Camera frame: x right, y down, z forward, metres. Pixel centres are at integer coordinates.
Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 6.1 (finite pinhole camera).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.types import Camera

__all__ = ["back_project", "back_project_pixels", "nearest_pixels", "project"]

Real = TypeVar("Real", np.float32, np.float64)


def project(points_camera_m: NDArray[Real], camera: Camera) -> tuple[NDArray[Real], NDArray[Real]]:
    """Project points of the camera frame.

    Args:
        points_camera_m: (P, 3) float32 or float64 metres.
        camera: the intrinsics.

    Returns:
        ``uv_px``: (P, 2) pixel coordinates x, y; NaN where z is not above 0 or a coordinate is not finite.
        ``z_m``: (P,) depth along the optical axis, as given.

    Raises:
        DataError: if the points are not (P, 3).
    """
    if points_camera_m.ndim != 2 or points_camera_m.shape[1] != 3:
        raise DataError(f"project: expected points of shape (P, 3), found {points_camera_m.shape}")
    z_m = points_camera_m[:, 2]
    uv_px = np.empty((len(points_camera_m), 2), points_camera_m.dtype)
    with np.errstate(all="ignore"):
        # Not in front, or not finite: the reciprocal becomes NaN and so do both coordinates.
        inverse_z = np.where((z_m > 0) & np.isfinite(z_m), 1.0 / z_m, np.nan).astype(points_camera_m.dtype)
        for axis, focal, centre in ((0, camera.fx, camera.cx), (1, camera.fy, camera.cy)):
            out = uv_px[:, axis]
            np.multiply(points_camera_m[:, axis], inverse_z, out=out)
            out *= points_camera_m.dtype.type(focal)
            out += points_camera_m.dtype.type(centre)
        uv_px[~np.isfinite(uv_px).all(axis=1)] = np.nan
    return uv_px, z_m


def nearest_pixels(
    uv_px: NDArray[np.floating], image_size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the flat index ``y * W + x`` of the pixel nearest to each coordinate and whether it is inside.

    Args:
        uv_px: (P, 2) pixel coordinates x, y; NaN counts as outside.
        image_size: (H, W).

    Returns:
        (P,) int64 flat indices, 0 where outside; (P,) boolean.
    """
    height, width = image_size
    with np.errstate(invalid="ignore"):
        x, y = uv_px[:, 0], uv_px[:, 1]
        inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    flat = np.zeros(len(uv_px), np.int64)
    column = np.floor(x[inside] + 0.5).astype(np.int64)
    row = np.floor(y[inside] + 0.5).astype(np.int64)
    flat[inside] = np.minimum(row, height - 1) * width + np.minimum(column, width - 1)
    return flat, inside


def back_project(depth_m: NDArray[Real], camera: Camera) -> NDArray[Real]:
    """Lift a depth image to points of the camera frame.

    Args:
        depth_m: (H, W) z depth in metres; 0 = no reading, whose point is (0, 0, 0).
        camera: intrinsics of the depth image.

    Returns:
        (H, W, 3) metres, in the dtype of the depth.

    Raises:
        DataError: if the depth's size is not the camera's.
    """
    if depth_m.shape != (camera.height, camera.width):
        raise DataError(
            f"back_project: expected depth of {camera.width}x{camera.height} as the intrinsics say, "
            f"found {depth_m.shape[::-1]}; resample the depth or scale the intrinsics"
        )
    kind = depth_m.dtype.type
    rays_x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(kind)
    rays_y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(kind)
    points = np.empty((*depth_m.shape, 3), depth_m.dtype)
    np.multiply(depth_m, rays_x[None, :], out=points[..., 0])
    np.multiply(depth_m, rays_y[:, None], out=points[..., 1])
    points[..., 2] = depth_m
    return points


def back_project_pixels(uv_px: NDArray[Real], z_m: NDArray[Real], camera: Camera) -> NDArray[Real]:
    """Lift single pixels to points of the camera frame, the inverse of `project`.

    Args:
        uv_px: (P, 2) pixel coordinates x, y.
        z_m: (P,) z depth in metres.
        camera: the intrinsics.

    Returns:
        (P, 3) metres.
    """
    kind = uv_px.dtype.type
    points = np.empty((len(uv_px), 3), uv_px.dtype)
    points[:, 0] = (uv_px[:, 0] - kind(camera.cx)) / kind(camera.fx) * z_m
    points[:, 1] = (uv_px[:, 1] - kind(camera.cy)) / kind(camera.fy) * z_m
    points[:, 2] = z_m
    return points
