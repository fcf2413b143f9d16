"""Projection by hand, and round trips for any camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.geometry.camera import back_project, back_project_pixels, nearest_pixels, project
from my3dis.types import Camera

CAMERA = Camera(100.0, 200.0, 30.0, 20.0, 64, 48)


def test_projection_by_hand() -> None:
    """X right goes to larger columns, y down to larger rows; 0.5 m aside at 2 m is a quarter focal length."""
    points = np.array([[0.0, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, -0.1, 1.0]])
    uv, z = project(points, CAMERA)
    assert uv.tolist() == [[30.0, 20.0], [55.0, 20.0], [30.0, 0.0]]
    assert z.tolist() == [2.0, 2.0, 1.0]


def test_points_that_no_camera_sees_become_nan() -> None:
    """Points behind the camera, in its plane or not finite have no pixel."""
    points = np.array([[0, 0, -1], [0, 0, 0], [1, 1, 0], [np.nan, 0, 1], [0, np.inf, 1], [0, 0, np.inf]])
    uv, _ = project(points.astype(np.float32), CAMERA)
    assert np.isnan(uv).all()


def test_nearest_pixel_owns_half_a_pixel_to_each_side() -> None:
    """Pixel centres are at integers, so an image reaches from -0.5 to its size minus 0.5."""
    uv = np.array([[-0.5, -0.5], [-0.51, 0], [63.49, 47.49], [63.5, 0], [1.49, 1.5], [np.nan, 0]])
    flat, inside = nearest_pixels(uv, (48, 64))
    assert inside.tolist() == [True, False, True, False, True, False]
    assert flat.tolist() == [0, 0, 48 * 64 - 1, 0, 2 * 64 + 1, 0]


def test_depth_of_another_size_is_refused() -> None:
    """A depth image that does not fit its intrinsics raises a DataError that names both sizes."""
    with pytest.raises(DataError, match=r"64x48.*\(10, 10\)"):
        back_project(np.ones((10, 10), np.float32), CAMERA)


def test_points_of_another_shape_are_refused() -> None:
    """Homogeneous points are no (P, 3) array."""
    with pytest.raises(DataError, match=r"\(P, 3\)"):
        project(np.ones((2, 4)), CAMERA)


def test_back_projection_keeps_depth_and_holes() -> None:
    """The z of every point is the depth; a hole becomes the origin."""
    depth = np.full((48, 64), 2.0, np.float32)
    depth[3, 4] = 0.0
    points = back_project(depth, CAMERA)
    assert points.dtype == np.float32
    assert points[3, 4].tolist() == [0.0, 0.0, 0.0]
    assert points[20, 30].tolist() == [0.0, 0.0, 2.0]
    assert points[20, 40, 0] == pytest.approx(0.2)


@given(st.floats(50, 2000), st.floats(50, 2000), st.integers(2, 40), st.integers(2, 40), st.floats(0.2, 20))
def test_back_projection_inverts_projection(fx: float, fy: float, width: int, height: int, z: float) -> None:
    """Every pixel comes back to its own centre, whatever the camera and the depth."""
    camera = Camera(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height)
    points = back_project(np.full((height, width), z), camera).reshape(-1, 3)
    uv, depth = project(points, camera)
    flat, inside = nearest_pixels(uv, (height, width))
    assert inside.all()
    assert np.array_equal(flat, np.arange(width * height))
    again = back_project_pixels(uv, depth, camera)
    np.testing.assert_allclose(again, points, rtol=1e-9, atol=1e-9)
