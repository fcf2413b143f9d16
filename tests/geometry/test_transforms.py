"""Rigid transforms: inverse, composition and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from my3dis.errors import DataError
from my3dis.geometry.transforms import compose, invert_rigid, is_rigid, transform_points


def rigid(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
    matrix[:3, 3] = shift
    return matrix


ANGLES = st.tuples(*[st.floats(-3.1, 3.1)] * 3)
SHIFTS = st.tuples(*[st.floats(-50, 50)] * 3)


def test_quarter_turn_by_hand() -> None:
    """A quarter turn about z takes x to y; then the translation is added."""
    a_from_b = rigid((0, 0, np.pi / 2), (1, 2, 3))
    moved = transform_points(a_from_b, np.array([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(moved, [[1.0, 3.0, 3.0]], atol=1e-12)


@given(ANGLES, SHIFTS)
def test_inverse_undoes_the_transform(angles: tuple, shift: tuple) -> None:
    """The inverse equals the general matrix inverse, and both orders compose to the identity."""
    a_from_b = rigid(angles, shift)
    b_from_a = invert_rigid(a_from_b)
    np.testing.assert_allclose(b_from_a, np.linalg.inv(a_from_b), atol=1e-9)
    np.testing.assert_allclose(compose(a_from_b, b_from_a), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(compose(b_from_a, a_from_b, b_from_a), b_from_a, atol=1e-9)


@given(ANGLES, SHIFTS)
def test_distances_are_kept(angles: tuple, shift: tuple) -> None:
    """Points keep their distances and their dtype, whatever the number of axes."""
    points = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    moved = transform_points(rigid(angles, shift), points)
    assert moved.dtype == np.float32
    assert moved.shape == points.shape
    before = np.linalg.norm(points[0, 0] - points[1, 3])
    assert np.linalg.norm(moved[0, 0] - moved[1, 3]) == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize(
    "broken",
    [
        np.full((4, 4), np.nan),
        np.full((4, 4), np.inf),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([2.0, 1.0, 1.0, 1.0]),
        np.vstack([np.eye(4)[:3], [0, 0, 0.5, 1]]),
        np.eye(3),
    ],
    ids=["nan", "inf", "mirror", "scale", "perspective", "3x3"],
)
def test_what_is_no_pose_is_refused(broken: np.ndarray) -> None:
    """Poses that are not finite, mirrored, scaled or projective are not rigid and have no inverse here."""
    assert not is_rigid(broken)
    with pytest.raises(DataError, match="check the pose"):
        invert_rigid(broken)


def test_poses_from_text_files_are_rigid_enough() -> None:
    """Six digits of a rotation, as pose files have, pass."""
    assert is_rigid(np.round(rigid((0.3, -1.2, 2.2), (1, 2, 3)), 5))
