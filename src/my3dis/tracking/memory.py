"""What a track remembers of its object: some points, colours and the last view, of bounded size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from my3dis.tracking.cues import CM_PER_M, MaskCues, Viewpoint

__all__ = ["MAX_POINTS", "MIN_POINTS", "Memory", "thin_out"]

MAX_POINTS = 256
"""Points kept per track: 1.5 kB, and under 10 cm apart on an object of 1.5 m."""
MIN_POINTS = 8
"""Fewer points say nothing about where an object is."""
FINEST_VOXEL_CM = 2
SURFACE_SLACK_M = 0.04
"""Two measurements of one surface lie about this close, beside the spacing of the remembered points."""
COLOR_INERTIA = 0.8
"""Weight of the old colours when new ones are seen: lighting changes slowly, one bad mask must not count."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Memory:
    """What is left of an object while it is away.

    Attributes:
        points_cm: (Q, 3) int16 in the world, Q at most `MAX_POINTS`.
        spacing_cm: the points are at least about this far apart.
        colors: (COLOR_BINS,) uint8 as in `MaskCues`.
        box_xyxy: (4,) last box in the image.
        area_px: last area.
        viewpoint: from where most of it was seen, or None without depth and pose.
        viewpoint_area_px: its area in that view.
    """

    points_cm: NDArray[np.int16]
    spacing_cm: int
    colors: NDArray[np.uint8]
    box_xyxy: tuple[int, int, int, int]
    area_px: int
    viewpoint: Viewpoint | None
    viewpoint_area_px: int

    @classmethod
    def of(
        cls, cues: MaskCues, box_xyxy: NDArray[np.int32], area_px: int, viewpoint: Viewpoint | None
    ) -> Memory:
        """Return the memory of an object seen once."""
        points, spacing = thin_out(cues.points_cm, FINEST_VOXEL_CM)
        x0, y0, x1, y1 = box_xyxy.tolist()
        return cls(
            points_cm=points,
            spacing_cm=spacing,
            colors=cues.colors,
            box_xyxy=(x0, y0, x1, y1),
            area_px=area_px,
            viewpoint=viewpoint,
            viewpoint_area_px=area_px if viewpoint is not None else 0,
        )

    @property
    def has_place(self) -> bool:
        """Whether enough points are remembered to find the object by."""
        return len(self.points_cm) >= MIN_POINTS

    @property
    def points_m(self) -> NDArray[np.float32]:
        """The points in metres, (Q, 3) float32."""
        return self.points_cm.astype(np.float32) / np.float32(CM_PER_M)

    def near(self, points_m: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether points (P, 3) of the world lie where remembered ones do: (P,) bool."""
        reach_m = 1.2 * self.spacing_cm / CM_PER_M + SURFACE_SLACK_M
        own_m = self.points_m
        low_m, high_m = own_m.min(axis=0) - reach_m, own_m.max(axis=0) + reach_m
        # Most pairs of objects lie apart: one axis after the other tells so long before a search is built.
        near: NDArray[np.bool_] = np.ones(len(points_m), np.bool_)
        for axis in range(3):
            along_m = points_m[:, axis]
            near &= (along_m >= low_m[axis]) & (along_m <= high_m[axis])
            if not near.any():
                return near
        distance, _ = cKDTree(own_m).query(points_m[near], distance_upper_bound=reach_m)
        near[near] = distance <= reach_m
        return near

    def holds(self, points_m: NDArray[np.float32]) -> float:
        """Return the share of points (P, 3) that lie where remembered ones do, 0 of too few points."""
        return float(self.near(points_m).mean()) if len(points_m) >= MIN_POINTS else 0.0

    def seen_again(self, latest: Memory) -> Memory:
        """Return this memory with what was seen now added: new points, mixed colours, the latest view."""
        points = np.concatenate([self.points_cm, latest.points_cm])
        merged, spacing = thin_out(points, self.spacing_cm)
        colors = COLOR_INERTIA * self.colors + (1 - COLOR_INERTIA) * latest.colors.astype(np.float32)
        better = latest if latest.viewpoint_area_px >= self.viewpoint_area_px else self
        return Memory(
            points_cm=merged,
            spacing_cm=spacing,
            colors=np.rint(colors).astype(np.uint8),
            box_xyxy=latest.box_xyxy,
            area_px=latest.area_px,
            viewpoint=better.viewpoint,
            viewpoint_area_px=better.viewpoint_area_px,
        )


def thin_out(points_cm: NDArray[np.int16], voxel_cm: int) -> tuple[NDArray[np.int16], int]:
    """Keep the first point of every voxel, with voxels doubled until at most `MAX_POINTS` are left.

    Args:
        points_cm: (Q, 3) int16.
        voxel_cm: the finest side to use.

    Returns:
        the kept points in their order, and the side used.
    """
    while len(points_cm):
        cell = points_cm.astype(np.int64) // voxel_cm + (1 << 15)
        key = (cell[:, 0] << 40) | (cell[:, 1] << 20) | cell[:, 2]
        _, first = np.unique(key, return_index=True)
        points_cm = points_cm[np.sort(first)]
        if len(points_cm) <= MAX_POINTS:
            break
        voxel_cm *= 2
    return points_cm.copy(), voxel_cm
