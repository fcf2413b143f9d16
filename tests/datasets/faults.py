"""Ways in which scans come wrong, put into a healthy one on its way from the reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.corrections import stored_pose
from my3dis.protocols import SceneReader
from my3dis.types import Camera, Frame, ScanOverview, SceneCloud

Poses = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Depth = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Cameras = Callable[[Camera], Camera]
Points = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong; ``mendable`` when a setting can undo it."""

    name: str
    pose: Poses | None = None
    depth: Depth | None = None
    depth_camera: Cameras | None = None
    color_camera: Cameras | None = None
    points: Points | None = None
    mendable: bool = True


class Kept:
    """A reader that keeps the frames it has read."""

    def __init__(self, reader: SceneReader) -> None:
        self.reader, self.overview = reader, reader.overview
        self.frames: dict[int, Frame] = {}
        self.points: SceneCloud | None = None

    def __len__(self) -> int:
        return len(self.reader)

    def frame(self, index: int) -> Frame:
        if index not in self.frames:
            self.frames[index] = self.reader.frame(index)
        return self.frames[index]

    def cloud(self) -> SceneCloud | None:
        self.points = self.points or self.reader.cloud()
        return self.points

    def fingerprint(self) -> str:
        return self.reader.fingerprint()


class Faulty:
    """A scan with faults; its poses are handed out as stored, rigid or not."""

    def __init__(
        self, reader: SceneReader, faults: Sequence[Fault], overview: ScanOverview | None = None
    ) -> None:
        self.reader, self.faults = reader, faults
        self.overview = overview or reader.overview

    def __len__(self) -> int:
        return len(self.reader)

    def stored_pose(self, index: int) -> NDArray[np.float64] | None:
        pose = stored_pose(self.reader, self.reader.frame(index))
        for fault in self.faults:
            pose = fault.pose(pose) if fault.pose is not None and pose is not None else pose
        return pose

    def frame(self, index: int) -> Frame:
        frame = self.reader.frame(index)
        depth, depth_camera, color_camera = frame.depth_m, frame.depth_camera, frame.color_camera
        assert depth is not None
        assert depth_camera is not None
        assert color_camera is not None
        for fault in self.faults:
            depth = depth if fault.depth is None else fault.depth(depth).astype(np.float32)
            depth_camera = depth_camera if fault.depth_camera is None else fault.depth_camera(depth_camera)
            color_camera = color_camera if fault.color_camera is None else fault.color_camera(color_camera)
        return dataclasses.replace(
            frame, depth_m=depth, depth_camera=depth_camera, color_camera=color_camera, world_from_camera=None
        )

    def cloud(self) -> SceneCloud | None:
        cloud = self.reader.cloud()
        for fault in self.faults:
            if cloud is not None and fault.points is not None:
                points = fault.points(cloud.xyz_m.astype(np.float64)).astype(np.float32)
                cloud = dataclasses.replace(cloud, xyz_m=points)
        return cloud

    def fingerprint(self) -> str:
        return self.reader.fingerprint()


def _rotation_transposed(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


def _translated_in(units_per_m: float) -> Poses:
    def scaled(pose: NDArray[np.float64]) -> NDArray[np.float64]:
        longer = pose.copy()
        longer[:3, 3] *= units_per_m
        longer[3, :3] *= units_per_m  # where a transposed pose has it
        return longer

    return scaled


def _times(factor: float) -> Depth:
    return lambda depth: depth * np.float32(factor)


def _as_16_bit(factor: float) -> Depth:
    """Write depth in a unit of its own as 16 bits, and read it as millimetres."""
    return lambda depth: (np.clip(np.round(depth * (1000 * factor)), 0, 65535) / 1000).astype(np.float32)


def _shifted(x_share: float, y_share: float) -> Depth:
    def moved(depth: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = depth.shape
        return np.roll(depth, (round(y_share * height), round(x_share * width)), (0, 1))

    return moved


def _for_images(scale: float) -> Cameras:
    def of_another_size(camera: Camera) -> Camera:
        other = camera.scaled_to(round(camera.width * scale), round(camera.height * scale))
        return dataclasses.replace(other, width=camera.width, height=camera.height)

    return of_another_size


def aligned_elsewhere() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotation about z and the shift that the mesh of the fault "aligned mesh" has had."""
    angle = np.radians(35)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([1.2, -0.7, 0.3])


def _aligned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rotation, shift = aligned_elsewhere()
    return points @ rotation.T + shift


_LARGER, _SMALLER = _for_images(1296 / 640), _for_images(0.5)

FAULTS: tuple[tuple[str, Fault], ...] = (
    ("inverse", Fault("inverse", pose=np.linalg.inv)),
    ("opengl", Fault("opengl", pose=lambda pose: pose @ np.diag([1.0, -1.0, -1.0, 1.0]))),
    ("transposed", Fault("transposed", pose=lambda pose: pose.T.copy())),
    ("transposed", Fault("transposed rotation", pose=_rotation_transposed)),
    ("pose_unit", Fault("millimetres", pose=_translated_in(1000))),
    ("pose_unit", Fault("centimetres", pose=_translated_in(100))),
    ("depth_unit", Fault("x1000", depth=_times(1000))),
    ("depth_unit", Fault("/1000", depth=_times(0.001))),
    ("depth_unit", Fault("6553.5 for 1000", depth=_as_16_bit(6.5535))),
    ("depth_unit", Fault("/6.5535", depth=_times(1 / 6.5535))),
    ("depth_unit", Fault("5000 for 1000", depth=_as_16_bit(5))),
    ("depth_unit", Fault("shifted by three bits", depth=_as_16_bit(8))),
    ("depth_unit", Fault("256 for 1000", depth=_as_16_bit(0.256))),
    ("depth_unit", Fault("whole metres", depth=_as_16_bit(0.001), mendable=False)),
    ("depth_unit", Fault("saturated", depth=_as_16_bit(1000), mendable=False)),
    ("alignment", Fault("aligned mesh", points=_aligned, mendable=False)),
    ("registration", Fault("shifted", depth=_shifted(0.04, 0.02))),
    ("registration", Fault("shifted back", depth=_shifted(-0.03, 0.02))),
    ("intrinsics", Fault("for 2025 of 1000", depth_camera=_LARGER, color_camera=_LARGER)),
    ("intrinsics", Fault("for half", depth_camera=_SMALLER, color_camera=_SMALLER)),
    ("intrinsics", Fault("of depth alone", depth_camera=_LARGER)),
    ("intrinsics", Fault("of colour alone", color_camera=_SMALLER)),
)
"""(cause, fault) of everything that the check is held to."""
