"""Exported ScanNet scenes: ``color/ depth/ pose/ intrinsic/`` and ``*_vh_clean_2.ply``.

All files may also lie in one folder, as SAI3D has them: ``00000.jpg``, ``00000.png`` (depth), ``00000.txt``
(pose) and ``intrinsic_*.txt``.

Depth is uint16 millimetres, 0 = none; poses are camera-to-world with OpenCV axes and may hold inf.
Source: ScanNet's SensReader export; colour and depth may differ in size, each with its own intrinsics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from my3dis.datasets.files import IMAGE_SUFFIXES, list_files, read_matrix, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, find_depth, find_poses
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.datasets.truth_files import find_truth
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "find_mesh", "open_scannet"]

_VERSION = "1"
_MESH = "_vh_clean_2.ply"
_FORMAT = DepthFormat()


def detect(path: Path) -> bool:
    """Whether a folder looks like an exported ScanNet scene."""
    others = ("depth", "pose", "intrinsic")
    if (path / "color").is_dir():
        return any((path / name).is_dir() for name in others)
    return _is_flat(path)


def open_scannet(path: Path) -> FolderReader:
    """Open an exported ScanNet scene.

    Raises:
        DataError: if there are no colour images, an intrinsics file is broken, or images do not fit it.
    """
    root = scan_path(path)
    notes = Notes("scannet", root)
    flat = not (root / "color").is_dir() and _is_flat(root)
    suffixes = (".jpg",) if flat else IMAGE_SUFFIXES
    color, (height, width) = color_files(root if flat else root / "color", notes, suffixes=suffixes)
    names = tuple(p.stem for p in color)
    cameras = _Cameras.find(root)
    color_camera = cameras.color_for(width, height)
    depth, depth_size = find_depth(names, _by_stem(root if flat else root / "depth", ".png"), notes, _FORMAT)
    depth_camera = None
    if depth_size is not None:
        depth_camera = cameras.depth_for(depth_size[1], depth_size[0], color_camera)
        if depth_camera is None:
            notes.missing.append("no intrinsic/intrinsic_depth.txt: depth is not used, lift is skipped")
            depth = ()
    pose_files = _by_stem(root if flat else root / "pose", ".txt")
    if flat:
        pose_files = {name: p for name, p in pose_files.items() if not name.startswith("intrinsic")}
    poses, invalid = find_poses(names, pose_files, notes)
    mesh = find_mesh(root, notes)
    files = ScanFiles(
        color=color,
        names=names,
        depth=depth,
        poses=poses,
        color_camera=color_camera,
        depth_camera=depth_camera,
        depth_format=_FORMAT,
        cloud=mesh,
        pose_files=tuple(pose_files.get(name) for name in names),
        extra=(*cameras.paths, *pose_files.values()),
    )
    overview = notes.overview(
        len(color),
        (height, width),
        (poses, invalid),
        has_depth=bool(depth),
        cloud=mesh,
        ground_truth=find_truth(root),
    )
    return FolderReader(overview, files, _VERSION)


@dataclass(frozen=True)
class _Cameras:
    """The two intrinsics files; None where absent."""

    color: Path | None
    depth: Path | None

    @classmethod
    def find(cls, root: Path) -> _Cameras:
        found: dict[str, Path] = {}
        for kind in ("color", "depth"):
            for folder in (root / "intrinsic", root):
                candidate = folder / f"intrinsic_{kind}.txt"
                if candidate.is_file():
                    found.setdefault(kind, candidate)
        return cls(found.get("color"), found.get("depth"))

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.color, self.depth) if path is not None)

    def color_for(self, width: int, height: int) -> Camera | None:
        if self.color is None:
            return None
        return camera_of(read_matrix(self.color), self.color, "colour", (height, width))

    def depth_for(self, width: int, height: int, color: Camera | None) -> Camera | None:
        if self.depth is not None:
            return camera_of(read_matrix(self.depth), self.depth, "depth", (height, width))
        # Exported depth is registered to colour, so its camera is the colour camera, resampled.
        return None if color is None else color.scaled_to(width, height)


def _is_flat(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("intrinsic_*.txt")) and any(folder.glob("*.jpg"))


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    return {p.stem: p for p in list_files(folder, (suffix,))} if folder.is_dir() else {}


def find_mesh(root: Path, notes: Notes) -> Path | None:
    """Return the mesh of a ScanNet scene, or None; the notes get a sentence."""
    meshes = [p for p in list_files(root, (".ply",)) if p.name.endswith(_MESH)]
    if not meshes:
        notes.missing.append(f"no *{_MESH} mesh: points are fused from depth, evaluate is skipped")
        return None
    preferred = [p for p in meshes if p.name == f"{root.name}{_MESH}"]
    mesh = (preferred or meshes)[0]
    notes.found.append(f"mesh {mesh.name}")
    return mesh


PLUGIN = DatasetPlugin(
    summary="exported ScanNet: color/ depth/ pose/ intrinsic/ and *_vh_clean_2.ply",
    detect=detect,
    open=open_scannet,
    priority=40,
)
