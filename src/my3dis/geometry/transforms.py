"""Rigid transforms as (4, 4) matrices; ``a_from_b`` maps points of frame of reference b into a."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["compose", "invert_rigid", "is_rigid", "transform_points"]

Real = TypeVar("Real", np.float32, np.float64)


def is_rigid(a_from_b: NDArray[np.floating], *, tolerance: float = 1e-3) -> bool:
    """Whether a matrix is a rotation with a translation: finite, orthonormal, right-handed, last row 0 0 0 1.

    Args:
        a_from_b: any array; only (4, 4) can be rigid.
        tolerance: largest entry of ``R^T R - I`` and of the last row's error.
    """
    if a_from_b.shape != (4, 4) or not np.isfinite(a_from_b).all():
        return False
    rotation = a_from_b[:3, :3].astype(np.float64)
    orthonormal = float(np.abs(rotation.T @ rotation - np.eye(3)).max()) <= tolerance
    last_row = float(np.abs(a_from_b[3] - np.array([0.0, 0.0, 0.0, 1.0])).max()) <= tolerance
    return bool(orthonormal and last_row and np.linalg.det(rotation) > 0)


def invert_rigid(a_from_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``b_from_a`` by transposing the rotation, exact where a general inverse loses digits.

    Raises:
        DataError: if the matrix is not rigid (see `is_rigid`).
    """
    if not is_rigid(a_from_b):
        raise DataError(
            "invert_rigid: expected a finite (4, 4) rotation with translation, found "
            f"{np.array2string(np.asarray(a_from_b), precision=3, max_line_width=1000)}; check the pose file"
        )
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = a_from_b[:3, :3].T
    b_from_a[:3, 3] = -b_from_a[:3, :3] @ a_from_b[:3, 3]
    return b_from_a


def compose(first: NDArray[np.float64], *others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chain transforms as they are read: ``compose(a_from_b, b_from_c)`` is ``a_from_c``."""
    result = first
    for other in others:
        result = result @ other
    return result


def transform_points(a_from_b: NDArray[np.float64], points_b_m: NDArray[Real]) -> NDArray[Real]:
    """Map (..., 3) points of b into a; the dtype of the points is kept."""
    rotation = a_from_b[:3, :3].astype(points_b_m.dtype)
    shift = a_from_b[:3, 3].astype(points_b_m.dtype)
    moved = np.empty_like(points_b_m)
    # Column by column: a (P, 3) by (3, 3) matrix product is far slower, as BLAS is made for large matrices.
    x, y, z = points_b_m[..., 0], points_b_m[..., 1], points_b_m[..., 2]
    for axis in range(3):
        out = moved[..., axis]
        np.multiply(x, rotation[axis, 0], out=out)
        out += y * rotation[axis, 1]
        out += z * rotation[axis, 2]
        out += shift[axis]
    return moved
