"""Where to look at a room from: upright, from above a corner, with what hides the inside left out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from my3dis.reporting.splat import ViewPoint, splat
from my3dis.types import SceneCloud

__all__ = ["Room", "RoomView", "prepare_room", "room_views", "visible_inside"]

_MOST_POINTS = 600_000
_SNAP_DEG = 12.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Room:
    """A cloud made ready for looking at.

    Attributes:
        point_index: (R,) int64 indices into the scene's cloud of the points that are drawn.
        xyz_m: (R, 3) float64, turned so that z is up and the walls lie along x and y.
        normal: (R, 3) float64, pointing to the side the cameras were on.
        color: (R, 3) uint8 or None.
        spacing_m: usual distance between neighbours.
    """

    point_index: NDArray[np.int64]
    xyz_m: NDArray[np.float64]
    normal: NDArray[np.float64]
    color: NDArray[np.uint8] | None
    spacing_m: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RoomView:
    """A viewpoint in the room's frame of reference, and what it is called."""

    title: str
    view: ViewPoint
    keep: NDArray[np.bool_]


def prepare_room(cloud: SceneCloud, world_from_cameras: NDArray[np.float64]) -> Room:
    """Thin a cloud, give it normals, and turn it upright with its walls along the axes.

    Args:
        cloud: the scene's points.
        world_from_cameras: (F, 4, 4) some camera poses, F may be 0: up is then z.
    """
    step = max(1, math.ceil(len(cloud) / _MOST_POINTS))
    index = np.arange(0, len(cloud), step)
    xyz = cloud.xyz_m[index].astype(np.float64)
    tree, spacing = _tree(xyz)
    normal = _oriented(cloud, xyz, _normals(cloud, index, xyz, tree), world_from_cameras)
    up = _up(world_from_cameras, normal)
    turned = _upright(xyz, up)
    return Room(
        point_index=index,
        xyz_m=xyz @ turned.T,
        normal=normal @ turned.T,
        color=None if cloud.color is None else cloud.color[index],
        spacing_m=spacing,
    )


def _tree(xyz: NDArray[np.float64]) -> tuple[cKDTree, float]:
    tree = cKDTree(xyz)
    if len(xyz) < 2:
        return tree, 0.01
    some = xyz[:: max(1, len(xyz) // 5000)]
    distance = np.asarray(tree.query(some, k=min(4, len(xyz)))[0])
    return tree, float(max(np.median(distance[:, -1]), 1e-4))


def _normals(
    cloud: SceneCloud, index: NDArray[np.int64], xyz: NDArray[np.float64], tree: cKDTree
) -> NDArray[np.float64]:
    if cloud.normal is not None:
        return cloud.normal[index].astype(np.float64)
    if cloud.triangles is not None and len(cloud.triangles):
        return _mesh_normals(cloud)[index]
    if len(xyz) < 3:
        return np.tile([0.0, 0.0, 1.0], (len(xyz), 1))
    around = np.asarray(tree.query(xyz, k=min(12, len(xyz)))[1])
    normals = np.empty_like(xyz)
    for start in range(0, len(xyz), 50_000):
        local = xyz[around[start : start + 50_000]]
        local = local - local.mean(axis=1, keepdims=True)
        _, vectors = np.linalg.eigh(np.einsum("pki,pkj->pij", local, local))
        normals[start : start + 50_000] = vectors[:, :, 0]
    return normals


def _mesh_normals(cloud: SceneCloud) -> NDArray[np.float64]:
    assert cloud.triangles is not None
    corners = cloud.xyz_m.astype(np.float64)[cloud.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(cloud), 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(
                cloud.triangles[:, corner], weights=face[:, axis], minlength=len(cloud)
            )
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def _oriented(
    cloud: SceneCloud,
    xyz: NDArray[np.float64],
    normal: NDArray[np.float64],
    world_from_cameras: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Make normals point to the side of the nearest camera, from where the surface was seen.

    Normals that come with the cloud or its triangles agree with each other: all are flipped or none.
    Estimated ones are flipped one by one.
    """
    given = cloud.normal is not None or cloud.triangles is not None
    if not len(world_from_cameras) and given:
        return normal
    centers = world_from_cameras[:, :3, 3] if len(world_from_cameras) else xyz.mean(axis=0)[None]
    _, nearest = cKDTree(centers).query(xyz)
    side = ((centers[nearest] - xyz) * normal).sum(axis=1)
    if given:
        return normal if np.median(side) >= 0 else -normal
    return np.asarray(normal * np.where(side < 0, -1.0, 1.0)[:, None])


def _up(world_from_cameras: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vector up: the cameras' mean up, settled on the floor's normal."""
    if not len(world_from_cameras):
        return np.array([0.0, 0.0, 1.0])
    up = -world_from_cameras[:, :3, 1].mean(axis=0)
    if np.linalg.norm(up) < 0.2:
        return np.array([0.0, 0.0, 1.0])
    up = up / np.linalg.norm(up)
    for width_deg in (35.0, 20.0, 10.0):
        cosine = normal @ up
        near = np.abs(cosine) > math.cos(math.radians(width_deg))
        if near.sum() < max(10, 0.01 * len(normal)):
            break
        mean = (normal[near] * np.sign(cosine[near])[:, None]).mean(axis=0)
        up = mean / np.linalg.norm(mean)
    axis = int(np.abs(up).argmax())
    snapped = np.zeros(3)
    snapped[axis] = math.copysign(1.0, up[axis])
    return snapped if float(up @ snapped) > math.cos(math.radians(_SNAP_DEG)) else up


def _upright(xyz: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation that turns up to z and the longer side of the footprint to x."""
    import cv2

    helper = np.eye(3)[int(np.abs(up).argmin())]
    first = np.cross(helper, up)
    first /= np.linalg.norm(first)
    second = np.cross(up, first)
    flat = np.stack([xyz @ first, xyz @ second], axis=1).astype(np.float32)
    (_, (width, height), degrees) = cv2.minAreaRect(flat)
    angle = math.radians(degrees if width >= height else degrees + 90.0)
    x_axis = math.cos(angle) * first + math.sin(angle) * second
    return np.stack([x_axis, np.cross(up, x_axis), up])


def visible_inside(room: Room, view: ViewPoint) -> NDArray[np.bool_]:
    """Return which points are drawn: those whose surface faces the viewer, so that walls in front vanish."""
    return np.asarray((room.normal * view.facing(room.xyz_m)).sum(axis=1) > 0.02)


def room_views(room: Room, important: NDArray[np.bool_], size: tuple[int, int]) -> tuple[RoomView, ...]:
    """Choose two oblique bird's eye views, from opposite sides, and one straight down.

    The first oblique view is the one of eight that shows most of the important points.

    Args:
        room: from `prepare_room`.
        important: (R,) points that should be seen, such as those of instances.
        size: (height, width) of the pictures in pixels.
    """
    small = (size[0] // 6, size[1] // 6)
    azimuths = [math.radians(22.5 + 45.0 * i) for i in range(8)]
    shown = []
    for azimuth in azimuths:
        view = _oblique(room, azimuth, small)
        seen = splat(room.xyz_m, view, room.spacing_m, visible_inside(room, view)).point
        shown.append(int(important[seen[seen >= 0]].sum()))
    best = azimuths[int(np.argmax(shown))]
    views = (
        ("from above", _oblique(room, best, size)),
        ("from the other side", _oblique(room, best + math.pi, size)),
        ("straight down", _plan(room, size)),
    )
    return tuple(RoomView(title=t, view=v, keep=visible_inside(room, v)) for t, v in views)


def _bounds(room: Room) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A few stray points must not shrink the room in the picture.
    low, high = np.percentile(room.xyz_m, [0.3, 99.7], axis=0)
    return low, np.maximum(high, low + 1e-3)


def _oblique(room: Room, azimuth: float, size: tuple[int, int], elevation_deg: float = 54.0) -> ViewPoint:
    """Return a perspective camera above the room that looks at its middle and fits it in the picture."""
    low, high = _bounds(room)
    middle = (low + high) / 2
    elevation = math.radians(elevation_deg)
    away = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    distance = 2.1 * float(np.linalg.norm(high - low))
    rotation = _looking(-away, np.array([0.0, 0.0, 1.0]))
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ (middle + distance * away)
    return _fitted(ViewPoint(camera_from_world=pose, width=size[1], height=size[0], scale=1.0), low, high)


def _plan(room: Room, size: tuple[int, int]) -> ViewPoint:
    """Return an orthographic camera that looks straight down."""
    low, high = _bounds(room)
    middle = (low + high) / 2
    rotation = _looking(np.array([0.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.0]))
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ np.array([middle[0], middle[1], high[2] + 1.0])
    view = ViewPoint(camera_from_world=pose, width=size[1], height=size[0], scale=1.0, orthographic=True)
    return _fitted(view, low, high)


def _looking(forward: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _fitted(view: ViewPoint, low: NDArray[np.float64], high: NDArray[np.float64]) -> ViewPoint:
    """Return the view with scale and centre set so that a box fills 94 % of the picture."""
    corners = np.array(
        [
            [(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
    )
    flat, _ = ViewPoint(
        camera_from_world=view.camera_from_world,
        width=view.width,
        height=view.height,
        scale=1.0,
        orthographic=view.orthographic,
        center_px=(0.0, 0.0),
    ).project(corners)
    least, most = flat.min(axis=0), flat.max(axis=0)
    extent = np.maximum(most - least, 1e-9)
    scale = float(0.94 * min(view.width / extent[0], view.height / extent[1]))
    center = np.array([(view.width - 1) / 2, (view.height - 1) / 2]) - scale * (least + most) / 2
    return ViewPoint(
        camera_from_world=view.camera_from_world,
        width=view.width,
        height=view.height,
        scale=scale,
        orthographic=view.orthographic,
        center_px=(float(center[0]), float(center[1])),
    )
