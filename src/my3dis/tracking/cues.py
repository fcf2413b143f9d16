"""What a frame tells of its masks beyond their pixels: colours, and points in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.geometry.camera import back_project_pixels, nearest_pixels, project
from my3dis.geometry.transforms import invert_rigid, transform_points
from my3dis.tracking.sampling import sample_pixels
from my3dis.types import Camera, Frame, MaskSet

__all__ = ["COLOR_BINS", "SAMPLES_PER_MASK", "FrameCues", "MaskCues", "Viewpoint", "depth_tolerance_m"]

SAMPLES_PER_MASK = 256
"""Pixels looked at in one mask: enough for a 6 % standard error at worst, small enough for every mask."""
CM_PER_M = 100.0
LIGHTNESS_BINS, CHROMA_BINS, CHROMA_REACH = 6, 8, 32
COLOR_BINS = LIGHTNESS_BINS * CHROMA_BINS * CHROMA_BINS
"""Bins over CIE L, a, b; indoor colours are pale, so a and b are cut to ±32 of grey."""
THUMBNAIL_WIDTH_PX = 40


def depth_tolerance_m(z_m: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how far two depths of one surface may differ: 3 cm and 2 %, as of common depth cameras."""
    return 0.03 + 0.02 * z_m


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Viewpoint:
    """Where a track was seen from, and how far one could see there; shared by all tracks of a frame.

    Attributes:
        camera: intrinsics of the thumbnail.
        camera_from_world: (4, 4) float64.
        depth_m: (h, w) float16 thumbnail, 0 = no reading.
    """

    camera: Camera
    camera_from_world: NDArray[np.float64]
    depth_m: NDArray[np.float16]

    def could_see(self, points_m: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether points (P, 3) of the world lay in this view and not behind a surface: (P,) bool."""
        uv, z = project(transform_points(self.camera_from_world, points_m), self.camera)
        flat, inside = nearest_pixels(uv, (self.camera.height, self.camera.width))
        wall = self.depth_m.ravel()[flat].astype(np.float32)
        # A thumbnail's pixel covers some depth range, hence the wider tolerance.
        return inside & ((wall <= 0) | (z <= wall + 2 * depth_tolerance_m(z)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MaskCues:
    """What is remembered of one mask.

    Attributes:
        points_cm: (Q, 3) int16 points in the world, centimetres; none without depth and pose.
        colors: (COLOR_BINS,) uint8 square roots of the share of each colour, 255 = all.
    """

    points_cm: NDArray[np.int16]
    colors: NDArray[np.uint8]

    @property
    def points_m(self) -> NDArray[np.float32]:
        """The points in metres, (Q, 3) float32."""
        return self.points_cm.astype(np.float32) / np.float32(CM_PER_M)


class FrameCues:
    """Reads colours and points under masks of one frame."""

    def __init__(self, frame: Frame) -> None:
        self.image_size = frame.image_size
        self._color = frame.color
        self._color_camera: Camera | None = None
        self._camera_from_world: NDArray[np.float64] | None = None
        self._depth_m = frame.depth_m
        self._depth_camera = frame.depth_camera
        self._world_from_camera = frame.world_from_camera
        if frame.depth_m is not None and frame.depth_camera is not None:
            self._color_camera = frame.color_camera or frame.depth_camera.scaled_to(
                frame.image_size[1], frame.image_size[0]
            )
        if self.is_posed:
            assert frame.world_from_camera is not None
            assert frame.depth_m is not None
            self._camera_from_world = invert_rigid(frame.world_from_camera)
            self._steady = _without_jumps(frame.depth_m)
            self._viewpoint: Viewpoint | None = None

    @property
    def is_posed(self) -> bool:
        """Whether the frame has depth and a pose, so that masks have points in the world."""
        return self._color_camera is not None and self._world_from_camera is not None

    @property
    def viewpoint(self) -> Viewpoint | None:
        """Where the frame was seen from; None without depth and pose."""
        if not self.is_posed:
            return None
        if self._viewpoint is None:
            assert self._depth_camera is not None
            assert self._depth_m is not None
            assert self._camera_from_world is not None
            height, width = self._depth_m.shape
            small_w = min(width, THUMBNAIL_WIDTH_PX)
            small_h = max(1, round(height * small_w / width))
            rows = ((np.arange(small_h) + 0.5) * height / small_h).astype(np.int64)
            columns = ((np.arange(small_w) + 0.5) * width / small_w).astype(np.int64)
            self._viewpoint = Viewpoint(
                camera=self._depth_camera.scaled_to(small_w, small_h),
                camera_from_world=self._camera_from_world,
                depth_m=self._depth_m[np.ix_(rows, columns)].astype(np.float16),
            )
        return self._viewpoint

    def describe(self, masks: MaskSet) -> list[MaskCues]:
        """Return the cues of every mask of a set of this frame."""
        sample = sample_pixels(masks, SAMPLES_PER_MASK)
        colors = self._color_shares(sample.owner, sample.x_px, sample.y_px, len(masks))
        points_cm, owner = self._points_cm(sample.x_px, sample.y_px, sample.owner)
        starts = np.searchsorted(owner, np.arange(len(masks) + 1))
        return [
            MaskCues(points_cm=points_cm[starts[i] : starts[i + 1]].copy(), colors=colors[i].copy())
            for i in range(len(masks))
        ]

    def look_at(
        self, points_m: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
        """Project points (P, 3) of the world: x and y pixels of the colour image, and whether each is seen.

        A point is seen when it lies in the image and the measured depth agrees with it. Where it is not
        seen the coordinates are 0.
        """
        assert self._camera_from_world is not None
        assert self._color_camera is not None
        assert self._depth_camera is not None
        assert self._depth_m is not None
        in_camera = transform_points(self._camera_from_world, points_m)
        uv, z = project(in_camera, self._depth_camera)
        flat, inside = nearest_pixels(uv, self._depth_m.shape)
        measured = self._depth_m.ravel()[flat]
        seen = inside & (measured > 0) & (np.abs(measured - z) <= depth_tolerance_m(z))
        uv_color, _ = project(in_camera, self._color_camera)
        flat_color, in_color = nearest_pixels(uv_color, self.image_size)
        seen &= in_color
        flat_color[~seen] = 0
        x, y = flat_color % self.image_size[1], flat_color // self.image_size[1]
        return x.astype(np.int32), y.astype(np.int32), seen

    def _color_shares(
        self, owner: NDArray[np.int32], x_px: NDArray[np.int32], y_px: NDArray[np.int32], n: int
    ) -> NDArray[np.uint8]:
        import cv2

        if not len(owner):
            return np.zeros((n, COLOR_BINS), np.uint8)
        lab = cv2.cvtColor(self._color[y_px, x_px][:, None], cv2.COLOR_RGB2LAB)[:, 0].astype(np.int32)
        light = lab[:, 0] * LIGHTNESS_BINS // 256
        chroma = np.clip(
            (lab[:, 1:] - 128 + CHROMA_REACH) * CHROMA_BINS // (2 * CHROMA_REACH), 0, CHROMA_BINS - 1
        )
        bins = (light * CHROMA_BINS + chroma[:, 0]) * CHROMA_BINS + chroma[:, 1]
        counted = np.bincount(owner.astype(np.int64) * COLOR_BINS + bins, minlength=n * COLOR_BINS)
        counted = counted.reshape(n, COLOR_BINS)
        share = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
        roots: NDArray[np.uint8] = np.rint(255 * np.sqrt(share)).astype(np.uint8)
        return roots

    def _points_cm(
        self, x_px: NDArray[np.int32], y_px: NDArray[np.int32], owner: NDArray[np.int32]
    ) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        if not self.is_posed:
            return np.zeros((0, 3), np.int16), np.zeros(0, np.int32)
        assert self._color_camera is not None
        assert self._depth_camera is not None
        assert self._depth_m is not None
        assert self._world_from_camera is not None
        uv = np.stack([x_px, y_px], axis=1).astype(np.float32)
        unit = np.ones(len(uv), np.float32)
        on_depth, _ = project(back_project_pixels(uv, unit, self._color_camera), self._depth_camera)
        flat, inside = nearest_pixels(on_depth, self._depth_m.shape)
        z = self._depth_m.ravel()[flat]
        good = inside & (z > 0) & self._steady.ravel()[flat]
        lifted = back_project_pixels(uv[good], z[good], self._color_camera)
        world = transform_points(self._world_from_camera, lifted.astype(np.float64)) * CM_PER_M
        world = np.clip(np.rint(world), np.iinfo(np.int16).min, np.iinfo(np.int16).max)
        return world.astype(np.int16), owner[good]


def _without_jumps(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the depth around each pixel is smooth; at jumps a mask's border and the depth's disagree."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    filled = np.where(depth_m > 0, depth_m, np.float32(np.inf))
    low = cv2.erode(filled, kernel)
    high = cv2.dilate(depth_m, kernel)
    steady: NDArray[np.bool_] = high - low <= 2 * depth_tolerance_m(depth_m)
    return steady
