"""Record3D exports for an iPhone or iPad: ``rgb/``, ``depth/*.exr`` and ``metadata.json``.

Depth is float metres, smaller than colour and seen by the same camera. Poses are quaternions (x, y, z, w)
with positions, camera-to-world, ARKit axes (y up, z towards the viewer); intrinsics are column-major for
colour, or fx, fy, cx, cy for each frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import IMAGE_SUFFIXES, list_files, read_bytes, read_color, read_depth_m, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, counted, find_depth, note_poses
from my3dis.datasets.poses import OPENCV_FROM_OPENGL, from_quaternion, valid_poses
from my3dis.datasets.reader import DepthFormat
from my3dis.datasets.stream import FrameTable, StreamReader
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_record3d"]

_VERSION = "1"
_FORMAT = DepthFormat()
_INNER = "EXR_RGBD"


def detect(path: Path) -> bool:
    """Whether a folder, or its ``EXR_RGBD/``, has ``rgb/`` and ``metadata.json``."""
    folder = _folder(path)
    return (folder / "rgb").is_dir() and (folder / "metadata.json").is_file()


def open_record3d(path: Path) -> StreamReader:
    """Open a Record3D export.

    Raises:
        DataError: if there are no colour images, or the metadata are missing or broken.
    """
    root = scan_path(path)
    notes = Notes("record3d", root)
    folder = _folder(root)
    color, (height, width) = color_files(folder / "rgb", notes)
    names = tuple(p.stem for p in color)
    meta = _Metadata.read(folder / "metadata.json", names)
    depth_files = _depth_files(folder / "depth")
    depth, depth_size = find_depth(names, depth_files, notes, _FORMAT)
    poses, invalid = note_poses(meta.poses, notes, counted(len(names), "frame"))
    cameras = meta.cameras((height, width))
    notes.missing.append("no mesh: points are fused from depth, evaluate is skipped")
    overview = notes.overview(len(color), (height, width), (poses, invalid), has_depth=bool(depth))
    table = FrameTable(
        names=names,
        timestamps_s=meta.times_s,
        poses=poses,
        color_cameras=cameras,
        depth_cameras=()
        if depth_size is None
        else tuple(camera.scaled_to(depth_size[1], depth_size[0]) for camera in cameras),
    )

    def depth_m(index: int) -> NDArray[np.float32] | None:
        file = depth[index]
        return None if file is None else read_depth_m(file)

    return StreamReader(
        overview=overview,
        table=table,
        inputs=(*color, *(p for p in depth if p is not None), meta.path),
        color=lambda index: read_color(color[index]),
        depth_m=depth_m if depth else None,
        version=_VERSION,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Metadata:
    """What ``metadata.json`` says of the frames that have an image.

    Attributes:
        path: the file.
        poses: (N, 4, 4) ``world_from_camera`` with OpenCV axes, NaN where invalid or not given.
        intrinsics: (N or 1, 4) fx, fy, cx, cy for the stated size.
        stated_size: (H, W) that the intrinsics are for, or None when not said.
        times_s: (N,) seconds, NaN where not given.
    """

    path: Path
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    stated_size: tuple[int, int] | None
    times_s: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path, names: tuple[str, ...]) -> _Metadata:
        expected = 'metadata with "poses" of 7 numbers and intrinsics "K" of 9'
        try:
            tree = json.loads(read_bytes(path, expected))
            listed = np.array(tree.get("poses") or np.empty((0, 7)), np.float64).reshape(-1, 7)
            each = tree.get("perFrameIntrinsicCoeffs")
            if each:
                intrinsics = np.array(each, np.float64)[:, :4]
            else:
                k = np.array(tree["K"], np.float64).reshape(3, 3).T
                intrinsics = np.array([[k[0, 0], k[1, 1], k[0, 2], k[1, 2]]])
            size = (int(tree["h"]), int(tree["w"])) if "w" in tree and "h" in tree else None
            times = np.array(tree.get("frameTimestamps") or [], np.float64).reshape(-1)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
                "export the recording again"
            ) from error
        # Images are numbered from 0 as the lists of the metadata are; others are taken in their order.
        rows = np.arange(len(names))
        if all(name.isdecimal() for name in names):
            rows = np.array([int(name) for name in names])
        poses = from_quaternion(listed[:, [3, 0, 1, 2]], listed[:, 4:]) @ OPENCV_FROM_OPENGL
        return cls(
            path=path,
            poses=valid_poses(_picked(poses, rows)),
            intrinsics=intrinsics if len(intrinsics) == 1 else _picked(intrinsics, rows),
            stated_size=size,
            times_s=_picked(times, rows),
        )

    def cameras(self, size: tuple[int, int]) -> tuple[Camera, ...]:
        """Return a camera for each frame, or one for all, for images of a size (H, W)."""
        stated = self.stated_size or size
        found = []
        for fx, fy, cx, cy in self.intrinsics.tolist():
            k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            found.append(camera_of(k, self.path, "colour", stated).scaled_to(size[1], size[0]))
        return tuple(found)


def _picked(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rows that are asked for, NaN where there are too few."""
    result = np.full((len(rows), *values.shape[1:]), np.nan)
    there = rows < len(values)
    result[there] = values[rows[there]]
    return result


def _folder(path: Path) -> Path:
    inner = path / _INNER
    return inner if inner.is_dir() else path


def _depth_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in list_files(folder, (".exr", *IMAGE_SUFFIXES))}


PLUGIN = DatasetPlugin(
    summary="Record3D export: rgb/ depth/*.exr metadata.json, perhaps inside EXR_RGBD/",
    detect=detect,
    open=open_record3d,
    priority=58,
)
