"""TUM RGB-D sequences: ``rgb/``, ``depth/``, lists of their time stamps, and ``groundtruth.txt``.

Colour, depth and poses have clocks of their own ticks, so each image takes the depth and the pose nearest
in time, at most 20 ms away; a depth image belongs to one colour image only. Depth is uint16, 5000 steps a
metre, 0 = none, seen from the colour camera; poses are the colour camera's, camera-to-world, OpenCV axes.
Source: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import IMAGE_SUFFIXES, list_files, read_bytes, scan_path
from my3dis.datasets.layout import Notes, Posed, camera_of, color_files, counted, find_depth, note_poses
from my3dis.datasets.poses import from_quaternion, valid_poses
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_tum"]

_VERSION = "1"
_FORMAT = DepthFormat(unit_m=1 / 5000)
_NEAR_S = 0.02
# Published for the three colour cameras at 640x480, and in common use where the camera is not known.
_CAMERAS = {
    "freiburg1": Camera(517.3, 516.5, 318.6, 255.3, 640, 480),
    "freiburg2": Camera(520.9, 521.0, 325.1, 249.7, 640, 480),
    "freiburg3": Camera(535.4, 539.2, 320.1, 247.6, 640, 480),
}
_UNKNOWN_CAMERA = Camera(525.0, 525.0, 319.5, 239.5, 640, 480)


def detect(path: Path) -> bool:
    """Whether a folder has ``rgb/`` and the time stamps of its images or poses."""
    return (path / "rgb").is_dir() and any(
        (path / name).is_file() for name in ("rgb.txt", "groundtruth.txt", "associations.txt")
    )


def open_tum(path: Path) -> FolderReader:
    """Open one TUM RGB-D sequence.

    Raises:
        DataError: if there are no colour images, or a list of time stamps or poses is broken.
    """
    root = scan_path(path)
    notes = Notes("tum", root)
    times, color = _images(root, "rgb")
    if not color:
        raise DataError(f"{root / 'rgb'}: expected colour images with time stamps, found none; see rgb.txt")
    _, (height, width) = color_files(color[0].parent, Notes("tum", root))
    notes.found.append(f"{counted(len(color), 'colour image')} {width}x{height}")
    keys = tuple(str(i) for i in range(len(color)))
    depth_times, depth_files = _images(root, "depth")
    pairs = _nearest(times, depth_times, once=True)
    by_key = {keys[i]: depth_files[j] for i, j in enumerate(pairs) if j >= 0}
    depth, depth_size = find_depth(keys, by_key, notes, _FORMAT)
    trajectory = root / "groundtruth.txt"
    poses, invalid = _poses(trajectory, times, notes)
    notes.missing.append("no mesh: points are fused from depth, evaluate is skipped")
    camera, calibration = _camera(root, (height, width), notes)
    overview = notes.overview(len(color), (height, width), (poses, invalid), has_depth=bool(depth))
    lists = (root / "rgb.txt", root / "depth.txt", trajectory, calibration)
    files = ScanFiles(
        color=color,
        names=tuple(p.stem for p in color),
        depth=depth,
        poses=poses,
        color_camera=camera,
        depth_camera=None if depth_size is None else camera.scaled_to(depth_size[1], depth_size[0]),
        depth_format=_FORMAT,
        extra=tuple(p for p in lists if p.is_file()),
        timestamps_s=tuple(float(t) for t in times),
    )
    return FolderReader(overview, files, _VERSION)


def _images(root: Path, kind: str) -> tuple[NDArray[np.float64], tuple[Path, ...]]:
    """Return time stamps, ascending, and images: as listed, or by their names where there is no list."""
    listing = root / f"{kind}.txt"
    if listing.is_file():
        rows = _rows(listing, "a time stamp and a file name a line", 2)
        pairs = [(_number(words[0], listing), root / words[1]) for words in rows]
    else:
        folder = root / kind
        images = list_files(folder, IMAGE_SUFFIXES) if folder.is_dir() else ()
        pairs = [(_number(p.stem, p), p) for p in images]
    pairs.sort(key=lambda pair: pair[0])
    return np.array([t for t, _ in pairs], np.float64), tuple(p for _, p in pairs)


def _rows(path: Path, expected: str, least: int) -> list[list[str]]:
    """Return the words of every line that is no comment."""
    text = read_bytes(path, expected).decode("utf-8", "replace")
    rows = [line.replace(",", " ").split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    rows = [words for words in rows if words]
    short = next((words for words in rows if len(words) < least), None)
    if short is not None:
        raise DataError(
            f"{path}: expected {expected}, found {' '.join(short)[:60]!r}; "
            "copy the file again from its source"
        )
    return rows


def _number(word: str, source: Path) -> float:
    try:
        value = float(word)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{source}: expected a time stamp in seconds, found {word[:40]!r}; restore the file")
    return value


def _nearest(wanted: NDArray[np.float64], offered: NDArray[np.float64], *, once: bool) -> NDArray[np.int64]:
    """Return (N,) the offered time nearest to each wanted one, -1 where none is near.

    Args:
        wanted: (N,) seconds.
        offered: (M,) seconds, ascending.
        once: each offered time goes to the wanted one that it is nearest to, and to no other.
    """
    found = np.full(len(wanted), -1, np.int64)
    if not len(offered):
        return found
    after = np.clip(np.searchsorted(offered, wanted), 1, max(1, len(offered) - 1))
    candidates = np.stack([after - 1, np.minimum(after, len(offered) - 1)])
    away = np.abs(offered[candidates] - wanted)
    side = np.argmin(away, axis=0)
    best, distance = candidates[side, np.arange(len(wanted))], away[side, np.arange(len(wanted))]
    near = np.flatnonzero(distance <= _NEAR_S)
    if once:
        near = near[np.lexsort((distance[near], best[near]))]
        near = near[np.unique(best[near], return_index=True)[1]]
    found[near] = best[near]
    return found


def _poses(path: Path, times: NDArray[np.float64], notes: Notes) -> Posed:
    """Return the pose nearest to each time, NaN where none is near or it is invalid."""
    if not path.is_file():
        notes.missing.append(f"no {path.name}: lift and evaluate are skipped")
        return None, ()
    expected = "a time stamp, a position and a quaternion a line (8 numbers)"
    rows = _rows(path, expected, 8)
    try:
        table = np.array([[float(word) for word in words[:8]] for words in rows]).reshape(-1, 8)
    except ValueError as error:
        raise DataError(
            f"{path}: expected {expected}, found other text ({error}); copy the file again from its source"
        ) from error
    table = table[np.isfinite(table[:, 0])]
    table = table[np.argsort(table[:, 0], kind="stable")]
    trajectory = from_quaternion(table[:, [7, 4, 5, 6]], table[:, 1:4])
    chosen = _nearest(times, table[:, 0], once=False)
    poses = np.full((len(times), 4, 4), np.nan)
    poses[chosen >= 0] = trajectory[chosen[chosen >= 0]]
    return note_poses(valid_poses(poses), notes, f"{len(table)} in {path.name} within 20 ms of an image")


def _camera(root: Path, size: tuple[int, int], notes: Notes) -> tuple[Camera, Path]:
    """Return the colour camera: of ``calibration.txt``, else the data set's own, scaled to the images."""
    calibration = root / "calibration.txt"
    if calibration.is_file():
        words = read_bytes(calibration, "fx fy cx cy").split()
        try:
            fx, fy, cx, cy = (float(word) for word in words[:4])
        except ValueError as error:
            raise DataError(
                f"{calibration}: expected fx fy cx cy, found something else ({error}); write the four numbers"
            ) from error
        k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return camera_of(k, calibration, "colour", size), calibration
    named = next((name for name in _CAMERAS if name in root.name), None)
    camera = _UNKNOWN_CAMERA if named is None else _CAMERAS[named]
    notes.missing.append(
        f"no calibration.txt: {'a common' if named is None else named + chr(39) + 's'} focal length of "
        f"{camera.fx:g} at 640x480 is used"
    )
    return camera.scaled_to(size[1], size[0]), calibration


PLUGIN = DatasetPlugin(
    summary="TUM RGB-D: rgb/ depth/ rgb.txt depth.txt groundtruth.txt",
    detect=detect,
    open=open_tum,
    priority=55,
)
