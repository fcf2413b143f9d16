"""Carry masks through depth and camera poses: exact for what stands still, whatever it looks like.

A pixel of the new frame is lifted with its depth, moved into the previous camera and compared with the depth
measured there; if they agree, the same surface was seen. Pairs of frames that lack depth or pose use flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.trackers.flow import FlowSource, FlowView, at_image_size, pixel_coordinates
from my3dis.backends.trackers.grid import BackwardGrid, GridTracker
from my3dis.geometry.transforms import invert_rigid
from my3dis.protocols import BackendOptions, TrackerPlugin
from my3dis.types import Camera, Frame

__all__ = ["PLUGIN", "WarpSource", "WarpView", "depth_on_color"]

TOLERANCE_M = 0.03
TOLERANCE_OF_DEPTH = 0.02
"""Depths agree within 3 cm plus 2 % of the depth, the error of common depth cameras."""
MIN_VALID_SHARE = 0.1
"""With fewer readings than this a depth image says too little to warp by."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WarpView:
    """What warping needs of a frame, at working size (h, w).

    Attributes:
        flow: what flow needs, for pairs that cannot be warped.
        depth_m: (h, w) float32 with holes filled, or None.
        filled: (h, w) uint8, 1 where a hole was filled, or None.
        camera: intrinsics at working size, or None.
        world_from_camera: pose, or None.
    """

    flow: FlowView
    depth_m: NDArray[np.float32] | None
    filled: NDArray[np.uint8] | None
    camera: Camera | None
    world_from_camera: NDArray[np.float64] | None

    @property
    def is_posed(self) -> bool:
        """Whether this frame can be warped to or from."""
        return self.depth_m is not None and self.camera is not None and self.world_from_camera is not None


class WarpSource:
    """Makes grids from depth and poses, or from flow for pairs without them."""

    def __init__(self) -> None:
        self._flow = FlowSource()

    def prepare(self, frame: Frame) -> WarpView:
        """Return grey, depth without holes and intrinsics at working size."""
        flow = self._flow.prepare(frame)
        height, width = flow.gray.shape
        depth_m, filled, camera = None, None, None
        if frame.depth_m is not None and frame.depth_camera is not None:
            base = frame.color_camera or frame.depth_camera.scaled_to(*reversed(frame.image_size))
            camera = base.scaled_to(width, height)
            measured = depth_on_color(frame.depth_m, frame.depth_camera, camera)
            if np.count_nonzero(measured) >= MIN_VALID_SHARE * measured.size:
                depth_m, filled = fill_from_nearest(measured), (measured <= 0).view(np.uint8)
        return WarpView(
            flow=flow,
            depth_m=depth_m,
            filled=filled,
            camera=camera,
            world_from_camera=frame.world_from_camera,
        )

    def grid(self, previous: WarpView, current: WarpView) -> BackwardGrid:
        """Return where each pixel was, known unless two measured depths disagree; flow without a pose."""
        if not (previous.is_posed and current.is_posed):
            return self._flow.grid(previous.flow, current.flow)
        return at_image_size(*_warp(previous, current), current.flow.image_size)


def depth_on_color(depth_m: NDArray[np.float32], depth: Camera, color: Camera) -> NDArray[np.float32]:
    """Resample registered depth to a colour camera at the same place; nearest, 0 = no reading."""
    import cv2

    if depth == color:
        return depth_m
    x_px, y_px = pixel_coordinates((color.height, color.width))
    map_x = (x_px - color.cx) * (depth.fx / color.fx) + depth.cx
    map_y = (y_px - color.cy) * (depth.fy / color.fy) + depth.cy
    shape = (color.height, color.width)
    resampled: NDArray[np.float32] = cv2.remap(
        depth_m,
        np.ascontiguousarray(np.broadcast_to(map_x, shape), np.float32),
        np.ascontiguousarray(np.broadcast_to(map_y, shape), np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return resampled


def fill_from_nearest(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give every hole (0) the depth of the nearest reading; good enough to carry masks, not to measure."""
    import cv2

    holes = (depth_m <= 0).view(np.uint8)
    if not holes.any():
        return depth_m
    _, labels = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    depth_of_label = np.zeros(int(labels.max()) + 1, np.float32)
    readings = holes == 0
    depth_of_label[labels[readings]] = depth_m[readings]
    filled: NDArray[np.float32] = depth_of_label[labels]
    return filled


def _warp(
    previous: WarpView, current: WarpView
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    import cv2

    assert previous.depth_m is not None
    assert current.depth_m is not None
    assert previous.filled is not None
    assert current.filled is not None
    assert previous.camera is not None
    assert current.camera is not None
    assert previous.world_from_camera is not None
    assert current.world_from_camera is not None
    motion = (invert_rigid(previous.world_from_camera) @ current.world_from_camera).astype(np.float32)
    z_m = current.depth_m
    x_px, y_px = pixel_coordinates(z_m.shape)
    ray_x = (x_px - np.float32(current.camera.cx)) / np.float32(current.camera.fx)
    ray_y = (y_px - np.float32(current.camera.cy)) / np.float32(current.camera.fy)
    x_m, y_m, depth_there = (
        (motion[i, 0] * ray_x + motion[i, 1] * ray_y + motion[i, 2]) * z_m + motion[i, 3] for i in range(3)
    )
    in_front = depth_there > 1e-3
    inverse = 1.0 / np.where(in_front, depth_there, np.float32(1.0))
    camera = previous.camera
    source_x = x_m * inverse * np.float32(camera.fx) + np.float32(camera.cx)
    source_y = y_m * inverse * np.float32(camera.fy) + np.float32(camera.cy)
    inside = in_front & (source_x >= -0.5) & (source_x < camera.width - 0.5)
    inside &= (source_y >= -0.5) & (source_y < camera.height - 0.5)
    # Far outside coordinates overflow the fixed-point arithmetic of remap; they are unknown anyway.
    source_x = np.where(inside, source_x, np.float32(-1.0))
    source_y = np.where(inside, source_y, np.float32(-1.0))
    measured, guessed = (
        cv2.remap(image, source_x, source_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        for image in (previous.depth_m, previous.filled)
    )
    tolerance = np.float32(TOLERANCE_M) + np.float32(TOLERANCE_OF_DEPTH) * depth_there
    agrees = np.abs(depth_there - measured) <= tolerance
    # A depth that was filled in is no witness against.
    known = inside & (agrees | (guessed > 0) | (current.filled > 0))
    return source_x, source_y, known


def create(options: BackendOptions) -> GridTracker[WarpView]:  # noqa: ARG001 - part of the plug-in contract
    """Make a tracker; no option matters to it."""
    return GridTracker(WarpSource())


PLUGIN = TrackerPlugin(
    summary="depth and camera poses, flow where a frame lacks them; no weights",
    version="3",
    create=create,
    needs_depth_and_pose=True,
    resumable="checkpoint",
)
