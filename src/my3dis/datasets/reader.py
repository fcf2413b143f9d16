"""The reader that all folder layouts share: colour, depth and pose files listed frame by frame.

A layout's module finds the files and writes the sentences of the overview; this module loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import fingerprint_of, read_color, read_depth_m, read_matrix
from my3dis.errors import DataError
from my3dis.types import Camera, Frame, ScanOverview, SceneCloud

__all__ = ["DepthFormat", "FolderReader", "ScanFiles", "require_index"]


def require_index(overview: ScanOverview, index: int) -> None:
    """Raise a DataError when a scan has no frame of this index."""
    if not 0 <= index < overview.frame_count:
        raise DataError(
            f"{overview.root}: expected a frame index in 0..{overview.frame_count - 1}, found {index}; "
            "change the frame slice"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthFormat:
    """How raw depth values become metres.

    Attributes:
        unit_m: metres of one step.
        invalid: raw values besides 0 that mean "no reading".
    """

    unit_m: float = 0.001
    invalid: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScanFiles:
    """The files of a scan, in frame order.

    Attributes:
        color: N colour images.
        names: N frame names.
        depth: N depth images, None where a frame has none; empty when the scan has no usable depth.
        poses: (N, 4, 4) float64 ``world_from_camera``, NaN where invalid, or None when the scan has none.
        color_camera, depth_camera: intrinsics, or None when unknown.
        depth_format: of the depth images.
        cloud: the mesh or point cloud, or None.
        pose_files: N text files of 4x4 numbers that ``poses`` were read from, None where absent; or empty.
        extra: other files that were read, such as poses and intrinsics; part of the fingerprint.
        timestamps_s: N times in seconds, or empty.
    """

    color: tuple[Path, ...]
    names: tuple[str, ...]
    depth: tuple[Path | None, ...] = ()
    poses: NDArray[np.float64] | None = None
    color_camera: Camera | None = None
    depth_camera: Camera | None = None
    depth_format: DepthFormat = DepthFormat()
    cloud: Path | None = None
    pose_files: tuple[Path | None, ...] = ()
    extra: tuple[Path, ...] = ()
    timestamps_s: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class FolderReader:
    """Reads a scan of separate image files; a `my3dis.protocols.SceneReader`.

    Attributes:
        overview: what the layout's module found.
        files: where everything is.
        version: of the layout's module; changes when frames come out differently.
    """

    overview: ScanOverview
    files: ScanFiles
    version: str = "1"

    def __len__(self) -> int:
        return len(self.files.color)

    def frame(self, index: int) -> Frame:
        """Load the frame at a position of the numerically sorted list.

        Raises:
            DataError: naming the file that is missing, truncated or does not fit, or the index when
                there is no such frame.
        """
        require_index(self.overview, index)
        files = self.files
        color = read_color(files.color[index])
        if color.shape[:2] != self.overview.image_size:
            height, width = self.overview.image_size
            raise DataError(
                f"{files.color[index]}: expected {width}x{height} like the first image, "
                f"found {color.shape[1]}x{color.shape[0]}; give all frames of a scan one size"
            )
        return Frame(
            index=index,
            name=files.names[index],
            timestamp_s=files.timestamps_s[index] if files.timestamps_s else None,
            color=color,
            depth_m=self._depth(index),
            color_camera=files.color_camera,
            depth_camera=files.depth_camera if files.depth else None,
            world_from_camera=self._pose(index),
        )

    def stored_pose(self, index: int) -> NDArray[np.float64] | None:
        """Return the (4, 4) matrix stored for a frame, rigid or not; None when there is none."""
        path = self.files.pose_files[index] if self.files.pose_files else None
        if path is None:
            return self._pose(index)
        try:
            return read_matrix(path, (4,))
        except DataError:
            return None  # counted among the invalid poses when the scan was opened

    def cloud(self) -> SceneCloud | None:
        """Load the scan's mesh or point cloud, or return None when it has none.

        Raises:
            DataError: if the file is there but unreadable.
        """
        if self.files.cloud is None:
            return None
        from my3dis.datasets.ply import read_ply

        return read_ply(self.files.cloud)

    def fingerprint(self) -> str:
        """Return a digest that changes when any input file changes; ground truth is no input."""
        return fingerprint_of(
            self._inputs, self.overview.root, f"{self.overview.dataset} reader {self.version}"
        )

    @cached_property
    def _inputs(self) -> tuple[Path, ...]:
        files = self.files
        depth = tuple(p for p in files.depth if p is not None)
        cloud = () if files.cloud is None else (files.cloud,)
        return (*files.color, *depth, *files.extra, *cloud)

    def _depth(self, index: int) -> NDArray[np.float32] | None:
        path = self.files.depth[index] if self.files.depth else None
        if path is None:
            return None
        chosen = self.files.depth_format
        depth = read_depth_m(path, unit_m=chosen.unit_m, invalid=chosen.invalid)
        camera = self.files.depth_camera
        if camera is not None and depth.shape != (camera.height, camera.width):
            raise DataError(
                f"{path}: expected depth of {camera.width}x{camera.height} as the intrinsics say, "
                f"found {depth.shape[1]}x{depth.shape[0]}; give all depth images of a scan one size"
            )
        return depth

    def _pose(self, index: int) -> NDArray[np.float64] | None:
        if self.files.poses is None or np.isnan(self.files.poses[index, 0, 0]):
            return None
        pose: NDArray[np.float64] = self.files.poses[index]
        return pose
