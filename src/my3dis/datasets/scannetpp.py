"""ScanNet++ telephone scans: ``iphone/`` with video, depth and poses, and ``scans/`` with the mesh.

Poses (``aligned_pose``) are camera-to-world in the world of the mesh with OpenCV axes; intrinsics are those
of colour, row by row, for each frame. Depth is 256x192, seen by the same camera. Frames are read from
``rgb/`` and ``depth/`` where they were extracted, otherwise from ``rgb.mkv`` (or ``.mp4``) and ``depth.bin``.
Source: Yeshwanth et al., "ScanNet++", ICCV 2023.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.depth_bin import DepthBin
from my3dis.datasets.files import list_files, read_bytes, read_color, read_depth_m, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, counted, find_depth, note_poses
from my3dis.datasets.ply import CloudFile
from my3dis.datasets.poses import valid_poses
from my3dis.datasets.reader import DepthFormat
from my3dis.datasets.stream import FrameTable, StreamReader
from my3dis.datasets.truth_files import SCANNETPP
from my3dis.datasets.video import VideoReader
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_scannetpp"]

_VERSION = "1"
_POSES = "pose_intrinsic_imu.json"
_MESH = "mesh_aligned_0.05.ply"
_DEPTH_SIZE = (192, 256)
_VIDEOS = ("rgb.mkv", "rgb.mp4")


def detect(path: Path) -> bool:
    """Whether a folder has a telephone scan as ScanNet++ lays it out."""
    return (path / "iphone" / _POSES).is_file()


def open_scannetpp(path: Path) -> StreamReader:
    """Open the telephone scan of a ScanNet++ scene.

    Raises:
        DataError: if there is no colour, or poses, intrinsics or depth are broken.
    """
    root = scan_path(path)
    notes = Notes("scannetpp", root)
    folder = root / "iphone"
    color = _color(folder, notes)
    depth = _depth(folder, color.names, notes)
    records = _Records.read(folder / _POSES, color.names, color.size)
    poses, invalid = note_poses(records.poses, notes, counted(len(color.names), "frame"))
    mesh = root / "scans" / _MESH
    if mesh.is_file():
        notes.found.append(f"mesh {mesh.name}")
    else:
        notes.missing.append(f"no scans/{_MESH}: points are fused from depth, evaluate is skipped")
    truth = root / "gt" if (root / "gt").is_dir() else root / "scans" / SCANNETPP
    overview = notes.overview(
        len(color.names),
        color.size,
        (poses, invalid),
        has_depth=depth is not None,
        cloud=mesh if mesh.is_file() else None,
        ground_truth=truth if truth.exists() and mesh.is_file() else None,
    )
    table = FrameTable(
        names=color.names,
        timestamps_s=records.times_s,
        poses=poses,
        color_cameras=records.cameras,
        depth_cameras=()
        if depth is None
        else tuple(camera.scaled_to(depth.size[1], depth.size[0]) for camera in records.cameras),
    )
    inputs = (*color.inputs, *(() if depth is None else depth.inputs), folder / _POSES)
    return StreamReader(
        overview=overview,
        table=table,
        inputs=(*inputs, mesh) if mesh.is_file() else inputs,
        color=color.read,
        depth_m=None if depth is None else depth.read,
        load_cloud=CloudFile(mesh) if mesh.is_file() else None,
        version=_VERSION,
    )


@dataclass(frozen=True, slots=True)
class _Color:
    """Where colour comes from; names are ``frame_000000`` and on."""

    names: tuple[str, ...]
    size: tuple[int, int]
    inputs: tuple[Path, ...]
    read: Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Depth:
    """Where depth comes from."""

    size: tuple[int, int]
    inputs: tuple[Path, ...]
    read: Callable[[int], NDArray[np.float32] | None]


def _color(folder: Path, notes: Notes) -> _Color:
    extracted = folder / "rgb"
    if extracted.is_dir():
        images, size = color_files(extracted, notes)
        return _Color(tuple(p.stem for p in images), size, images, lambda i: read_color(images[i]))
    path = next((folder / name for name in _VIDEOS if (folder / name).is_file()), None)
    if path is None:
        raise DataError(
            f"{folder}: expected colour in rgb/ or {' or '.join(_VIDEOS)}, found none; download the video"
        )
    video = VideoReader(path, upright=False)
    notes.found.extend(video.overview.found)
    names = tuple(f"frame_{i:06d}" for i in range(len(video)))
    return _Color(names, video.overview.image_size, (path,), lambda i: video.frame(i).color)


def _depth(folder: Path, names: tuple[str, ...], notes: Notes) -> _Depth | None:
    extracted, packed = folder / "depth", folder / "depth.bin"
    if extracted.is_dir():
        by_stem = {p.stem: p for p in list_files(extracted, (".png",))}
        images, size = find_depth(names, by_stem, notes, DepthFormat())
        if size is None:
            return None
        return _Depth(size, tuple(p for p in images if p), lambda i: _image(images[i]))
    if not packed.is_file():
        notes.missing.append("no depth/ and no depth.bin: lift and evaluate are skipped")
        return None
    depth = DepthBin(packed, _DEPTH_SIZE)
    numbers = [_number(name) for name in names]
    notes.found.append(f"depth {_DEPTH_SIZE[1]}x{_DEPTH_SIZE[0]} in {packed.name}")
    count = depth.frames
    if count is not None and count <= max(numbers):
        late = sum(n >= count for n in numbers)
        notes.missing.append(f"depth of {counted(late, 'frame')} after the end of {packed.name}")

    def read(index: int) -> NDArray[np.float32] | None:
        number = numbers[index]
        return None if count is not None and number >= count else depth.frame(number)

    return _Depth(_DEPTH_SIZE, (packed,), read)


def _image(path: Path | None) -> NDArray[np.float32] | None:
    return None if path is None else read_depth_m(path)


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    if not digits.isdecimal():
        raise DataError(f"expected frames called frame_000000 and on, found {name!r}; extract them again")
    return int(digits)


@dataclass(frozen=True, slots=True, eq=False)
class _Records:
    """What the pose file says of the frames that have an image.

    Attributes:
        poses: (N, 4, 4) ``world_from_camera``, NaN where a frame has none or it is invalid.
        cameras: N colour cameras; a frame that has none gets that of the frame before it.
        times_s: (N,) seconds, NaN where not given.
    """

    poses: NDArray[np.float64]
    cameras: tuple[Camera, ...]
    times_s: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path, names: tuple[str, ...], size: tuple[int, int]) -> _Records:
        expected = 'for each frame its "aligned_pose" (4x4) and "intrinsic" (3x3)'
        poses = np.full((len(names), 4, 4), np.nan)
        k = np.full((len(names), 3, 3), np.nan)
        times = np.full(len(names), np.nan)
        try:
            tree = json.loads(read_bytes(path, expected))
            for row, record in ((row, tree.get(name)) for row, name in enumerate(names)):
                if record is None:
                    continue
                if record.get("aligned_pose") is not None:
                    poses[row] = np.array(record["aligned_pose"], np.float64).reshape(4, 4)
                k[row] = np.array(record["intrinsic"], np.float64).reshape(3, 3)
                times[row] = float(record.get("timestamp", np.nan))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
                "download the file again"
            ) from error
        known = np.flatnonzero(~np.isnan(k[:, 0, 0]))
        if not len(known):
            raise DataError(f"{path}: expected intrinsics of frames such as {names[0]}, found none of them")
        before = known[np.maximum(np.searchsorted(known, np.arange(len(names)), side="right") - 1, 0)]
        cameras = {int(i): camera_of(k[i], path, "colour", size) for i in known}
        return cls(valid_poses(poses), tuple(cameras[int(i)] for i in before), times)


PLUGIN = DatasetPlugin(
    summary="ScanNet++ telephone scan: iphone/{rgb.mkv,depth.bin,pose_intrinsic_imu.json}, scans/",
    detect=detect,
    open=open_scannetpp,
    priority=62,
)
