"""Make a room from a seed, with a camera that walks around its middle, looks away and looks back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.layout import furnish
from my3dis.datasets.synthetic.palette import make_palette
from my3dis.datasets.synthetic.scene import Room
from my3dis.errors import DataError
from my3dis.types import Camera

__all__ = ["BUILT_IN_SEED", "make_room"]

BUILT_IN_SEED = 32
"""Seed of the scan that comes with the package."""

_SMALLEST_M = (4.8, 4.0, 2.4)
_LARGEST_M = (12.0, 12.0, 5.0)


def make_room(
    seed: int = BUILT_IN_SEED,
    *,
    size_m: tuple[float, float, float] = (5.4, 4.4, 2.6),
    frames: int = 60,
    image_size: tuple[int, int] = (240, 320),
) -> Room:
    """Make a furnished room and a camera's way through it; the same arguments give the same room.

    Args:
        seed: for furniture, places, colours, patterns and noise.
        size_m: width, depth and height.
        frames: number of frames of the way.
        image_size: height and width in pixels.

    Raises:
        DataError: if the room is too small for its furniture or too large, or there are no frames.
    """
    if seed < 0 or frames < 1 or min(image_size) < 8:
        raise DataError(
            f"make_room: expected a seed of 0 or more, a frame and an image of 8 pixels at least, "
            f"found seed={seed}, frames={frames}, image_size={image_size}; choose others"
        )
    if not all(low <= s <= high for low, s, high in zip(_SMALLEST_M, size_m, _LARGEST_M, strict=True)):
        raise DataError(
            f"make_room: expected a size between {_SMALLEST_M} and {_LARGEST_M} metres, found {size_m}; "
            "choose another"
        )
    rng = np.random.default_rng([seed, 0])
    plan = furnish(size_m, make_palette(rng), rng)
    heading = float(rng.uniform(0, 2 * math.pi))
    height, width = image_size
    focal = 0.78 * width
    return Room(
        seed=seed,
        size_m=size_m,
        shapes=tuple(plan.shapes),
        parts=tuple(plan.parts),
        objects=tuple(plan.objects),
        camera=Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height),
        poses=_way(heading, frames, size_m),
        light_m=(0.3, -0.1, size_m[2] - 0.25),
    )


def _way(heading: float, frames: int, size_m: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return (N, 4, 4) poses: turn left, back past the start to the right, and home again."""
    t = np.linspace(0, 1, frames)
    fine = np.linspace(0, 1, 601)
    corners = np.interp(
        fine, (0.0, 0.04, 0.36, 0.42, 0.84, 0.88, 1.0), np.radians((0, 0, 112, 112, -38, -38, 0))
    )
    window = np.hanning(61)
    padded = np.pad(corners, 30, mode="edge")
    yaw = heading + np.interp(t, fine, np.convolve(padded, window / window.sum(), mode="valid"))
    pitch = 0.31 + 0.05 * np.sin(2 * math.pi * 1.5 * t)
    roll = 0.015 * np.sin(2 * math.pi * 2.3 * t)
    # Standing across from what one looks at leaves the middle of the room in front of the walls.
    x = -0.29 * size_m[0] * np.cos(yaw) + 0.12 * np.sin(2 * math.pi * t)
    y = -0.235 * size_m[1] * np.sin(yaw)
    z = 1.52 + 0.06 * np.sin(2 * math.pi * 1.2 * t + 0.5)
    return np.stack([_pose(*values) for values in zip(yaw, pitch, roll, x, y, z, strict=True)])


def _pose(yaw: float, pitch: float, roll: float, x: float, y: float, z: float) -> NDArray[np.float64]:
    forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = math.cos(roll) * right + math.sin(roll) * down
    pose[:3, 1] = math.cos(roll) * down - math.sin(roll) * right
    pose[:3, 2] = forward
    pose[:3, 3] = (x, y, z)
    return pose
