"""Where a frame sees the points of an instance that no track stands for, as outlines for the viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.geometry.transforms import is_rigid
from my3dis.lifting.visibility import ClearDepth, ViewOptions, VisiblePoints, visible_points
from my3dis.reporting.viewer import ViewerShot
from my3dis.reporting.viewer_shots import outline_of
from my3dis.types import Frame, InstanceSet

__all__ = ["PointSights", "sees_points"]

_SAMPLED_POINTS = 120
_MOST_SAMPLED = 60_000
_MOST_DRAWN = 20_000
_FEWEST_SEEN = 5
_OPTIONS = ViewOptions()


def sees_points(frame: Frame) -> bool:
    """Return whether a frame can be asked for points: it has depth and a valid pose."""
    has_depth = frame.depth_m is not None and frame.depth_camera is not None
    return has_depth and frame.world_from_camera is not None and is_rigid(frame.world_from_camera)


class PointSights:
    """Finds instances in frames by their points: a point counts where the frame's depth confirms it."""

    def __init__(
        self,
        xyz_m: NDArray[np.float32],
        instances: InstanceSet,
        places: NDArray[np.int64],
        spacing_m: float,
    ) -> None:
        """Take a sample of the points of each instance.

        Args:
            xyz_m: (P, 3) the cloud, world frame.
            instances: over this cloud.
            places: of the instances to find.
            spacing_m: usual distance between neighbours in the cloud.
        """
        self._xyz_m, self._instances, self._spacing_m = xyz_m, instances, spacing_m
        self.places = places
        share = max(_FEWEST_SEEN, min(_SAMPLED_POINTS, _MOST_SAMPLED // max(1, len(places))))
        samples = [_thinned(instances.points_of(int(k)), share) for k in places]
        self._sample = np.concatenate([np.zeros(0, np.int64), *samples])
        counts = np.array([len(sample) for sample in samples], np.int64)
        self._who = np.repeat(places, counts)
        sizes = np.diff(instances.point_offsets)[places]
        self._stands_for = np.repeat(sizes / np.maximum(counts, 1), counts)

    def areas(self, frame: Frame) -> NDArray[np.float32]:
        """Return (K,) how large a frame sees each instance, comparable between frames; 0 = hardly at all."""
        found = np.zeros(len(self._instances), np.float32)
        if not len(self._sample):
            return found
        xyz_m = self._xyz_m[self._sample]
        seen = self._seen(frame, xyz_m, frame.color.shape[:2]).point
        count = np.bincount(self._who[seen], minlength=len(found))
        assert frame.world_from_camera is not None
        away2 = ((xyz_m[seen] - frame.world_from_camera[:3, 3]) ** 2).sum(axis=1)
        size = np.bincount(self._who[seen], self._stands_for[seen] / np.maximum(away2, 1e-3), len(found))
        return np.where(count >= _FEWEST_SEEN, size, 0).astype(np.float32)

    def shots(
        self, frame: Frame, places: NDArray[np.int64], picture: int, size: tuple[int, int]
    ) -> dict[int, ViewerShot]:
        """Return where the points of instances are in a picture (height, width) of a frame, if anywhere."""
        if not len(places):
            return {}
        assert frame.depth_m is not None
        depth = ClearDepth.of(frame.depth_m, _OPTIONS)
        found = {place: self._shot(frame, depth, place, picture, size) for place in places.tolist()}
        return {place: shot for place, shot in found.items() if shot is not None}

    def _shot(
        self, frame: Frame, depth: ClearDepth, place: int, picture: int, size: tuple[int, int]
    ) -> ViewerShot | None:
        import cv2

        xyz_m = self._xyz_m[_thinned(self._instances.points_of(place), _MOST_DRAWN)]
        seen = self._seen(frame, xyz_m, size, depth)
        if not len(seen.point):
            return None
        mask = np.zeros(size, np.uint8)
        mask[seen.y, seen.x] = 1
        assert frame.world_from_camera is not None
        away_m = float(np.median(np.linalg.norm(xyz_m[seen.point] - frame.world_from_camera[:3, 3], axis=1)))
        radius = self._gap_px(
            frame, away_m, size[1], len(xyz_m) / max(1, len(self._instances.points_of(place)))
        )
        kernel: Any = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        padded = cv2.copyMakeBorder(mask, radius, radius, radius, radius, cv2.BORDER_CONSTANT, value=0)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)
        joined = closed[radius : radius + size[0], radius : radius + size[1]].astype(np.bool_)
        rows, columns = np.flatnonzero(joined.any(axis=1)), np.flatnonzero(joined.any(axis=0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return ViewerShot(picture=picture, box=box, outline=outline_of(joined, (0, 0), 1.0), projected=True)

    def _gap_px(self, frame: Frame, away_m: float, width: int, share: float) -> int:
        """Return how far apart neighbouring points are in a picture, rounded up."""
        camera = frame.color_camera or frame.depth_camera
        assert camera is not None
        focal_px = camera.fx * width / camera.width
        gap = self._spacing_m / max(share, 1e-3) ** 0.5 * focal_px / max(away_m, 0.1)
        return int(np.clip(np.ceil(1.2 * gap), 1, 15))

    @staticmethod
    def _seen(
        frame: Frame, xyz_m: NDArray[np.float32], size: tuple[int, int], depth: ClearDepth | None = None
    ) -> VisiblePoints:
        return visible_points(frame, xyz_m, None, mask_size=size, options=_OPTIONS, depth=depth)


def _thinned(points: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return points[:: max(1, -(-len(points) // most))]
