"""How well depth, carried by poses into other frames and met by the mesh, agrees with what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.check.evidence import Evidence, View
from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.corrections import Corrections
from my3dis.geometry.camera import back_project_pixels, nearest_pixels, project
from my3dis.geometry.transforms import invert_rigid, transform_points
from my3dis.types import Camera

__all__ = ["Agreement", "Differences", "measure"]

_CELL = 8


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of depth: metres, share of the measured depth, and slack for depth in coarse steps."""

    metres: NDArray[np.float64]
    share: NDArray[np.float64]
    slack_m: float = 0.0

    @property
    def median_m(self) -> float:
        """Median difference in metres."""
        return float(np.median(self.metres))

    def agreement(self, options: CheckOptions) -> float:
        """Return the share of points that agree."""
        near = self.metres < options.error_m + self.slack_m
        return float(np.mean(near | (self.share < options.relative_error / 2)))

    def fit(self, options: CheckOptions) -> bool:
        """Whether they are small enough."""
        return bool(
            self.median_m < options.error_m + self.slack_m
            and np.median(self.share) < max(options.relative_error, self.slack_m)
            and self.agreement(options) > options.agreement
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Agreement:
    """What was found for one set of corrections.

    Attributes:
        between: differences between frames; None when too few points were compared.
        mesh: differences between mesh and depth; None without a mesh or when too few met.
        pairs: pairs of frames that had something to compare.
        depth_m: median reading.
        way_m: diagonal of the camera positions.
        overlap: share of the carried points that fell on a reading.
        valid_poses: whether any frame has a pose.
    """

    between: Differences | None
    mesh: Differences | None
    pairs: int
    depth_m: float
    way_m: float
    overlap: float
    valid_poses: bool

    def frames_fit(self, options: CheckOptions) -> bool:
        """Whether frames agree among themselves at depths and ways that a room has."""
        return self.between is not None and self.between.fit(options) and self.plausible(options)

    def plausible(self, options: CheckOptions) -> bool:
        """Whether the median reading and the camera's way are those of a room."""
        return self.has_depth_of_a_room(options) and self.way_m <= options.way_m

    def has_depth_of_a_room(self, options: CheckOptions) -> bool:
        """Whether the median reading is one of a room."""
        near, far = options.depth_range_m
        return near <= self.depth_m <= far

    def mesh_fits(self, options: CheckOptions) -> bool | None:
        """Whether the mesh agrees with depth; None when there is none to judge."""
        return None if self.mesh is None else self.mesh.fit(options)


def measure(
    evidence: Evidence, corrections: Corrections, options: CheckOptions, *, thin: int = 1
) -> Agreement:
    """Compare frames with each other and with the mesh, after corrections.

    Args:
        evidence: what to compare.
        corrections: what is done to it first.
        options: how few points are too few.
        thin: use every n-th point only.
    """
    vertices = None if evidence.vertices_m is None else evidence.vertices_m[::thin]
    between: list[Differences | None] = []
    mesh: list[Differences | None] = []
    carried, places = 0, []
    for first, second in evidence.pairs:
        here, there = _Placed.of(first, corrections), _Placed.of(second, corrections)
        pixels, z = (values[::thin] for values in first.readings)
        carried += len(z)
        between.append(_carry(here, there, (pixels, z * corrections.depth_scale)))
        places += [] if here.pose is None else [here.pose[:3, 3]]
        if vertices is not None:
            mesh.append(_mesh_in(vertices, here))
    least = max(50, options.least_points // thin)
    met = sum(len(piece.metres) for piece in between if piece is not None)
    return Agreement(
        between=_joined(between, least),
        mesh=_joined(mesh, min(least, 200)),
        pairs=sum(piece is not None for piece in between),
        depth_m=_median_depth(evidence, corrections),
        way_m=float(np.linalg.norm(np.ptp(np.stack(places), axis=0))) if places else 0.0,
        overlap=met / max(carried, 1),
        valid_poses=bool(places),
    )


def _joined(pieces: Sequence[Differences | None], least: int) -> Differences | None:
    """Return all differences as one, or None when they are too few to judge by."""
    some = [piece for piece in pieces if piece is not None]
    if sum(len(piece.metres) for piece in some) < least:
        return None
    return Differences(
        np.concatenate([p.metres for p in some]),
        np.concatenate([p.share for p in some]),
        max(p.slack_m for p in some),
    )


def _median_depth(evidence: Evidence, corrections: Corrections) -> float:
    medians = [view.median_m for view in evidence.views if np.isfinite(view.median_m)]
    return float(np.median(medians)) * corrections.depth_scale if medians else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A view with its depth camera, its ``world_from_camera`` or None, and its factor of depth, corrected."""

    view: View
    camera: Camera
    pose: NDArray[np.float64] | None
    depth_scale: float

    @classmethod
    def of(cls, view: View, corrections: Corrections) -> _Placed:
        return cls(view, *view.corrected(corrections), corrections.depth_scale)

    @property
    def slack_m(self) -> float:
        """Half a step of depth where steps are coarser than a centimetre, such as whole metres, else 0."""
        step = self.view.step_m * self.depth_scale
        return step / 2 if 0.01 < step < 1.5 else 0.0


def _carry(
    a: _Placed, b: _Placed, readings: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Differences | None:
    """Carry depth of a into b; None when nothing of it is measured there."""
    pixels, z = readings
    if a.pose is None or b.pose is None or not len(z):
        return None
    met = _meet(transform_points(a.pose, back_project_pixels(pixels, z, a.camera)), b)
    if met is None:
        return None
    _, carried, measured = met
    return _difference(carried, measured, a.slack_m)


def _meet(
    points_world_m: NDArray[np.float64], to: _Placed
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return flat pixel, own depth and measured depth of the points that a view has a reading for."""
    if to.pose is None:
        return None
    local = transform_points(invert_rigid(to.pose), points_world_m)
    uv, z = project(local, to.camera)
    flat, inside = nearest_pixels(uv, (to.camera.height, to.camera.width))
    measured = to.view.depth_m.ravel()[flat].astype(np.float64) * to.depth_scale
    both = inside & (measured > 0)
    return (flat[both], z[both], measured[both]) if both.any() else None


def _difference(carried: NDArray[np.float64], measured: NDArray[np.float64], slack_m: float) -> Differences:
    metres = np.abs(carried - measured)
    return Differences(metres, metres / measured, slack_m)


def _mesh_in(vertices_m: NDArray[np.float64], to: _Placed) -> Differences | None:
    """Compare the nearest vertex in each cell of 8x8 pixels with depth: those behind it may be hidden."""
    met = _meet(vertices_m, to)
    if met is None:
        return None
    flat, z, measured = met
    width = to.camera.width
    cell = (flat // width // _CELL) * (width // _CELL + 1) + flat % width // _CELL
    order = np.lexsort((z, cell))
    nearest = order[np.unique(cell[order], return_index=True)[1]]
    return _difference(z[nearest], measured[nearest], to.slack_m)
