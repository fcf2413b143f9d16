"""Points of the world frame from posed depth frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.geometry.camera import back_project, nearest_pixels, project
from my3dis.geometry.depth import discontinuity_mask, grow_mask
from my3dis.geometry.transforms import transform_points
from my3dis.types import Camera, Frame

__all__ = ["frame_points"]

_FARTHEST_M = 20.0
"""Readings beyond this are errors of a sensor made for rooms."""


def frame_points(frame: Frame, *, spacing_m: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the points that a posed depth frame sees, with their colours.

    Pixels at depth discontinuities are left out: their depth mixes two surfaces. Where pixels lie much
    closer than ``spacing_m``, only every n-th row and column is taken.

    Args:
        frame: with depth, depth camera and pose.
        spacing_m: distance of points that the caller can tell apart, metres.

    Returns:
        (P, 3) float32 metres in the world frame; (P, 3) uint8 RGB.

    Raises:
        DataError: if the frame lacks depth, depth camera or pose.
    """
    depth_m, camera, pose = frame.depth_m, frame.depth_camera, frame.world_from_camera
    if depth_m is None or camera is None or pose is None:
        raise DataError(
            f"frame {frame.name!r}: expected depth, its intrinsics and a pose, found some missing"
        )
    good = (depth_m > 0) & (depth_m < _FARTHEST_M) & ~grow_mask(discontinuity_mask(depth_m), 1)
    step = _stride(depth_m, good, camera, spacing_m)
    points = back_project(depth_m, camera)[::step, ::step][good[::step, ::step]]
    return transform_points(pose, points), _colors(frame, points)


def _stride(depth_m: NDArray[np.float32], good: NDArray[np.bool_], camera: Camera, spacing_m: float) -> int:
    if not good.any():
        return 1
    footprint_m = float(np.median(depth_m[good])) / max(camera.fx, camera.fy)
    # Two samples per spacing and direction leave no gaps on surfaces up to 60 degrees from frontal.
    return max(1, int(0.5 * spacing_m / footprint_m))


def _colors(frame: Frame, points_camera_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    camera = frame.color_camera or frame.depth_camera
    assert camera is not None
    height, width = frame.image_size
    if (camera.height, camera.width) != (height, width):
        camera = camera.scaled_to(width, height)
    uv_px, _ = project(points_camera_m, camera)
    pixel, inside = nearest_pixels(uv_px, (height, width))
    colors = frame.color.reshape(-1, 3)[pixel]
    colors[~inside] = 128
    return colors
