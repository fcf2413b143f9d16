"""Points of a posed frame: where they are, what colour they have, what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.geometry.fusion import frame_points
from my3dis.types import Camera, Frame

CAMERA = Camera(50.0, 50.0, 19.5, 14.5, 40, 30)


def flat_frame(z: float = 2.0) -> Frame:
    color = np.zeros((30, 40, 3), np.uint8)
    color[:, 20:] = (200, 10, 20)
    pose = np.eye(4)
    pose[:3, 3] = (1.0, 2.0, 3.0)
    return Frame(
        index=0,
        name="0000",
        color=color,
        depth_m=np.full((30, 40), z, np.float32),
        color_camera=CAMERA,
        depth_camera=CAMERA,
        world_from_camera=pose,
    )


def test_points_lie_in_the_world_with_their_pixel_colours() -> None:
    """A wall 2 m ahead of a camera at z = 3 m is at z = 5 m, coloured as in the image."""
    xyz, color = frame_points(flat_frame(), spacing_m=0.02)
    assert len(xyz) == 30 * 40
    np.testing.assert_allclose(xyz[:, 2], 5.0, rtol=1e-6)
    assert xyz[:, 0].min() == pytest.approx(1.0 - 19.5 / 50 * 2)
    assert np.array_equal(color[:, 0] == 200, xyz[:, 0] > 1.0)


def test_dense_pixels_are_thinned() -> None:
    """Pixels 4 cm apart give every one of them at a spacing of 4 cm, and every fifth row at 40 cm."""
    assert len(frame_points(flat_frame(), spacing_m=0.04)[0]) == 30 * 40
    assert len(frame_points(flat_frame(), spacing_m=0.4)[0]) == 6 * 8


def test_holes_jumps_and_far_readings_are_left_out() -> None:
    """No point is made at a depth jump, without a reading, or beyond the range of a sensor for rooms."""
    depth = np.full((30, 40), 2.0, np.float32)
    depth[:, 20:] = 3.0
    depth[:5, :5] = 0.0
    depth[-5:, -5:] = 30.0
    xyz, _ = frame_points(replace(flat_frame(), depth_m=depth), spacing_m=0.02)
    z = xyz[:, 2] - 3.0
    assert set(np.unique(np.round(z, 3)).tolist()) == {2.0, 3.0}
    # Two columns on each side of the jump are gone.
    assert xyz[np.isclose(z, 2.0), 0].max() == pytest.approx(1.0 + (17 - 19.5) / 50 * 2)


def test_colour_of_another_size_and_view() -> None:
    """Colour is looked up with its own camera; points outside of it are grey."""
    narrow = Camera(200.0, 200.0, 39.5, 29.5, 80, 60)
    color = np.full((60, 80, 3), 77, np.uint8)
    xyz, found = frame_points(replace(flat_frame(), color=color, color_camera=narrow), spacing_m=0.02)
    inside = (np.abs(xyz[:, 0] - 1.0) < 39 / 200 * 2) & (np.abs(xyz[:, 1] - 2.0) < 29 / 200 * 2)
    assert (found[inside] == 77).all()
    assert (found[np.abs(xyz[:, 0] - 1.0) > 41 / 200 * 2] == 128).all()


def test_a_frame_without_pose_has_no_points() -> None:
    """What is needed and missing is said."""
    with pytest.raises(DataError, match="pose"):
        frame_points(replace(flat_frame(), world_from_camera=None), spacing_m=0.02)
