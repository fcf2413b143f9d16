"""Scans as the MultiScan server decodes them: ``<scene>/outputs/color/*.png`` and ``outputs/depth/``.

Depth is uint16 millimetres (``.png``) or float metres (``.exr``), smaller than colour. Intrinsics and poses
are those of the scene's ``.jsonl``, where that file is there. Decoded images are called by the number of
their frame, every tenth by default; but a program that counts them anew may have written them. So poses are
read only where depth has the same numbers as colour and the last one lies less than a step before the end of
the recording.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from my3dis.datasets.files import list_files, scan_path
from my3dis.datasets.layout import Notes, Posed, camera_of, color_files, find_depth, note_poses
from my3dis.datasets.multiscan_files import Cameras, read_alignment, read_cameras
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.datasets.truth_files import find_truth
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_multiscan"]

_VERSION = "2"
_FORMAT = DepthFormat()


def detect(path: Path) -> bool:
    """Whether a folder is a decoded MultiScan scene."""
    return (path / "outputs" / "color").is_dir()


def open_multiscan(path: Path) -> FolderReader:
    """Open a decoded MultiScan scene.

    Raises:
        DataError: if there are no colour images, or the cameras file is broken.
    """
    root = scan_path(path)
    notes = Notes("multiscan", root)
    color, (height, width) = color_files(root / "outputs" / "color", notes)
    names = tuple(p.stem for p in color)
    path = root / f"{_scan_id(root)}.jsonl"
    cameras = read_cameras(path) if path.is_file() else None
    camera = None if cameras is None else _intrinsics(path, cameras, width, height)
    depth_dir = root / "outputs" / "depth"
    images = {p.stem: p for p in list_files(depth_dir, (".exr", ".png"))} if depth_dir.is_dir() else {}
    depth, depth_size = find_depth(names, images, notes, _FORMAT)
    depth_camera = None
    if depth_size is not None and camera is None:
        notes.missing.append(f"no {path.name}: without intrinsics depth is not used")
        depth = ()
    elif depth_size is not None and camera is not None:
        depth_camera = camera.scaled_to(depth_size[1], depth_size[0])
    align, mesh = path.with_suffix(".align.json"), path.with_suffix(".ply")
    poses, invalid = _poses(cameras, names, images, align, notes)
    cloud = mesh if poses is not None and mesh.is_file() and align.is_file() else None
    if cloud is not None:
        notes.found.append(f"mesh {cloud.name}")
    elif poses is not None:
        notes.missing.append(
            f"no {mesh.name} with {align.name}: points are fused from depth, evaluate is skipped"
        )
    overview = notes.overview(
        len(color),
        (height, width),
        (poses, invalid),
        has_depth=bool(depth),
        cloud=cloud,
        ground_truth=None if cloud is None else find_truth(root),
    )
    files = ScanFiles(
        color=color,
        names=names,
        depth=depth,
        poses=poses,
        color_camera=camera,
        depth_camera=depth_camera,
        depth_format=_FORMAT,
        cloud=cloud,
        extra=tuple(p for p in (path, align) if p.is_file()),
    )
    return FolderReader(overview, files, _VERSION)


def _scan_id(root: Path) -> str:
    """Return the name that the scan's files begin with; a link to its folder may have another."""
    stems = [p.stem for p in list_files(root, (".jsonl",))]
    return root.name if root.name in stems or not stems else stems[0]


def _poses(
    cameras: Cameras | None, names: tuple[str, ...], depth: dict[str, Path], align: Path, notes: Notes
) -> Posed:
    """Return the pose of each image where its name is the number of a line of cameras beyond doubt."""
    if cameras is None or not _are_frame_numbers(names, depth, len(cameras)):
        notes.missing.append(
            "no poses: the decoded images do not say which camera each belongs to, so the mesh is not used "
            "either: lift and evaluate are skipped"
        )
        return None, ()
    poses = cameras.poses[[int(name) for name in names]]
    if align.is_file():
        poses = read_alignment(align) @ poses
    return note_poses(poses, notes, f"{len(cameras)} cameras")


def _are_frame_numbers(names: tuple[str, ...], depth: dict[str, Path], cameras: int) -> bool:
    """Whether images are called by their place in the recording, not counted anew."""
    if len(names) < 2 or not all(name.isdecimal() for name in names) or not set(names) <= depth.keys():
        return False
    numbers = np.array([int(name) for name in names])
    step = int(np.diff(numbers).min())
    return bool(numbers[-1] < cameras <= numbers[-1] + step)


def _intrinsics(path: Path, cameras: Cameras, width: int, height: int) -> Camera:
    """Return the colour camera of a scene's first line of cameras."""
    fx, fy, cx, cy = cameras.intrinsics[0]
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return camera_of(k, path, "colour", (height, width))


PLUGIN = DatasetPlugin(
    summary="decoded MultiScan: outputs/color/*.png, outputs/depth/*.{png,exr}",
    detect=detect,
    open=open_multiscan,
    priority=45,
)
