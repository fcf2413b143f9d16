"""Scans as the MultiScan server decodes them: ``<scene>/outputs/color/*.png`` and ``outputs/depth/*.png``.

Depth is uint16 millimetres, smaller than colour. Intrinsics are those of the first line of the scene's
``.jsonl`` (at colour resolution, column-major), where that file is there. The decoded images do not say
which line of it each belongs to, so poses are not read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from my3dis.datasets.files import list_files, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, find_depth
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera, ScanOverview

__all__ = ["PLUGIN", "detect", "open_multiscan"]

_VERSION = "1"
_FORMAT = DepthFormat()


def detect(path: Path) -> bool:
    """Whether a folder is a decoded MultiScan scene."""
    return (path / "outputs" / "color").is_dir()


def open_multiscan(path: Path) -> FolderReader:
    """Open a decoded MultiScan scene.

    Raises:
        DataError: if there are no colour images, or the cameras file is broken.
    """
    root, notes = scan_path(path), Notes()
    color, (height, width) = color_files(root / "outputs" / "color", notes)
    names = tuple(p.stem for p in color)
    cameras = root / f"{root.name}.jsonl"
    camera = _intrinsics(cameras, width, height) if cameras.is_file() else None
    depth_dir = root / "outputs" / "depth"
    images = {p.stem: p for p in list_files(depth_dir, (".png",))} if depth_dir.is_dir() else {}
    if depth_dir.is_dir() and not images and list_files(depth_dir, (".exr",)):
        notes.missing.append("depth as .exr is not read: decode it as 16-bit PNG in millimetres")
    depth, depth_size = find_depth(names, images, notes, _FORMAT)
    depth_camera = None
    if depth_size is not None and camera is None:
        notes.missing.append(f"no {cameras.name}: without intrinsics depth is not used")
        depth = ()
    elif depth_size is not None and camera is not None:
        depth_camera = camera.scaled_to(depth_size[1], depth_size[0])
    notes.missing.append(
        "no poses in the decoded layout, so its mesh is not used either: lift and evaluate are skipped"
    )
    overview = ScanOverview(
        scene=root.name,
        dataset="multiscan",
        root=root,
        frame_count=len(color),
        image_size=(height, width),
        has_depth=bool(depth),
        found=tuple(notes.found),
        missing=tuple(notes.missing),
    )
    files = ScanFiles(
        color=color,
        names=names,
        depth=depth,
        color_camera=camera,
        depth_camera=depth_camera,
        depth_format=_FORMAT,
        extra=(cameras,) if camera is not None else (),
    )
    return FolderReader(overview, files, _VERSION)


def _intrinsics(path: Path, width: int, height: int) -> Camera:
    """Return the colour camera of a scene's first line of cameras."""
    try:
        with path.open("rb") as lines:
            first = json.loads(lines.readline())
        # Column-major: fx 0 0, 0 fy 0, cx cy 1.
        fx, _, _, _, fy, _, cx, cy, _ = (float(value) for value in first["intrinsics"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path}: expected a camera a line with 9 "intrinsics", found something else '
            f"({type(error).__name__}); download the file again, or remove it to go on without"
        ) from error
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return camera_of(k, path, "colour", (height, width), plausible=False)


PLUGIN = DatasetPlugin(
    summary="decoded MultiScan: outputs/color/*.png, outputs/depth/*.png",
    detect=detect,
    open=open_multiscan,
    priority=45,
)
