"""Cameras and posed frames.

Conventions: RGB; pixel centres at integer coordinates; camera axes x right, y down, z forward;
metres; ``a_from_b`` maps points of frame of reference b into a.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.types.checks import frozen_array, require

__all__ = ["Camera", "Frame", "ScanOverview"]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: focal lengths and principal point in pixels, image size in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        finite = bool(np.isfinite([self.fx, self.fy, self.cx, self.cy]).all())
        require(finite, "Camera", f"expected finite intrinsics, found {self}")
        require(
            self.fx > 0 and self.fy > 0,
            "Camera",
            f"expected positive focal lengths, found fx={self.fx}, fy={self.fy}",
        )
        require(
            self.width > 0 and self.height > 0,
            "Camera",
            f"expected a positive image size, found {self.width}x{self.height}",
        )

    def scaled_to(self, width: int, height: int) -> Camera:
        """Return the same camera for an image resampled to another size.

        Pixel centres are at integers, so the principal point scales about -0.5.
        """
        sx, sy = width / self.width, height / self.height
        return Camera(
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """One image of a scan with whatever depth and pose it has.

    Attributes:
        index: position in the scan's numerically sorted list of frames, before slicing.
        name: stem of the colour file.
        timestamp_s: capture time in seconds, or None.
        color: (H, W, 3) uint8 RGB.
        depth_m: (Hd, Wd) float32 z depth in metres, 0 = no reading, or None.
        color_camera: intrinsics of the colour image, or None when unknown.
        depth_camera: intrinsics of the depth image, or None when there is no depth.
        world_from_camera: (4, 4) float64 rigid pose, or None when missing or invalid.
    """

    index: int
    name: str
    color: NDArray[np.uint8]
    timestamp_s: float | None = None
    depth_m: NDArray[np.float32] | None = None
    color_camera: Camera | None = None
    depth_camera: Camera | None = None
    world_from_camera: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        where = f"Frame {self.name!r}"
        color = frozen_array(self.color, f"{where} color", (None, None, 3), np.uint8)
        object.__setattr__(self, "color", color)
        _require_camera_fits(self.color_camera, color.shape[:2], f"{where} color")
        if self.depth_m is not None:
            depth = frozen_array(self.depth_m, f"{where} depth_m", (None, None), np.float32)
            object.__setattr__(self, "depth_m", depth)
            _require_camera_fits(self.depth_camera, depth.shape, f"{where} depth_m")
        if self.world_from_camera is not None:
            pose = frozen_array(self.world_from_camera, f"{where} world_from_camera", (4, 4), np.float64)
            require(bool(np.isfinite(pose).all()), where, "expected a finite pose, found inf or nan")
            object.__setattr__(self, "world_from_camera", pose)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the colour image in pixels."""
        return self.color.shape[0], self.color.shape[1]


def _require_camera_fits(camera: Camera | None, size: tuple[int, ...], owner: str) -> None:
    if camera is None:
        return
    require(
        (camera.height, camera.width) == tuple(size),
        owner,
        f"expected an image of {camera.width}x{camera.height} as the intrinsics say, "
        f"found {size[1]}x{size[0]}; check the intrinsics file",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOverview:
    """What a reader found in a scan, known before any frame is decoded.

    Attributes:
        scene: name of the scan, used for the run's folder.
        dataset: name of the reader plug-in.
        root: the scan's folder or video file.
        frame_count: number of frames before slicing.
        image_size: height and width of the colour images in pixels.
        has_depth, has_pose, has_cloud: what the scan offers beyond colour.
        ground_truth: folder with ground truth, never opened outside evaluation and oracles; None = absent.
        invalid_poses: indices of frames whose pose is missing or not finite.
        found: one sentence per thing found.
        missing: one sentence per thing missing and what is skipped because of it.
    """

    scene: str
    dataset: str
    root: Path
    frame_count: int
    image_size: tuple[int, int]
    has_depth: bool = False
    has_pose: bool = False
    has_cloud: bool = False
    ground_truth: Path | None = None
    invalid_poses: tuple[int, ...] = ()
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_posed_rgbd(self) -> bool:
        """Whether depth and poses are both there, which lifting and warping need."""
        return self.has_depth and self.has_pose
