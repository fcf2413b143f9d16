"""The point renderer."""

from __future__ import annotations

import numpy as np

from my3dis.reporting.splat import ViewPoint, paint, shading, splat


def view(**changes: object) -> ViewPoint:
    values = {"camera_from_world": np.eye(4), "width": 21, "height": 11, "scale": 10.0}
    return ViewPoint(**(values | changes))


def test_the_nearer_point_wins_whatever_the_order() -> None:
    """Two points on one ray: the nearer is seen, listed first or last."""
    far_near = np.array([[0, 0, 2.0], [0, 0, 1.0]])
    assert splat(far_near, view(), 1e-3).point[5, 10] == 1
    assert splat(far_near[::-1], view(), 1e-3).point[5, 10] == 0
    assert splat(far_near, view(), 1e-3).depth_m[5, 10] == 1.0


def test_points_land_where_a_pinhole_puts_them() -> None:
    """Half a metre to the right at 1 m is five pixels right of the middle with a focal length of 10 px."""
    seen = splat(np.array([[0.5, 0.0, 1.0]]), view(), 1e-3)
    assert np.argwhere(seen.point >= 0).tolist() == [[5, 15]]


def test_orthographic_views_ignore_distance() -> None:
    """The same offset lands on the same pixel at any depth."""
    flat = view(orthographic=True)
    near = splat(np.array([[0.5, 0.2, 1.0]]), flat, 1e-3)
    far = splat(np.array([[0.5, 0.2, 9.0]]), flat, 1e-3)
    assert np.argwhere(near.point >= 0).tolist() == np.argwhere(far.point >= 0).tolist() == [[7, 15]]


def test_what_is_behind_or_left_out_is_not_drawn() -> None:
    """Points behind the camera and points not kept leave no trace; the kept keep their index."""
    points = np.array([[0, 0, -1.0], [0, 0, 1.0], [0, 0, 2.0]])
    seen = splat(points, view(), 1e-3, keep=np.array([True, False, True]))
    assert seen.point[5, 10] == 2
    assert (seen.point >= 0).sum() == 1


def test_splats_close_a_surface() -> None:
    """A wall of points 10 cm apart has no holes when it is drawn with that spacing."""
    x, y = np.meshgrid(np.arange(-2, 2, 0.1), np.arange(-2, 2, 0.1))
    wall = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
    assert (splat(wall, view(scale=30.0, width=40, height=40), 0.1).point >= 0).all()


def test_shading_darkens_behind_an_edge_and_is_even_on_a_plane() -> None:
    """A step in depth casts a dark line on the farther side; a plane that faces the viewer is bright."""
    x, y = np.meshgrid(np.arange(-2, 2, 0.05), np.arange(-2, 2, 0.05))
    depth = np.where(x < 0, 1.0, 2.0)
    points = np.stack([x.ravel() * depth.ravel(), y.ravel() * depth.ravel(), depth.ravel()], axis=1)
    camera = view(scale=20.0, width=60, height=40)
    seen = splat(points, camera, 0.1)
    light = shading(seen, camera, points)
    edge = int(np.argmax(seen.depth_m[20] > 1.5))
    assert light[20, edge] < 0.9
    assert light[20, edge - 5] > 0.99
    assert light[20, edge + 10] > 0.99


def test_paint_averages_and_keeps_the_ground_clear() -> None:
    """Pixels without points are transparent; a covered pixel has its point's colour times the light."""
    seen = splat(np.array([[0.0, 0.0, 1.0]]), view(width=20, height=20), 0.5)
    colors = np.array([[200, 100, 50]], np.uint8)
    image = paint(seen, colors, np.full(seen.point.shape, 0.5, np.float32), 2)
    assert image.shape == (10, 10, 4)
    assert image[0, 0, 3] == 0
    assert image[5, 5].tolist() == [100, 50, 25, 255]


def test_rendering_is_deterministic() -> None:
    """The same points give the same buffer, ties between equal depths included."""
    points = np.random.default_rng(0).normal((0, 0, 4), size=(4000, 3)).round(1)
    one, two = (splat(points, view(width=50, height=50, scale=30.0), 0.1) for _ in range(2))
    assert (one.point == two.point).all()
    twice = np.repeat(np.array([[0.0, 0.0, 1.0]]), 2, axis=0)
    assert splat(twice, view(), 1e-3).point[5, 10] == 0
