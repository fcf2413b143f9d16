"""Judge camera poses: which are rigid motions, and straighten those that were written with few digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["OPENCV_FROM_OPENGL", "from_quaternion", "valid_poses", "world_change"]

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Right-multiplied to ``world_from_camera``: a camera with y up and z backwards becomes one of ours."""

_RIGID_TOLERANCE = 1e-2
# Rotations are written with few digits; those farther off than this are replaced by the nearest
# rotation, since later steps invert poses by transposing them.
_ROUNDING_TOLERANCE = 5e-4


def valid_poses(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 4, 4) poses, all NaN where one is no rigid motion; never fails.

    A pose is refused where it is not finite, its rotation is more than 1e-2 off orthonormal or mirrored,
    or its last row is other than 0 0 0 1. Rotations more than 5e-4 off are replaced by the nearest one.
    """
    poses = np.array(poses, dtype=np.float64).reshape(-1, 4, 4)
    poses[~_is_rigid(poses)] = np.nan
    rotation = poses[:, :3, :3]
    with np.errstate(invalid="ignore"):
        skewed = _distance_from_rotation(rotation) > _ROUNDING_TOLERANCE
    if skewed.any():
        u, _, vt = np.linalg.svd(rotation[skewed])
        poses[skewed, :3, :3] = u @ vt
    return poses


def from_quaternion(wxyz: NDArray[np.float64], translation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 4, 4) transforms of (N, 4) quaternions, w first, and (N, 3) translations.

    Quaternions are normalised; where one is zero or not finite the transform is all NaN.
    """
    length = np.linalg.norm(wxyz, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        w, x, y, z = (wxyz / length).T
    result = np.tile(np.eye(4), (len(wxyz), 1, 1))
    result[:, :3, :3] = np.moveaxis(
        np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        ),
        2,
        0,
    )
    result[:, :3, 3] = translation
    return result


def world_change(matrix: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """Return the inverse of a change of the world frame.

    Args:
        matrix: (4, 4), maps points of the new world into the one that poses are given in.
        source: where it is from, for messages.

    Raises:
        DataError: if it is no rigid motion.
    """
    rigid = valid_poses(matrix[None])[0]
    if np.isnan(rigid[0, 0]):
        raise DataError(
            f"{source}: expected a rotation with a translation, found "
            f"{np.array2string(matrix, precision=3, max_line_width=1000)}; download the file again"
        )
    inverse: NDArray[np.float64] = np.linalg.inv(rigid)
    return inverse


def _is_rigid(poses: NDArray[np.float64]) -> NDArray[np.bool_]:
    finite = np.asarray(np.isfinite(poses).all(axis=(1, 2)))
    safe = np.where(finite[:, None, None], poses, np.eye(4))
    rotation = safe[:, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # a finite 1e300 in a broken file overflows
        error = _distance_from_rotation(rotation)
        last_row = np.abs(safe[:, 3] - (0.0, 0.0, 0.0, 1.0)).max(axis=1)
        orthonormal = (error <= _RIGID_TOLERANCE) & (last_row <= 1e-6)
    turned = np.where(orthonormal[:, None, None], rotation, np.eye(3))
    rigid: NDArray[np.bool_] = finite & orthonormal & (np.linalg.det(turned) > 0)
    return rigid


def _distance_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    product = rotation @ rotation.transpose(0, 2, 1)
    largest: NDArray[np.float64] = np.abs(product - np.eye(3)).max(axis=(1, 2))
    return largest
