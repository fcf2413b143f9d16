"""Check that poses, depth, intrinsics and mesh of a scan belong together.

Depth of one frame, carried into another by the poses, must meet the depth that is measured there. A wrong
pose convention, depth unit, focal length or alignment each breaks that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.geometry.camera import back_project_pixels, nearest_pixels, project
from my3dis.geometry.transforms import invert_rigid, transform_points
from my3dis.protocols import SceneReader
from my3dis.types import Frame, SceneCloud

__all__ = ["CheckOptions", "ScanCheck", "check_scan"]

_MOVED_M, _MOVED_RADIANS = 0.2, np.radians(8.0)
_STEP = 4
_CELL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What passes for a fit.

    Attributes:
        pairs: pairs of frames that are compared.
        error_m: largest median difference of depth.
        relative_error: largest median difference as a share of depth; catches a depth unit that is too
            small, where all differences shrink with it.
        agreement: smallest share of points that agree.
        least_points: fewer compared points than this cannot be judged.
        mesh_vertices: vertices that are compared with depth.
    """

    pairs: int = 8
    error_m: float = 0.05
    relative_error: float = 0.03
    agreement: float = 0.5
    least_points: int = 500
    mesh_vertices: int = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCheck:
    """How well a scan fits together.

    Attributes:
        median_error_m: median difference between carried and measured depth; NaN when not judged.
        agreement: share of points that agree within the tolerance; NaN when not judged.
        pairs: pairs of frames that were compared.
        mesh_agreement: share of mesh vertices that agree with depth; None without a mesh or when not judged.
        fits: whether all is well, or nothing could be judged.
        message: a sentence for people.
    """

    median_error_m: float
    agreement: float
    pairs: int
    mesh_agreement: float | None
    fits: bool
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class _Differences:
    """Differences of depth: metres, and as a share of the depth."""

    metres: NDArray[np.float64]
    share: NDArray[np.float64]

    def agreement(self, options: CheckOptions) -> float:
        return float(np.mean((self.metres < options.error_m) | (self.share < options.relative_error / 2)))

    def fit(self, options: CheckOptions) -> bool:
        return bool(
            np.median(self.metres) < options.error_m
            and np.median(self.share) < options.relative_error
            and self.agreement(options) > options.agreement
        )


def check_scan(reader: SceneReader, frames: Sequence[int], options: CheckOptions | None = None) -> ScanCheck:
    """Compare depth between frames, and the mesh with depth, on a few frames of a posed RGB-D scan.

    Args:
        reader: the scan.
        frames: the selected frame indices, ascending; partners may lie between them.
        options: what passes for a fit.

    Raises:
        DataError: if a frame or the mesh cannot be read.
    """
    options = options or CheckOptions()
    if not reader.overview.is_posed_rgbd:
        return _unjudged("not checked: the scan has no poses or no depth")
    cloud = reader.cloud() if reader.overview.has_cloud else None
    vertices = None if cloud is None else _sample(cloud, options.mesh_vertices)
    between, with_mesh, ways = [], [], []
    for first, second in _pairs(reader, frames, options.pairs):
        between.append(_carry(first, second))
        ways.append(_way(first, second))
        if vertices is not None:
            with_mesh.append(_mesh_in(vertices, first))
    frames_differ, mesh_differs = _joined(between, options), _joined(with_mesh, options)
    if frames_differ is None:
        if mesh_differs is not None and not mesh_differs.fit(options):
            return _verdict(mesh_differs, 0, mesh_differs, False, options)
        return _without_overlap(ways)
    fits = frames_differ.fit(options) and (mesh_differs is None or mesh_differs.fit(options))
    pairs = sum(d is not None for d in between)
    return _verdict(frames_differ, pairs, mesh_differs, fits, options)


def _joined(pieces: Sequence[_Differences | None], options: CheckOptions) -> _Differences | None:
    """Return all differences as one, or None when they are too few to judge by."""
    some = [piece for piece in pieces if piece is not None]
    if sum(len(piece.metres) for piece in some) < options.least_points:
        return None
    return _Differences(np.concatenate([p.metres for p in some]), np.concatenate([p.share for p in some]))


def _way(a: Frame, b: Frame) -> tuple[float, float]:
    """Return how far the camera moved between two frames, and how far the first one sees, in metres."""
    assert a.world_from_camera is not None
    assert b.world_from_camera is not None
    assert a.depth_m is not None
    way = float(np.linalg.norm(a.world_from_camera[:3, 3] - b.world_from_camera[:3, 3]))
    readings = a.depth_m[a.depth_m > 0]
    return way, float(np.median(readings)) if readings.size else np.inf


def _without_overlap(ways: Sequence[tuple[float, float]]) -> ScanCheck:
    """Say what it means that frames show nothing in common: a way of metres past depths of centimetres?"""
    way, depth = np.median(np.array(ways), axis=0) if ways else (0.0, np.inf)
    if way > depth:
        return _unjudged(
            f"poses and depth do not fit together: the camera moves {way:.3g} m between frames that see "
            f"{depth:.3g} m far, and they show nothing in common; check the units of poses and depth",
            fits=False,
        )
    return _unjudged("poses and depth could not be judged: the frames compared overlap too little")


def _unjudged(message: str, *, fits: bool = True) -> ScanCheck:
    return ScanCheck(
        median_error_m=float("nan"),
        agreement=float("nan"),
        pairs=0,
        mesh_agreement=None,
        fits=fits,
        message=message,
    )


def _verdict(
    between: _Differences, pairs: int, mesh: _Differences | None, fits: bool, options: CheckOptions
) -> ScanCheck:
    median, agreement = float(np.median(between.metres)), between.agreement(options)
    mesh_agreement = None if mesh is None else mesh.agreement(options)
    figures = f"median difference {median * 1000:.1f} mm, {agreement:.0%} agree on {pairs} pairs of frames"
    if mesh_agreement is not None:
        figures += f"; {mesh_agreement:.0%} of mesh vertices agree with depth"
    if fits:
        message = f"poses, depth and intrinsics fit together: {figures}"
    elif pairs and between.fit(options):
        message = (
            f"the mesh does not fit poses and depth ({figures}): expected both in one frame of reference; "
            "check the alignment of the mesh"
        )
    else:
        message = (
            f"poses, depth and intrinsics do not fit together: {figures}; expected under "
            f"{options.error_m * 1000:.0f} mm and over {options.agreement:.0%}; check the pose convention "
            "(camera-to-world, OpenCV axes, metres), the depth unit and the intrinsics"
        )
    return ScanCheck(
        median_error_m=median,
        agreement=agreement,
        pairs=pairs,
        mesh_agreement=mesh_agreement,
        fits=fits,
        message=message,
    )


def _usable(frame: Frame) -> bool:
    return (
        frame.world_from_camera is not None and frame.depth_m is not None and frame.depth_camera is not None
    )


def _pairs(reader: SceneReader, frames: Sequence[int], wanted: int) -> Iterator[tuple[Frame, Frame]]:
    """Yield pairs of frames spread over the selection, far enough apart that a wrong pose shows."""
    invalid = set(reader.overview.invalid_poses)
    posed = [i for i in frames if i not in invalid]
    spread = np.unique(np.linspace(0, len(posed) - 1, min(wanted, len(posed))).round().astype(int))
    gap = 1
    for position in spread:
        first = reader.frame(posed[position])
        if not _usable(first):
            continue
        while True:
            forwards = first.index + gap < len(reader)
            other = first.index + gap if forwards else first.index - gap
            if other < 0:
                break
            second = reader.frame(other)
            moved = _usable(second) and _has_moved(first, second)
            # The gap found for one pair serves the next, so that few frames are read in all.
            if moved or gap >= 64 or gap * 2 >= len(reader):
                if _usable(second):
                    yield first, second
                break
            gap *= 2


def _has_moved(a: Frame, b: Frame) -> bool:
    assert a.world_from_camera is not None
    assert b.world_from_camera is not None
    moved = float(np.linalg.norm(a.world_from_camera[:3, 3] - b.world_from_camera[:3, 3]))
    turned = a.world_from_camera[:3, :3].T @ b.world_from_camera[:3, :3]
    angle = float(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)))
    return moved >= _MOVED_M or angle >= _MOVED_RADIANS


def _carry(a: Frame, b: Frame) -> _Differences | None:
    """Carry every fourth pixel of a's depth into b; None when nothing of it is measured there."""
    assert a.depth_m is not None
    assert a.depth_camera is not None
    assert a.world_from_camera is not None
    z = a.depth_m[::_STEP, ::_STEP].astype(np.float64)
    y, x = np.nonzero(z > 0)
    pixels = np.stack([x * _STEP, y * _STEP], axis=1).astype(np.float64)
    points = transform_points(a.world_from_camera, back_project_pixels(pixels, z[y, x], a.depth_camera))
    met = _meet(points, b)
    if met is None:
        return None
    _, carried, measured = met
    return _difference(carried, measured)


def _meet(
    points_world_m: NDArray[np.float64], frame: Frame
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return flat pixel, own depth and measured depth of the points that a frame has a reading for."""
    assert frame.depth_m is not None
    assert frame.depth_camera is not None
    assert frame.world_from_camera is not None
    local = transform_points(invert_rigid(frame.world_from_camera), points_world_m)
    uv, z = project(local, frame.depth_camera)
    flat, inside = nearest_pixels(uv, (frame.depth_camera.height, frame.depth_camera.width))
    measured = frame.depth_m.ravel()[flat].astype(np.float64)
    both = inside & (measured > 0)
    if not both.any():
        return None
    return flat[both], z[both], measured[both]


def _difference(carried: NDArray[np.float64], measured: NDArray[np.float64]) -> _Differences:
    metres = np.abs(carried - measured)
    return _Differences(metres, metres / measured)


def _sample(cloud: SceneCloud, n: int) -> NDArray[np.float64]:
    every = max(1, len(cloud) // n)
    return cloud.xyz_m[::every].astype(np.float64)


def _mesh_in(vertices_m: NDArray[np.float64], frame: Frame) -> _Differences | None:
    """Compare the nearest vertex in each cell of 8x8 pixels with depth: those behind it may be hidden."""
    met = _meet(vertices_m, frame)
    if met is None:
        return None
    flat, z, measured = met
    assert frame.depth_camera is not None
    width = frame.depth_camera.width
    cell = (flat // width // _CELL) * (width // _CELL + 1) + flat % width // _CELL
    order = np.lexsort((z, cell))
    first = np.unique(cell[order], return_index=True)[1]
    nearest = order[first]
    return _difference(z[nearest], measured[nearest])
