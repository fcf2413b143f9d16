"""Where rooms are looked at from."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.reporting.splat import splat
from my3dis.reporting.viewpoints import prepare_room, room_views, visible_inside
from my3dis.types import SceneCloud


def hollow_room(up: int) -> tuple[SceneCloud, np.ndarray]:
    """Return the inside of a 4 m x 3 m x 2.5 m box without normals, and level cameras in its middle."""
    size = np.array([4.0, 3.0, 2.5])
    sides = []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        u, v = np.meshgrid(*(np.arange(0, size[a] + 1e-9, 0.1) for a in others))
        for value in (0.0, size[axis]):
            side = np.empty((u.size, 3))
            side[:, axis] = value
            side[:, others[0]], side[:, others[1]] = u.ravel(), v.ravel()
            sides.append(side)
    xyz = np.concatenate(sides)
    turn = np.eye(3) if up == 2 else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    poses = []
    for yaw in np.linspace(0, 2 * np.pi, 6, endpoint=False):
        pose = np.eye(4)
        forward = np.array([np.cos(yaw), np.sin(yaw), 0])
        down = np.array([0, 0, -1.0])
        pose[:3, :3] = turn @ np.stack([np.cross(down, forward), down, forward], axis=1)
        pose[:3, 3] = turn @ (size / 2)
        poses.append(pose)
    points = (xyz @ turn.T).astype(np.float32)
    return SceneCloud(xyz_m=points, digest="box"), np.stack(poses)


@pytest.mark.parametrize("up", [2, 1])
def test_rooms_are_turned_upright_with_the_long_side_along_x(up: int) -> None:
    """Whatever axis the scan calls up, the prepared room is 4 x 3 x 2.5 with z up."""
    cloud, poses = hollow_room(up)
    room = prepare_room(cloud, poses)
    assert np.allclose(np.ptp(room.xyz_m, axis=0), [4.0, 3.0, 2.5], atol=1e-3)
    assert room.spacing_m == pytest.approx(0.1, rel=0.5)


def test_normals_point_inwards_and_the_ceiling_vanishes_from_above() -> None:
    """Seen from above the floor is drawn and the ceiling is not, although the cloud has no normals."""
    cloud, poses = hollow_room(2)
    room = prepare_room(cloud, poses)
    plan = room_views(room, np.ones(len(room.xyz_m), bool), (60, 80))[2]
    height = room.xyz_m[:, 2] - room.xyz_m[:, 2].min()
    middle = (np.abs(room.xyz_m - np.median(room.xyz_m, axis=0))[:, :2] < 1.0).all(axis=1)
    assert not plan.keep[middle & (height > 2.4)].any()
    assert plan.keep[middle & (height < 0.1)].all()
    seen = splat(room.xyz_m, plan.view, room.spacing_m, plan.keep).point
    assert (seen[20:40, 30:50] >= 0).all()


def test_two_oblique_views_from_opposite_sides_show_the_floor() -> None:
    """The chosen views look into the room: most of what they show is floor or far wall."""
    cloud, poses = hollow_room(2)
    room = prepare_room(cloud, poses)
    floor = room.xyz_m[:, 2] < room.xyz_m[:, 2].min() + 0.05
    views = room_views(room, floor, (90, 120))
    assert [v.title for v in views] == ["from above", "from the other side", "straight down"]
    for oblique in views[:2]:
        seen = splat(room.xyz_m, oblique.view, room.spacing_m, oblique.keep).point
        assert floor[seen[seen >= 0]].mean() > 0.25
        assert (oblique.keep == visible_inside(room, oblique.view)).all()


def test_the_first_view_shows_what_matters() -> None:
    """With only one wall of importance the first view looks at it, not at its back."""
    cloud, poses = hollow_room(2)
    room = prepare_room(cloud, poses)
    wall = room.xyz_m[:, 0] < room.xyz_m[:, 0].min() + 0.05
    views = room_views(room, wall, (90, 120))
    shown = [
        wall[(s := splat(room.xyz_m, v.view, room.spacing_m, v.keep).point)[s >= 0]].sum() for v in views[:2]
    ]
    assert shown[0] > 3 * shown[1]


def test_clouds_without_poses_or_with_few_points_are_drawn_too() -> None:
    """Without poses z is up; one point or two make a room as well."""
    for n in (1, 2, 5):
        xyz = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        room = prepare_room(SceneCloud(xyz_m=xyz, digest="few"), np.zeros((0, 4, 4)))
        assert len(room_views(room, np.ones(n, bool), (30, 40))) == 3
