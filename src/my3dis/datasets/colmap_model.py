"""Read the cameras and images of a COLMAP model, text or binary, without its points.

Poses are stored world-to-camera as a quaternion (w first) and a translation, with OpenCV axes; the centre
of the first pixel is at 0.5, not at 0. Source: COLMAP's description of its output format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.poses import from_quaternion, valid_poses
from my3dis.errors import DataError

__all__ = ["ModelCamera", "ModelImage", "find_model", "read_cameras", "read_images", "world_from_camera"]

# Name, number of parameters; the number in binary files is the position. The first parameters are one focal
# length or two, then the principal point; what follows is distortion.
_MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
)
_COUNTS = dict(_MODELS)
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
_UNDISTORTED = ("SIMPLE_PINHOLE", "PINHOLE")
_PLACES = ("sparse/0", "sparse", "colmap", "")
_POINT_BYTES = 24
_LONGEST_NAME = 4096
_AGAIN = "export the model again"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCamera:
    """A camera: size in pixels, focal lengths and principal point with pixel centres at integers.

    Attributes:
        distorted: whether its model has distortion, other than zeros.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distorted: bool


@dataclass(frozen=True, slots=True, eq=False)
class ModelImage:
    """A registered image: its path below the folder of images, its camera, and what its pose is made of."""

    name: str
    camera_id: int
    wxyz_translation: tuple[float, ...]


def find_model(root: Path) -> Path | None:
    """Return the folder of a model below or at a scan's folder, by names alone."""
    for place in _PLACES:
        folder = root / place
        if any(
            (folder / f"cameras{s}").is_file() and (folder / f"images{s}").is_file() for s in (".bin", ".txt")
        ):
            return folder
    return None


def read_cameras(model: Path) -> dict[int, ModelCamera]:
    """Return the cameras of a model by their ids.

    Raises:
        DataError: if the file is missing, cut or has an unknown kind of camera.
    """
    return dict(_read(model, "cameras", _binary_cameras, _text_cameras))


def read_images(model: Path) -> tuple[ModelImage, ...]:
    """Return the registered images of a model, a record at a time.

    Raises:
        DataError: if the file is missing or cut.
    """
    return tuple(_read(model, "images", _binary_images, _text_images))


def world_from_camera(images: tuple[ModelImage, ...]) -> NDArray[np.float64]:
    """Return (N, 4, 4) poses of images, NaN where one is invalid."""
    rows = np.array([i.wxyz_translation for i in images], np.float64).reshape(-1, 7)
    stored = valid_poses(from_quaternion(rows[:, :4], rows[:, 4:]))
    rotation = stored[:, :3, :3].transpose(0, 2, 1)
    poses = np.array(stored)
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, stored[:, :3, 3])
    return poses


def _read(
    model: Path, kind: str, binary: Callable[[BinaryIO], Iterator[T]], text: Callable[[BinaryIO], Iterator[T]]
) -> list[T]:
    path = model / f"{kind}.bin"
    parse = binary
    if not path.is_file():
        path, parse = model / f"{kind}.txt", text
    try:
        with path.open("rb") as file:
            return list(parse(file))
    except OSError as error:
        raise DataError(
            f"{path}: expected {kind} of a COLMAP model, found {error.strerror}; {_AGAIN}"
        ) from error
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
        raise DataError(
            f"{path}: expected complete {kind} of a COLMAP model, found something else "
            f"({type(error).__name__}: {error}); {_AGAIN}"
        ) from error


def _camera(name: str, width: int, height: int, values: list[float]) -> ModelCamera:
    if name not in _COUNTS or len(values) != _COUNTS[name]:
        raise ValueError(f"camera model {name} with {len(values)} parameters")
    one = name in _ONE_FOCAL
    fx, fy = values[0], values[0 if one else 1]
    cx, cy = values[1 if one else 2], values[2 if one else 3]
    distorted = name not in _UNDISTORTED and any(values[3 if one else 4 :])
    return ModelCamera(
        width=width, height=height, fx=fx, fy=fy, cx=cx - 0.5, cy=cy - 0.5, distorted=distorted
    )


def _text_cameras(file: BinaryIO) -> Iterator[tuple[int, ModelCamera]]:
    for line in _lines(file):
        words = line.split()
        if words:
            values = [float(w) for w in words[4:]]
            yield int(words[0]), _camera(words[1], int(words[2]), int(words[3]), values)


def _text_images(file: BinaryIO) -> Iterator[ModelImage]:
    # Two lines an image; the second lists its points and may be empty.
    lines = _lines(file)
    for line in lines:
        words = line.split(maxsplit=9)
        if not words:
            continue
        yield ModelImage(words[9].strip(), int(words[8]), tuple(float(w) for w in words[1:8]))
        next(lines, None)


def _lines(file: BinaryIO) -> Iterator[str]:
    for raw in file:
        line = raw.decode("utf-8", "replace")
        if not line.startswith("#"):
            yield line


def _binary_cameras(file: BinaryIO) -> Iterator[tuple[int, ModelCamera]]:
    (count,) = _unpack(file, "<Q")
    for _ in range(count):
        number, kind, width, height = _unpack(file, "<iiQQ")
        if not 0 <= kind < len(_MODELS):
            raise ValueError(f"camera model number {kind}")
        name, parameters = _MODELS[kind]
        yield number, _camera(name, width, height, list(_unpack(file, f"<{parameters}d")))


def _binary_images(file: BinaryIO) -> Iterator[ModelImage]:
    (count,) = _unpack(file, "<Q")
    for _ in range(count):
        _, *pose, camera = _unpack(file, "<I7dI")
        name = bytearray()
        while (letter := file.read(1)) != b"\0":
            if not letter or len(name) > _LONGEST_NAME:
                raise ValueError("an image's name without an end")
            name += letter
        (points,) = _unpack(file, "<Q")
        file.seek(points * _POINT_BYTES, 1)
        yield ModelImage(name.decode("utf-8", "replace"), int(camera), tuple(pose))


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) != size:
        raise ValueError("the file ends within a record")
    return struct.unpack(layout, data)
