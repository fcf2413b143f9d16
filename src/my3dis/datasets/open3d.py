"""Open3D's reconstruction folders: ``color/``, ``depth/``, intrinsics and ``trajectory.log``.

Depth is uint16 millimetres, 0 = none, seen from the colour camera. The trajectory lists camera-to-world
matrices with OpenCV axes; the intrinsic matrix is column-major. Source: Zhou, Park, Koltun, "Open3D", 2018,
and the redwood data sets, which have the same files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import list_files, read_bytes, scan_path
from my3dis.datasets.layout import Notes, Posed, camera_of, color_files, counted, find_depth, note_poses
from my3dis.datasets.poses import valid_poses
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_open3d"]

_VERSION = "1"
_FORMAT = DepthFormat()
_COLOR = ("color", "rgb", "image")
_TRAJECTORIES = ("trajectory.log", "scene/trajectory.log")
_MESHES = ("scene/integrated.ply", "integrated.ply")
_BLOCK = 5
# What Open3D itself assumes where no intrinsics are given (a PrimeSense camera, 640x480).
_DEFAULT = Camera(525.0, 525.0, 319.5, 239.5, 640, 480)


def detect(path: Path) -> bool:
    """Whether a folder has colour and depth folders and Open3D's intrinsics or trajectory."""
    if not (path / "depth").is_dir() or _color_folder(path) is None or (path / "pose").is_dir():
        return False
    return _first(path, _TRAJECTORIES) is not None or _intrinsics(path) is not None


def open_open3d(path: Path) -> FolderReader:
    """Open a folder of Open3D's reconstruction.

    Raises:
        DataError: if there are no colour images, or intrinsics or trajectory are broken.
    """
    root = scan_path(path)
    notes = Notes("open3d", root)
    folder = _color_folder(root)
    if folder is None:
        raise DataError(f"{root}: expected colour images in {' or '.join(_COLOR)}, found no such folder")
    color, (height, width) = color_files(folder, notes)
    names = tuple(p.stem for p in color)
    depth_dir = root / "depth"
    depth_files = list_files(depth_dir, (".png",)) if depth_dir.is_dir() else ()
    depth, depth_size = find_depth(names, _paired(names, depth_files), notes, _FORMAT)
    intrinsics, trajectory = _intrinsics(root), _first(root, _TRAJECTORIES)
    camera = _camera(intrinsics, (height, width), notes)
    poses, invalid = _poses(trajectory, names, notes)
    mesh = _first(root, _MESHES)
    if mesh is None:
        notes.missing.append(f"no {_MESHES[0]}: points are fused from depth, evaluate is skipped")
    else:
        notes.found.append(f"mesh {mesh.name}")
    ground_truth = root / "gt"
    overview = notes.overview(
        len(color),
        (height, width),
        (poses, invalid),
        has_depth=bool(depth),
        cloud=mesh,
        ground_truth=ground_truth if ground_truth.is_dir() else None,
    )
    files = ScanFiles(
        color=color,
        names=names,
        depth=depth,
        poses=poses,
        color_camera=camera,
        depth_camera=None if depth_size is None else camera.scaled_to(depth_size[1], depth_size[0]),
        depth_format=_FORMAT,
        cloud=mesh,
        extra=tuple(p for p in (intrinsics, trajectory) if p is not None),
    )
    return FolderReader(overview, files, _VERSION)


def _paired(names: tuple[str, ...], depth: tuple[Path, ...]) -> dict[str, Path]:
    """Return depth by the names of colour images; by order where the names differ and there are as many."""
    by_stem = {p.stem: p for p in depth}
    if len(depth) == len(names) and not by_stem.keys() & set(names):
        return dict(zip(names, depth, strict=True))
    return by_stem


def _camera(path: Path | None, size: tuple[int, int], notes: Notes) -> Camera:
    if path is None:
        notes.missing.append("no intrinsics: Open3D's own focal length of 525 at 640x480 is used")
        return _DEFAULT.scaled_to(size[1], size[0])
    expected = 'intrinsics with "width", "height" and "intrinsic_matrix" of 9 numbers'
    try:
        tree = json.loads(read_bytes(path, expected))
        k = np.array(tree["intrinsic_matrix"], np.float64).reshape(3, 3).T
        stated = int(tree["height"]), int(tree["width"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "write the intrinsics again"
        ) from error
    if min(stated) < 1 or abs(stated[0] * size[1] - stated[1] * size[0]) > 0.02 * stated[0] * size[1]:
        raise DataError(
            f"{path}: expected intrinsics for images shaped like {size[1]}x{size[0]}, found those for "
            f"{stated[1]}x{stated[0]}; give the intrinsics of these images"
        )
    return camera_of(k, path, "colour", stated).scaled_to(size[1], size[0])


def _poses(path: Path | None, names: tuple[str, ...], notes: Notes) -> Posed:
    """Return a pose per frame: by number where the trajectory has fewer, by order where it has as many."""
    if path is None:
        notes.missing.append(f"no {_TRAJECTORIES[0]}: lift and evaluate are skipped")
        return None, ()
    numbers, matrices = read_trajectory(path)
    poses = np.full((len(names), 4, 4), np.nan)
    if len(matrices) == len(names):
        poses[:] = matrices
    else:
        inside = (numbers >= 0) & (numbers < len(names))
        poses[numbers[inside]] = matrices[inside]
    return note_poses(valid_poses(poses), notes, f"{counted(len(matrices), 'matrix')} of {path.name}")


def read_trajectory(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a ``.log`` file: a line of three numbers, the first of them the frame, then four of a matrix.

    Returns:
        (M,) frame numbers and (M, 4, 4) camera-to-world matrices.

    Raises:
        DataError: if the file is missing, cut or something else.
    """
    expected = "a line with the frame's number and four lines of a 4x4 matrix for each frame"
    text = read_bytes(path, expected).decode("utf-8", "replace")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        numbers = np.array([int(float(words[0])) for words in lines[::_BLOCK]], np.int64)
        rows = [[float(w) for w in words] for i, words in enumerate(lines) if i % _BLOCK]
        matrices = np.array(rows, np.float64).reshape(len(numbers), 4, 4)
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({error}); write the trajectory again"
        ) from error
    return numbers, matrices


def _color_folder(root: Path) -> Path | None:
    return next((root / name for name in _COLOR if (root / name).is_dir()), None)


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _intrinsics(root: Path) -> Path | None:
    if not root.is_dir():
        return None
    return next(
        (p for p in list_files(root, (".json",)) if "intrinsic" in p.name or p.name.startswith("camera")),
        None,
    )


PLUGIN = DatasetPlugin(
    summary="Open3D reconstruction: color/ depth/ intrinsic.json trajectory.log, scene/integrated.ply",
    detect=detect,
    open=open_open3d,
    priority=42,
)
