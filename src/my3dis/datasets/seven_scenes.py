"""7-Scenes sequences: ``frame-NNNNNN.{color,depth,pose}.*``, with registered depth where it was made.

Colour and depth come from two cameras that the original does not register: depth edges are off by tens
of pixels at the border of the image. A folder ``registered/`` beside the frames, with depth seen from the
colour camera, its poses and intrinsics, is used when present. Depth is uint16 millimetres, 0 or 65535 =
none; poses are camera-to-world with OpenCV axes.
"""

from __future__ import annotations

from pathlib import Path

from my3dis.datasets.files import list_files, read_matrix, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, find_depth, find_poses
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_seven_scenes"]

_VERSION = "1"
_FORMAT = DepthFormat(invalid=(65535,))
# Published for the data set (depth), and in common use (colour), both for 640x480.
_DEPTH_CAMERA = Camera(585.0, 585.0, 320.0, 240.0, 640, 480)
_COLOR_CAMERA = Camera(525.0, 525.0, 320.0, 240.0, 640, 480)


def detect(path: Path) -> bool:
    """Whether a folder holds frames named as in 7-Scenes."""
    if not path.is_dir():
        return False
    return any(path.glob("frame-*.color.png")) or any(path.glob("frame-*.color.jpg"))


def open_seven_scenes(path: Path) -> FolderReader:
    """Open one 7-Scenes sequence.

    Raises:
        DataError: if there are no colour images or an intrinsics file is broken.
    """
    root = scan_path(path)
    notes = Notes("seven_scenes", root)
    color, (height, width) = color_files(root, notes, ending=".color")
    keys = [_key(p) for p in color]
    aligned = root / "registered"
    depth_files = _depth_files(aligned) if aligned.is_dir() else {}
    registered = bool(depth_files)
    source = aligned if registered else root
    depth_files = depth_files or _depth_files(root)
    pose_files = {_key(p): p for p in list_files(source, (".txt",)) if p.stem.endswith(".pose")}
    depth, depth_size = find_depth(keys, depth_files, notes, _FORMAT)
    poses, invalid = find_poses(keys, pose_files, notes)
    intrinsics = source / "camera-intrinsics.txt"
    depth_camera = None if depth_size is None else _camera(intrinsics, "depth", depth_size, notes)
    if registered:
        parts = ["depth registered to colour"]
        parts += ["poses"] if pose_files else []
        parts += ["intrinsics"] if intrinsics.is_file() else []
        notes.found.append(f"{', '.join(parts)} in registered/")
        color_camera = _camera(intrinsics, "colour", (height, width), None)
    else:
        color_camera = _COLOR_CAMERA.scaled_to(width, height)
        notes.missing.append("depth is not registered to colour: masks are lifted with errors at the border")
    notes.missing.append("no mesh: points are fused from depth, evaluate is skipped")
    overview = notes.overview(len(color), (height, width), (poses, invalid), has_depth=bool(depth))
    files = ScanFiles(
        color=color,
        names=tuple(p.stem for p in color),
        depth=depth,
        poses=poses,
        color_camera=color_camera,
        depth_camera=depth_camera,
        depth_format=_FORMAT,
        pose_files=tuple(pose_files.get(key) for key in keys),
        extra=(*pose_files.values(), *((intrinsics,) if intrinsics.is_file() else ())),
    )
    return FolderReader(overview, files, _VERSION)


def _depth_files(folder: Path) -> dict[str, Path]:
    return {_key(p): p for p in list_files(folder, (".png",)) if p.stem.endswith(".depth")}


def _key(path: Path) -> str:
    return path.name.split(".")[0]


def _camera(file: Path, what: str, size: tuple[int, int], notes: Notes | None) -> Camera:
    """Return the camera of a file, or the data set's own when there is no file."""
    if not file.is_file():
        if notes is not None:
            notes.missing.append("no camera-intrinsics.txt: the data set's focal length of 585 is used")
        return _DEPTH_CAMERA.scaled_to(size[1], size[0])
    return camera_of(read_matrix(file), file, what, size)


PLUGIN = DatasetPlugin(
    summary="7-Scenes sequence: frame-NNNNNN.{color,depth,pose}.*, registered/ when present",
    detect=detect,
    open=open_seven_scenes,
    priority=50,
)
