"""Exported ScanNet scenes: ``color/ depth/ pose/ intrinsic/`` and ``*_vh_clean_2.ply``.

Depth is uint16 millimetres, 0 = none; poses are camera-to-world with OpenCV axes and may hold inf.
Source: ScanNet's SensReader export; colour and depth may differ in size, each with its own intrinsics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import (
    IMAGE_SUFFIXES,
    list_files,
    read_color,
    read_depth_m,
    read_matrix,
    read_poses,
)
from my3dis.datasets.reader import FolderReader, ScanFiles, counted
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera, ScanOverview

__all__ = ["PLUGIN", "detect", "open_scannet"]

_VERSION = "1"


def detect(path: Path) -> bool:
    """Whether a folder looks like an exported ScanNet scene."""
    others = ("depth", "pose", "intrinsic")
    return (path / "color").is_dir() and any((path / name).is_dir() for name in others)


def open_scannet(path: Path) -> FolderReader:
    """Open an exported ScanNet scene.

    Raises:
        DataError: if there are no colour images, an intrinsics file is broken, or depth does not fit it.
    """
    root = path.resolve()
    color = list_files(root / "color", IMAGE_SUFFIXES)
    if not color:
        raise DataError(f"{root / 'color'}: expected colour images (.jpg or .png), found none; export them")
    height, width = read_color(color[0]).shape[:2]
    notes = _Notes([f"{counted(len(color), 'colour image')} {width}x{height}"], [])
    stems = [p.stem for p in color]
    cameras = _Cameras.find(root)
    color_camera = cameras.color_for(width, height)
    depth, depth_camera = _depth(root, stems, cameras, notes, (width, height))
    poses, invalid = _poses(root, stems, notes)
    mesh = _mesh(root, notes)
    ground_truth = root / "gt"
    files = ScanFiles(
        color=color,
        names=tuple(stems),
        depth=depth,
        poses=poses,
        color_camera=color_camera,
        depth_camera=depth_camera,
        cloud=mesh,
        extra=(*cameras.paths, *(list_files(root / "pose", (".txt",)) if poses is not None else ())),
    )
    overview = ScanOverview(
        scene=root.name,
        dataset="scannet",
        root=root,
        frame_count=len(color),
        image_size=(height, width),
        has_depth=bool(depth),
        has_pose=poses is not None,
        has_cloud=mesh is not None,
        ground_truth=ground_truth if ground_truth.is_dir() else None,
        invalid_poses=invalid,
        found=tuple(notes.found),
        missing=tuple(notes.missing),
    )
    return FolderReader(overview, files, _VERSION)


@dataclass(frozen=True)
class _Notes:
    found: list[str]
    missing: list[str]


@dataclass(frozen=True)
class _Cameras:
    """The two intrinsics files, as matrices; None where absent."""

    color: NDArray[np.float64] | None
    depth: NDArray[np.float64] | None
    paths: tuple[Path, ...]

    @classmethod
    def find(cls, root: Path) -> _Cameras:
        found: dict[str, Path] = {}
        for kind in ("color", "depth"):
            for folder in (root / "intrinsic", root):
                candidate = folder / f"intrinsic_{kind}.txt"
                if candidate.is_file():
                    found.setdefault(kind, candidate)
        matrices = {kind: read_matrix(file) for kind, file in found.items()}
        return cls(matrices.get("color"), matrices.get("depth"), tuple(found.values()))

    def color_for(self, width: int, height: int) -> Camera | None:
        return None if self.color is None else _camera(self.color, width, height, "colour", self.paths)

    def depth_for(self, width: int, height: int, color_size: tuple[int, int]) -> Camera | None:
        if self.depth is not None:
            return _camera(self.depth, width, height, "depth", self.paths)
        camera = self.color_for(*color_size)  # depth is registered to colour, so its camera is the same
        return None if camera is None else camera.scaled_to(width, height)


def _camera(k: NDArray[np.float64], width: int, height: int, what: str, paths: tuple[Path, ...]) -> Camera:
    cx, cy = float(k[0, 2]), float(k[1, 2])
    # The files carry no image size, but a principal point is near the middle of its image.
    if not (0.3 <= cx / width <= 0.7 and 0.3 <= cy / height <= 0.7):
        raise DataError(
            f"{paths[0].parent}: expected intrinsics for {what} of {width}x{height}, found a principal point "
            f"({cx:g}, {cy:g}) that is for about {2 * cx + 1:.0f}x{2 * cy + 1:.0f}; "
            f"{what} and its intrinsics do not belong together: fix intrinsic_*.txt or resize the images"
        )
    return Camera(float(k[0, 0]), float(k[1, 1]), cx, cy, width, height)


def _depth(
    root: Path, stems: list[str], cameras: _Cameras, notes: _Notes, color_size: tuple[int, int]
) -> tuple[tuple[Path | None, ...], Camera | None]:
    by_stem = {p.stem: p for p in list_files(root / "depth", (".png",))} if (root / "depth").is_dir() else {}
    depth = tuple(by_stem.get(stem) for stem in stems)
    present = [p for p in depth if p is not None]
    if not present:
        why = f" with the names of colour images, though depth/ has {len(by_stem)} files" if by_stem else ""
        notes.missing.append(f"no depth images{why}: lift and evaluate are skipped")
        return (), None
    height, width = read_depth_m(present[0]).shape
    camera = cameras.depth_for(width, height, color_size)
    if camera is None:
        notes.missing.append(
            "no intrinsic/intrinsic_depth.txt: depth is not used, lift and evaluate are skipped"
        )
        return (), None
    notes.found.append(f"{counted(len(present), 'depth image')} {width}x{height}")
    if len(present) < len(stems):
        notes.missing.append(
            f"depth of {counted(len(stems) - len(present), 'frame')}: used there with colour only"
        )
    return depth, camera


def _poses(root: Path, stems: list[str], notes: _Notes) -> tuple[NDArray[np.float64] | None, tuple[int, ...]]:
    by_stem = {p.stem: p for p in list_files(root / "pose", (".txt",))} if (root / "pose").is_dir() else {}
    if not by_stem:
        notes.missing.append("no poses: lift and evaluate are skipped")
        return None, ()
    poses = read_poses(by_stem.get(stem) for stem in stems)
    invalid = tuple(int(i) for i in np.flatnonzero(np.isnan(poses[:, 0, 0])))
    valid = len(stems) - len(invalid)
    if not valid:
        notes.missing.append(f"no valid pose among {len(by_stem)} files: lift and evaluate are skipped")
        return None, invalid
    notes.found.append(counted(valid, "camera pose"))
    if invalid:
        notes.missing.append(
            f"valid poses of {counted(len(invalid), 'frame')} (missing, inf or nan): not used for lifting"
        )
    return poses, invalid


def _mesh(root: Path, notes: _Notes) -> Path | None:
    meshes = [p for p in list_files(root, (".ply",)) if p.name.endswith("_vh_clean_2.ply") and p.is_file()]
    preferred = [p for p in meshes if p.name == f"{root.name}_vh_clean_2.ply"]
    if not meshes:
        notes.missing.append("no *_vh_clean_2.ply mesh: points are fused from depth, evaluate is skipped")
        return None
    mesh = (preferred or meshes)[0]
    notes.found.append(f"mesh {mesh.name}")
    return mesh


PLUGIN = DatasetPlugin(
    summary="exported ScanNet: color/ depth/ pose/ intrinsic/ and *_vh_clean_2.ply",
    detect=detect,
    open=open_scannet,
    priority=40,
)
