"""Replica scenes as NICE-SLAM renders them: ``results/frame*.jpg``, ``results/depth*.png`` and ``traj.txt``.

Depth is uint16, 6553.5 steps a metre, 0 = none, seen from the colour camera; a line of the trajectory is a
row-major camera-to-world matrix with OpenCV axes. The mesh lies beside the scene's folder and has no labels.
Where the original data set's ``habitat/mesh_semantic.ply`` and ``info_semantic.json`` are put into the
folder, they are the mesh and the ground truth. Sources: Straub et al., "The Replica dataset", 2019;
Zhu et al., "NICE-SLAM", CVPR 2022.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from my3dis.datasets.files import list_files, read_bytes, scan_path
from my3dis.datasets.layout import Notes, Posed, camera_of, color_files, counted, find_depth, note_poses
from my3dis.datasets.poses import valid_poses
from my3dis.datasets.reader import DepthFormat, FolderReader, ScanFiles
from my3dis.datasets.truth_files import REPLICA
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_replica"]

_VERSION = "1"
# NICE-SLAM's rendering, 1200x680.
_CAMERA = Camera(600.0, 600.0, 599.5, 339.5, 1200, 680)
_STEPS_PER_M = 6553.5
_LABELLED = "habitat/mesh_semantic.ply"


def detect(path: Path) -> bool:
    """Whether a folder has a trajectory and rendered results."""
    return (path / "traj.txt").is_file() and (path / "results").is_dir()


def open_replica(path: Path) -> FolderReader:
    """Open one rendered scene.

    Raises:
        DataError: if there are no colour images, or the trajectory or camera file is broken.
    """
    root = scan_path(path)
    notes = Notes("replica", root)
    results = root / "results"
    color, (height, width) = color_files(results, notes, suffixes=(".jpg",))
    keys = tuple(_number(p.stem) for p in color)
    camera, depth_format, parameters = _camera(root, (height, width))
    depth_files = {_number(p.stem): p for p in list_files(results, (".png",)) if p.stem.startswith("depth")}
    depth, depth_size = find_depth(keys, depth_files, notes, depth_format)
    trajectory = root / "traj.txt"
    poses, invalid = _poses(trajectory, keys, notes)
    mesh = _mesh(root, notes)
    truth = root / "gt" if (root / "gt").is_dir() else root / "habitat" / REPLICA
    labelled = truth.is_dir() or (mesh is not None and truth.is_file() and mesh.name == Path(_LABELLED).name)
    overview = notes.overview(
        len(color),
        (height, width),
        (poses, invalid),
        has_depth=bool(depth),
        cloud=mesh,
        ground_truth=truth if labelled else None,
    )
    files = ScanFiles(
        color=color,
        names=tuple(p.stem for p in color),
        depth=depth,
        poses=poses,
        color_camera=camera,
        depth_camera=None if depth_size is None else camera.scaled_to(depth_size[1], depth_size[0]),
        depth_format=depth_format,
        cloud=mesh,
        extra=tuple(p for p in (trajectory, parameters) if p.is_file()),
    )
    return FolderReader(overview, files, _VERSION)


def _number(stem: str) -> str:
    """Return the number at the end of a name, without leading zeros."""
    return stem.lstrip("abcdefghijklmnopqrstuvwxyz_-").lstrip("0") or "0"


def _poses(path: Path, keys: tuple[str, ...], notes: Notes) -> Posed:
    """Return the pose of each frame: the line that its number counts, from 0."""
    if not path.is_file():
        notes.missing.append(f"no {path.name}: lift and evaluate are skipped")
        return None, ()
    expected = "16 numbers a line, a row-major 4x4 matrix"
    lines = [line.split() for line in read_bytes(path, expected).splitlines() if line.strip()]
    try:
        matrices = np.array([[float(w) for w in words] for words in lines], np.float64)
        matrices = matrices.reshape(len(lines), 4, 4)
        rows = np.array([int(key) for key in keys])
    except ValueError as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({error}); "
            "copy the file again from its source"
        ) from error
    poses = np.full((len(keys), 4, 4), np.nan)
    inside = rows < len(matrices)
    poses[inside] = matrices[rows[inside]]
    return note_poses(valid_poses(poses), notes, f"{counted(len(matrices), 'line')} of {path.name}")


def _camera(root: Path, size: tuple[int, int]) -> tuple[Camera, DepthFormat, Path]:
    """Return camera, depth format and the file they are from: the data set's own where there is none."""
    # A link to the scene lies elsewhere than the files beside the scene.
    places = (
        root / "cam_params.json",
        root.parent / "cam_params.json",
        root.resolve().parent / "cam_params.json",
    )
    path = next((p for p in places if p.is_file()), places[0])
    if not path.is_file():
        return _CAMERA.scaled_to(size[1], size[0]), DepthFormat(unit_m=1 / _STEPS_PER_M), path
    expected = '"camera" with w, h, fx, fy, cx, cy and scale'
    try:
        tree = json.loads(read_bytes(path, expected))["camera"]
        k = np.array([[tree["fx"], 0, tree["cx"]], [0, tree["fy"], tree["cy"]], [0, 0, 1]], np.float64)
        stated, scale = (int(tree["h"]), int(tree["w"])), float(tree["scale"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "copy the file again, or remove it to use the data set's own camera"
        ) from error
    if not (scale > 0 and min(stated) > 0):
        raise DataError(
            f"{path}: expected sizes and a scale above 0, found {stated}, {scale:g}; correct them"
        )
    camera = camera_of(k, path, "colour", stated)
    return camera.scaled_to(size[1], size[0]), DepthFormat(unit_m=1 / scale), path


def _mesh(root: Path, notes: Notes) -> Path | None:
    beside = (root.parent, root, root.resolve().parent)
    names = (root.name, root.name, root.resolve().name)
    places = (root / _LABELLED, *(d / f"{n}_mesh.ply" for d, n in zip(beside, names, strict=True)))
    mesh = next((p for p in places if p.is_file()), None)
    if mesh is None:
        notes.missing.append(f"no {places[1].name} beside the scene: points are fused from depth")
    else:
        notes.found.append(f"mesh {mesh.name}")
    if mesh != places[0]:
        notes.missing.append(f"no {_LABELLED}: evaluate is skipped")
    return mesh


PLUGIN = DatasetPlugin(
    summary="Replica as NICE-SLAM renders it: results/{frame,depth}*, traj.txt, <scene>_mesh.ply",
    detect=detect,
    open=open_replica,
    priority=56,
)
