"""The files beside a MultiScan video: metadata, cameras and alignment.

Matrices are column-major. Cameras are ARKit's: x right, y up, z towards the viewer. The mesh is in an
upright world of its own, and ``coordinate_transform`` maps it into the world of the cameras.
Source: MultiScan (Mao et al., NeurIPS 2022), documentation of the acquired and annotated files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes
from my3dis.datasets.poses import OPENCV_FROM_OPENGL, valid_poses, world_change
from my3dis.errors import DataError

__all__ = ["Cameras", "Metadata", "read_alignment", "read_cameras", "read_metadata"]

_IOS_KEEP = 2
_AGAIN = "download the file again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What ``<scan>.json`` says.

    Attributes:
        color_size: (H, W) of the colour images, which intrinsics are for.
        depth_size: (H, W) of depth and confidence.
        frames: the smaller of the announced numbers of colour and depth frames, or None when not said.
        depth_in_metres: float16 metres (iOS); otherwise uint16 millimetres (Android).
        least_confidence: depth of lower confidence is left out.
        confidence_top: the largest confidence.
    """

    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    frames: int | None
    depth_in_metres: bool
    least_confidence: int
    confidence_top: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cameras:
    """What the lines of ``<scan>.jsonl`` say.

    Attributes:
        poses: (N, 4, 4) float64 ``world_from_camera`` with OpenCV axes, NaN where invalid; the world is
            the cameras' own.
        intrinsics: (N, 4) float64 fx, fy, cx, cy in pixels of the colour image.
        timestamps_s: (N,) float64 seconds, NaN where not given.
    """

    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    timestamps_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.poses)


def read_metadata(path: Path) -> Metadata:
    """Read ``<scan>.json``.

    Raises:
        DataError: if the file is missing or lacks sizes, or the depth unit is unknown.
    """
    expected = 'metadata with "streams" of colour and depth, each with its "resolution"'
    try:
        tree = json.loads(read_bytes(path, expected))
        color, depth = tree["streams"][:2]
        unit = tree.get("depth_unit", "m")
        low, top = (int(value) for value in tree.get("depth_confidence_value_range", (0, _IOS_KEEP)))
        counts = [int(s["number_of_frames"]) for s in (color, depth) if "number_of_frames" in s]
        sizes = _size(color), _size(depth)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error
    if unit not in ("m", "mm"):
        raise DataError(f'{path}: expected "depth_unit" m or mm, found {unit!r}; {_AGAIN}')
    return Metadata(
        color_size=sizes[0],
        depth_size=sizes[1],
        frames=min(counts) if counts else None,
        depth_in_metres=unit == "m",
        # Three levels: only the best. A wider range, of Android: its upper half.
        least_confidence=top if top - low <= _IOS_KEEP else (low + top + 1) // 2,
        confidence_top=top,
    )


def read_cameras(path: Path) -> Cameras:
    """Read ``<scan>.jsonl``, a line at a time.

    Raises:
        DataError: if the file is missing, or a line holds no camera.
    """
    poses, intrinsics, times = [], [], []
    try:
        with path.open("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                camera = json.loads(line)
                poses.append(_numbers(camera["transform"], 16).reshape(4, 4).T)
                k = _numbers(camera["intrinsics"], 9).reshape(3, 3).T
                intrinsics.append((k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
                times.append(float(camera.get("timestamp", np.nan)) * 1e-9)
    except OSError as error:
        raise DataError(f"{path}: expected a file of cameras, found {error.strerror}; {_AGAIN}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path}: expected a camera a line with 9 "intrinsics" and 16 "transform", found something else '
            f"in line {len(times) + 1} ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error
    if not poses:
        raise DataError(f"{path}: expected a camera a line, found none; {_AGAIN}")
    raw = np.stack(poses)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = raw / raw[:, 3:, 3:]
        turned = raw @ OPENCV_FROM_OPENGL
    return Cameras(
        poses=valid_poses(turned), intrinsics=np.array(intrinsics), timestamps_s=np.array(times, np.float64)
    )


def read_alignment(path: Path) -> NDArray[np.float64]:
    """Return (4, 4) mesh world from camera world, of ``<scan>.align.json``.

    Raises:
        DataError: if the file is missing or holds no rigid motion.
    """
    expected = 'an alignment with 16 numbers in "coordinate_transform"'
    try:
        tree = json.loads(read_bytes(path, expected))
        matrix = _numbers(tree["coordinate_transform"], 16).reshape(4, 4).T
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error
    return world_change(matrix, f'{path}, "coordinate_transform"')


def _size(stream: Mapping[str, object]) -> tuple[int, int]:
    height, width = _numbers(stream["resolution"], 2)
    if not (height >= 1 and width >= 1):
        raise ValueError(f"a resolution of {width}x{height}")
    return int(height), int(width)


def _numbers(value: object, count: int) -> NDArray[np.float64]:
    """Return that many numbers; null stands for not a number."""
    numbers = np.array(value, dtype=np.float64)
    if numbers.shape != (count,):
        raise ValueError(f"{numbers.size} numbers instead of {count}")
    return numbers
