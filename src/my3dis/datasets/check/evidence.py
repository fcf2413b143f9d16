"""What the check of a scan looks at: pairs of frames that see the same things, and points of the mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.corrections import Corrections, stored_pose
from my3dis.protocols import SceneReader
from my3dis.types import Camera, Frame

__all__ = ["Evidence", "View", "gather"]

_TURNED_RADIANS = np.radians(8.0)
_MOVED_SHARE = 0.04
"""Share of the camera's whole way that counts as having moved: unlike metres it needs no right unit."""
_FARTHEST = 64
_FEW_VALUES = 64
READING_STEP = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """One frame as it is stored.

    Attributes:
        index, name: of the frame.
        depth_m: (H, W) float32 z depth, 0 = no reading.
        depth_camera, color_camera: intrinsics; the colour camera may be unknown.
        gray: (H, W) uint8 brightness of the colour image.
        stored: (4, 4) float64 matrix of the scan, rigid or not.
    """

    index: int
    name: str
    depth_m: NDArray[np.float32]
    depth_camera: Camera
    color_camera: Camera | None
    gray: NDArray[np.uint8]
    stored: NDArray[np.float64]

    @cached_property
    def readings(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(P, 2) pixels x, y and (P,) depth of every fourth reading across and down."""
        z = self.depth_m[::READING_STEP, ::READING_STEP].astype(np.float64)
        y, x = np.nonzero(z > 0)
        return np.stack([x, y], axis=1).astype(np.float64) * READING_STEP, z[y, x]

    @cached_property
    def median_m(self) -> float:
        """Median reading as stored; NaN without any."""
        return float(np.median(self.readings[1])) if len(self.readings[1]) else float("nan")

    @cached_property
    def step_m(self) -> float:
        """Smallest difference between readings where there are few different ones, such as whole metres."""
        values = np.unique(self.readings[1])
        return float(np.diff(values).min()) if 2 < len(values) < _FEW_VALUES else 0.0

    def corrected(self, corrections: Corrections) -> tuple[Camera, NDArray[np.float64] | None]:
        """Return the depth camera and the ``world_from_camera`` after corrections; None if it is no pose."""
        return corrections.depth_camera(self.depth_camera), corrections.pose(self.stored)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """Pairs of views, and the mesh.

    Attributes:
        pairs: views that see the same from different places.
        vertices_m: (V, 3) float64 points of the mesh or point cloud in the world, or None without one.
    """

    pairs: tuple[tuple[View, View], ...]
    vertices_m: NDArray[np.float64] | None

    @property
    def views(self) -> tuple[View, ...]:
        """The first view of every pair."""
        return tuple(first for first, _ in self.pairs)


def gather(reader: SceneReader, frames: Sequence[int], options: CheckOptions) -> Evidence:
    """Read pairs of frames spread over the selection; partners may lie between selected frames.

    Args:
        reader: the scan.
        frames: selected frame indices, ascending.
        options: how many of everything.

    Raises:
        DataError: if a frame or the mesh cannot be read.
    """
    cloud = reader.cloud() if reader.overview.has_cloud else None
    vertices = None
    if cloud is not None and len(cloud):
        every = max(1, len(cloud) // options.mesh_vertices)
        vertices = cloud.xyz_m[::every].astype(np.float64)
    return Evidence(pairs=tuple(_pairs(reader, frames, options.pairs)), vertices_m=vertices)


def _view(reader: SceneReader, index: int) -> View | None:
    frame = reader.frame(index)
    stored = stored_pose(reader, frame)
    if stored is None or not np.isfinite(stored).all() or frame.depth_m is None or frame.depth_camera is None:
        return None
    return View(
        index=index,
        name=frame.name,
        depth_m=frame.depth_m,
        depth_camera=frame.depth_camera,
        color_camera=frame.color_camera,
        gray=_gray(frame),
        stored=stored,
    )


def _gray(frame: Frame) -> NDArray[np.uint8]:
    import cv2

    gray: NDArray[np.uint8] = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    return gray


def _pairs(reader: SceneReader, frames: Sequence[int], wanted: int) -> Iterator[tuple[View, View]]:
    """Yield pairs far enough apart that a wrong pose shows, and near enough to see the same."""
    spread = np.unique(np.linspace(0, len(frames) - 1, min(wanted, len(frames))).round().astype(int))
    firsts = [view for position in spread if (view := _view(reader, frames[position])) is not None]
    way = _extent([view.stored for view in firsts])
    gap = 1
    for first in firsts:
        while True:
            forwards = first.index + gap < len(reader)
            other = first.index + gap if forwards else first.index - gap
            if other < 0:
                break
            second = _view(reader, other)
            moved = second is not None and _has_moved(first.stored, second.stored, way)
            # The gap found for one pair serves the next, so that few frames are read in all.
            if moved or gap >= _FARTHEST or gap * 2 >= len(reader):
                if second is not None:
                    yield first, second
                break
            gap *= 2


def _translation(stored: NDArray[np.float64]) -> NDArray[np.float64]:
    # Transposed matrices have it in the last row.
    last_row: NDArray[np.float64] = stored[3, :3]
    return last_row if np.abs(last_row).max() > np.abs(stored[:3, 3]).max() else stored[:3, 3]


def _extent(poses: Sequence[NDArray[np.float64]]) -> float:
    if not poses:
        return 0.0
    places = np.stack([_translation(pose) for pose in poses])
    return float(np.linalg.norm(np.ptp(places, axis=0)))


def _has_moved(a: NDArray[np.float64], b: NDArray[np.float64], way: float) -> bool:
    moved = float(np.linalg.norm(_translation(a) - _translation(b)))
    turned = a[:3, :3].T @ b[:3, :3]
    angle = float(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)))
    return angle >= _TURNED_RADIANS or moved >= max(way * _MOVED_SHARE, 1e-9)
