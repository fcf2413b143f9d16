"""Corrections of a scan whose poses, units or intrinsics are other than its layout says.

The check of a scan tries them as explanations; a run applies them as settings. Both go through `Corrections`,
so that what the check found is exactly what the setting does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.alignment import read_alignment
from my3dis.datasets.poses import OPENCV_FROM_OPENGL, valid_poses
from my3dis.errors import ConfigError
from my3dis.geometry.transforms import compose, invert_rigid
from my3dis.protocols import SceneReader, StoredPoses
from my3dis.types import Camera, Frame, ScanOverview, SceneCloud

__all__ = [
    "POSE_CHANGES",
    "CorrectedReader",
    "Corrections",
    "PoseChange",
    "corrections_of",
    "stored_pose",
    "with_corrections",
]

PoseChange = Literal["inverse", "opengl", "transposed", "transposed_rotation"]
POSE_CHANGES: tuple[PoseChange, ...] = get_args(PoseChange)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrections:
    """What is done to each frame before anybody sees it.

    Attributes:
        poses: changes of the stored matrix, in the order of their application: ``inverse`` (stored was
            camera_from_world), ``opengl`` (camera axes x right, y up, z backwards), ``transposed`` (columns
            were written as rows), ``transposed_rotation`` (only the rotation was).
        pose_scale: metres of one unit of translation.
        depth_scale: factor on depth.
        focal_scale: factor on the focal lengths of both cameras.
        intrinsics_size: (width, height) of the images that the intrinsics are for; applied to each camera
            whose principal point is nearer to the middle of that size than to that of its own images.
        depth_shift_px: (x, y) by which depth images must move to lie over the colour images.
        alignment: (4, 4) float64, maps the world of the poses into that of the mesh, or None.
    """

    poses: tuple[PoseChange, ...] = ()
    pose_scale: float = 1.0
    depth_scale: float = 1.0
    focal_scale: float = 1.0
    intrinsics_size: tuple[int, int] | None = None
    depth_shift_px: tuple[float, float] = (0.0, 0.0)
    alignment: NDArray[np.float64] | None = None

    @property
    def nothing(self) -> bool:
        """Whether frames come out as they are stored."""
        return self.key == Corrections().key

    @property
    def key(self) -> str:
        """A text that is the same for corrections that do the same."""
        aligned = None if self.alignment is None else self.alignment.tolist()
        return repr(
            (
                self.poses,
                self.pose_scale,
                self.depth_scale,
                self.focal_scale,
                self.intrinsics_size,
                self.depth_shift_px,
                aligned,
            )
        )

    def joined(self, other: Corrections) -> Corrections:
        """Return both in one: changes of poses one after the other, factors multiplied."""
        x, y = self.depth_shift_px
        return Corrections(
            poses=(*self.poses, *other.poses),
            pose_scale=self.pose_scale * other.pose_scale,
            depth_scale=self.depth_scale * other.depth_scale,
            focal_scale=self.focal_scale * other.focal_scale,
            intrinsics_size=self.intrinsics_size or other.intrinsics_size,
            depth_shift_px=(x + other.depth_shift_px[0], y + other.depth_shift_px[1]),
            alignment=other.alignment if self.alignment is None else self.alignment,
        )

    def pose(self, stored: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return the (4, 4) ``world_from_camera`` of a stored matrix; None if it is no rigid motion."""
        if stored is None:
            return None
        matrix = np.array(stored, dtype=np.float64)
        for change in self.poses:
            matrix = _changed(matrix, change)
        matrix = valid_poses(matrix[None])[0]
        if np.isnan(matrix[0, 0]):
            return None
        matrix[:3, 3] *= self.pose_scale
        return matrix if self.alignment is None else compose(self.alignment, matrix)

    def depth_camera(self, camera: Camera) -> Camera:
        """Return the intrinsics of depth images."""
        x, y = self.depth_shift_px
        right = self.color_camera(camera)
        # Moving the image by some pixels over a fixed camera is moving its rays the other way.
        return replace(right, cx=right.cx - x, cy=right.cy - y)

    def color_camera(self, camera: Camera) -> Camera:
        """Return the intrinsics of colour images."""
        if self.intrinsics_size is not None and _is_for(camera, self.intrinsics_size):
            width, height = self.intrinsics_size
            other = replace(camera, width=width, height=height)
            camera = other.scaled_to(camera.width, camera.height)
        return replace(camera, fx=camera.fx * self.focal_scale, fy=camera.fy * self.focal_scale)


def corrections_of(correct: Mapping[str, Any]) -> Corrections:
    """Return what the settings ``experiment.correct`` do to frames.

    Args:
        correct: the settings as plain values, such as a run's ``config.yaml`` holds them; what is absent
            changes nothing.

    Raises:
        ConfigError: if the file of the alignment holds none.
        ValueError, TypeError: if a value is of another kind; the schema refuses such settings before.
    """
    known = {field.name: field.default for field in fields(Corrections) if field.name != "alignment"}
    values = {name: _like(value, known[name]) for name, value in correct.items() if name in known}
    alignment = None
    if correct.get("alignment") is not None:
        alignment = read_alignment(Path(correct["alignment"]))
        if alignment is None:
            raise ConfigError(
                "experiment.correct.alignment: expected a file with 16 numbers of a rigid motion (a line "
                f"axisAlignment = ..., or a file with align in its name), found {correct['alignment']}"
            )
        alignment = invert_rigid(alignment) if correct.get("alignment_inverted") else alignment
    return Corrections(**values, alignment=alignment)


def with_corrections(reader: SceneReader, corrections: Corrections) -> SceneReader:
    """Return a scan as corrections make it; the reader itself when they change nothing."""
    return reader if corrections.nothing else CorrectedReader.of(reader, corrections)


def _like(value: Any, default: object) -> Any:  # noqa: ANN401 (plain values of several types)
    if isinstance(default, float):
        return float(value)
    return None if value is None else tuple(value)


def stored_pose(reader: SceneReader, frame: Frame) -> NDArray[np.float64] | None:
    """Return the (4, 4) matrix that a scan stores for a frame, rigid or not; None without one."""
    if frame.world_from_camera is None and isinstance(reader, StoredPoses):
        return reader.stored_pose(frame.index)
    return frame.world_from_camera


@dataclass(frozen=True, eq=False)
class CorrectedReader:
    """A scan as it is after corrections; a `my3dis.protocols.SceneReader`.

    Attributes:
        reader: of the scan as it is stored.
        corrections: what is done to its frames.
        overview: what was found; poses that corrections make valid are counted as such.
    """

    reader: SceneReader
    corrections: Corrections
    overview: ScanOverview

    @classmethod
    def of(cls, reader: SceneReader, corrections: Corrections) -> CorrectedReader:
        """Wrap a reader; poses that were refused as stored are looked at again."""
        overview = reader.overview
        if corrections.poses and isinstance(reader, StoredPoses):
            poses = (corrections.pose(reader.stored_pose(index)) for index in range(len(reader)))
            invalid = tuple(index for index, pose in enumerate(poses) if pose is None)
            overview = replace(overview, has_pose=len(invalid) < len(reader), invalid_poses=invalid)
        return cls(reader, corrections, overview)

    def __len__(self) -> int:
        return len(self.reader)

    def frame(self, index: int) -> Frame:
        """Load a frame and correct it.

        Raises:
            DataError: as the scan's own reader does.
        """
        frame, right = self.reader.frame(index), self.corrections
        depth, depth_camera, color_camera = frame.depth_m, frame.depth_camera, frame.color_camera
        return replace(
            frame,
            depth_m=None if depth is None else depth * np.float32(right.depth_scale),
            depth_camera=None if depth_camera is None else right.depth_camera(depth_camera),
            color_camera=None if color_camera is None else right.color_camera(color_camera),
            world_from_camera=right.pose(stored_pose(self.reader, frame)),
        )

    def cloud(self) -> SceneCloud | None:
        """Load the scan's mesh or point cloud as it is; corrections move cameras, never points.

        Raises:
            DataError: if the file is there but unreadable.
        """
        return self.reader.cloud()

    def fingerprint(self) -> str:
        """Return a digest that changes with any input file and with the corrections."""
        return f"{self.reader.fingerprint()}; corrected {self.corrections.key}"


def _changed(matrix: NDArray[np.float64], change: PoseChange) -> NDArray[np.float64]:
    if change == "inverse":
        # A stored matrix may be anything; what cannot be inverted is no pose and fails as such.
        singular = not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9
        return np.full((4, 4), np.nan) if singular else np.asarray(np.linalg.inv(matrix), np.float64)
    if change == "opengl":
        product: NDArray[np.float64] = matrix @ OPENCV_FROM_OPENGL
        return product
    if change == "transposed":
        return matrix.T.copy()
    turned = matrix.copy()
    turned[:3, :3] = matrix[:3, :3].T
    return turned


def _is_for(camera: Camera, size: tuple[int, int]) -> bool:
    def off_centre(width: int, height: int) -> float:
        return abs((camera.cx + 0.5) / width - 0.5) + abs((camera.cy + 0.5) / height - 0.5)

    return off_centre(*size) < off_centre(camera.width, camera.height)
