"""Outlines of instances that no track stands for: where a frame's depth confirms their points."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.reporting.viewer_projection import PointSights, sees_points
from my3dis.types import Camera, Frame, InstanceSet

CAMERA = Camera(fx=100, fy=100, cx=49.5, cy=39.5, width=100, height=80)
SPACING_M = 0.02


def frame(depth_m: float = 2.0, **changes: object) -> Frame:
    values = {
        "index": 0,
        "name": "0",
        "color": np.zeros((80, 100, 3), np.uint8),
        "depth_m": np.full((80, 100), depth_m, np.float32),
        "color_camera": CAMERA,
        "depth_camera": CAMERA,
        "world_from_camera": np.eye(4),
    }
    return Frame(**(values | changes))


@pytest.fixture
def sights() -> PointSights:
    """A square of 0.4 m straight ahead at 2 m, and another behind the camera."""
    x, y = np.meshgrid(np.arange(-0.2, 0.2, SPACING_M), np.arange(-0.2, 0.2, SPACING_M))
    ahead = np.stack([x.ravel(), y.ravel(), np.full(x.size, 2.0)], axis=1).astype(np.float32)
    xyz = np.concatenate([ahead, ahead * [1, 1, -1]]).astype(np.float32)
    n = len(ahead)
    instances = InstanceSet(
        instance_id=np.array([5, 6], np.int32),
        level=np.array([2, 2], np.int16),
        parent_id=np.full(2, -1, np.int32),
        label=np.full(2, -1, np.int32),
        score=np.ones(2, np.float32),
        point_offsets=np.array([0, n, 2 * n]),
        point_index=np.arange(2 * n),
        n_points=2 * n,
        cloud_digest="d",
    )
    return PointSights(xyz, instances, np.array([0, 1]), SPACING_M)


def test_only_what_depth_confirms_is_seen(sights: PointSights) -> None:
    """The square ahead is seen, the one behind is not; with something in front neither is."""
    areas = sights.areas(frame())
    # 400 points at 2 m: the sum of 1 / distance² is about 400 / 4.
    assert areas[0] == pytest.approx(100, rel=0.05)
    assert areas[1] == 0
    assert sights.areas(frame(1.0)).tolist() == [0, 0]


def test_the_outline_is_that_of_the_square(sights: PointSights) -> None:
    """At 50 pixels a metre it is 20 pixels wide round the middle, and one polygon in spite of gaps."""
    shot = sights.shots(frame(), np.array([0]), 3, (80, 100))[0]
    assert shot.projected
    assert shot.picture == 3
    np.testing.assert_allclose(shot.box, (40, 30, 60, 50), atol=1)
    assert len(shot.outline) == 1
    half_px = np.array(shot.outline[0])
    np.testing.assert_allclose(half_px.min(axis=0), (80, 60), atol=3)
    np.testing.assert_allclose(half_px.max(axis=0), (119, 99), atol=3)
    assert sights.shots(frame(), np.array([1]), 3, (80, 100)) == {}


def test_frames_without_depth_or_pose_are_not_asked() -> None:
    """A frame needs depth, its camera and a rigid pose."""
    assert sees_points(frame())
    assert not sees_points(frame(depth_m=2.0, world_from_camera=None))
    assert not sees_points(frame(world_from_camera=np.diag([2.0, 1, 1, 1])))
    without = Frame(index=0, name="0", color=np.zeros((4, 4, 3), np.uint8), world_from_camera=np.eye(4))
    assert not sees_points(without)
