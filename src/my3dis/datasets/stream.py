"""The reader of scans whose frames come from streams: a video, a depth stream, one large file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import fingerprint_of
from my3dis.datasets.reader import require_index
from my3dis.errors import DataError
from my3dis.types import Camera, Frame, ScanOverview, SceneCloud

__all__ = ["FrameTable", "StreamReader"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameTable:
    """What is known of N frames without decoding any.

    Attributes:
        names: N frame names.
        timestamps_s: (N,) float64 seconds, or None.
        poses: (N, 4, 4) float64 ``world_from_camera``, NaN where invalid, or None.
        color_cameras: N cameras, one for all, or none when unknown.
        depth_cameras: the same for depth.
    """

    names: tuple[str, ...]
    timestamps_s: NDArray[np.float64] | None = None
    poses: NDArray[np.float64] | None = None
    color_cameras: tuple[Camera, ...] = ()
    depth_cameras: tuple[Camera, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamReader:
    """Reads a scan through functions that decode a frame; a `my3dis.protocols.SceneReader`.

    Attributes:
        overview: what the layout's module found.
        table: names, times, poses and cameras.
        inputs: files that were read; they make the fingerprint.
        color: decode a frame as (H, W, 3) uint8 RGB.
        depth_m: decode a frame's depth as float32 metres, or return None; None when there is no depth.
        load_cloud: load the mesh or point cloud; None when there is none.
        version: of the layout's module; changes when frames come out differently.
    """

    overview: ScanOverview
    table: FrameTable
    inputs: tuple[Path, ...]
    color: Callable[[int], NDArray[np.uint8]]
    depth_m: Callable[[int], NDArray[np.float32] | None] | None = None
    load_cloud: Callable[[], SceneCloud] | None = None
    version: str = "1"

    def __len__(self) -> int:
        return self.overview.frame_count

    def frame(self, index: int) -> Frame:
        """Load a frame.

        Raises:
            DataError: naming the file that is missing, truncated or does not fit, or the index when
                there is no such frame.
        """
        require_index(self.overview, index)
        table = self.table
        color = self.color(index)
        if color.shape[:2] != self.overview.image_size:
            height, width = self.overview.image_size
            raise DataError(
                f"{self.overview.root}: expected {width}x{height} in frame {table.names[index]} like in the "
                f"first, found {color.shape[1]}x{color.shape[0]}; give all frames of a scan one size"
            )
        depth = None if self.depth_m is None else self.depth_m(index)
        return Frame(
            index=index,
            name=table.names[index],
            timestamp_s=_time(table.timestamps_s, index),
            color=color,
            depth_m=depth,
            color_camera=_camera(table.color_cameras, index),
            depth_camera=None if depth is None else _camera(table.depth_cameras, index),
            world_from_camera=_pose(table.poses, index),
        )

    def cloud(self) -> SceneCloud | None:
        """Load the scan's mesh or point cloud, or return None when it has none.

        Raises:
            DataError: if the file is there but unreadable.
        """
        return None if self.load_cloud is None else self.load_cloud()

    def fingerprint(self) -> str:
        """Return a digest that changes when any input file changes; ground truth is no input."""
        return fingerprint_of(
            self.inputs, self.overview.root, f"{self.overview.dataset} reader {self.version}"
        )


def _camera(cameras: tuple[Camera, ...], index: int) -> Camera | None:
    if not cameras:
        return None
    return cameras[index] if len(cameras) > 1 else cameras[0]


def _time(times: NDArray[np.float64] | None, index: int) -> float | None:
    return None if times is None or not np.isfinite(times[index]) else float(times[index])


def _pose(poses: NDArray[np.float64] | None, index: int) -> NDArray[np.float64] | None:
    if poses is None or np.isnan(poses[index, 0, 0]):
        return None
    pose: NDArray[np.float64] = poses[index]
    return pose
