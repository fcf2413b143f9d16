"""MultiScan as it is downloaded: ``<scan>.mp4``, ``.depth.zlib``, ``.json``, ``.jsonl`` and the mesh.

Depth is one deflate stream of float16 metres (iOS) or uint16 millimetres (Android), smaller than colour
and seen by the same camera. Poses are moved into the upright world of the mesh where
``<scan>.align.json`` says how; without it the mesh cannot be used. Frame i is frame i of the video.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import list_files, scan_path
from my3dis.datasets.inflate import DeflateFrames
from my3dis.datasets.layout import Notes, camera_of, counted, note_poses
from my3dis.datasets.multiscan_files import (
    Cameras,
    Metadata,
    read_alignment,
    read_cameras,
    read_metadata,
)
from my3dis.datasets.ply import CloudFile
from my3dis.datasets.stream import FrameTable, StreamReader
from my3dis.datasets.truth_files import MULTISCAN
from my3dis.datasets.video import VideoReader
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_multiscan_raw"]

_VERSION = "1"


def detect(path: Path) -> bool:
    """Whether a folder holds a video and the cameras of its frames under one name."""
    return path.is_dir() and _scan_id(path) is not None


def open_multiscan_raw(path: Path) -> StreamReader:
    """Open a MultiScan scan as it is downloaded.

    Raises:
        DataError: if the video, the metadata or the cameras are missing or broken, or do not fit.
    """
    root = scan_path(path)
    notes = Notes("multiscan_raw", root)
    files = _Files.find(root)
    meta, cameras = read_metadata(files.of(".json")), read_cameras(files.of(".jsonl"))
    video = VideoReader(files.of(".mp4"), upright=False)
    size = video.overview.image_size
    frames = len(video) if meta.frames is None else min(len(video), meta.frames)
    notes.found.append(f"video of {frames} frames {size[1]}x{size[0]}")
    if meta.frames is not None and meta.frames != len(video):
        notes.missing.append(
            f"{files.of('.json').name} announces {meta.frames} frames, the video has {len(video)}: "
            f"the first {frames} are used"
        )
    depth = _depth(files, meta, notes)
    aligned = _world_poses(files, cameras, frames, notes)
    poses, invalid = note_poses(aligned, notes, counted(len(cameras), "camera"))
    load_cloud = _mesh(files, poses is not None, notes)
    color_cameras = _color_cameras(files.of(".jsonl"), cameras, meta, size)
    annotations = files.of(MULTISCAN)
    ground_truth = root / "gt" if (root / "gt").is_dir() else annotations
    has_truth = ground_truth.exists() and load_cloud is not None
    overview = notes.overview(
        frames,
        size,
        (poses, invalid),
        has_depth=depth is not None,
        cloud=load_cloud,
        ground_truth=ground_truth if has_truth else None,
    )
    rows = np.minimum(np.arange(frames), len(cameras) - 1)
    table = FrameTable(
        names=tuple(f"{i:06d}" for i in range(frames)),
        timestamps_s=np.where(np.arange(frames) < len(cameras), cameras.timestamps_s[rows], np.nan),
        poses=poses,
        color_cameras=tuple(color_cameras[i] for i in rows),
        depth_cameras=tuple(color_cameras[i].scaled_to(meta.depth_size[1], meta.depth_size[0]) for i in rows),
    )
    return StreamReader(
        overview=overview,
        table=table,
        inputs=files.present(),
        color=lambda index: video.frame(index).color,
        depth_m=None if depth is None else depth.frame,
        load_cloud=load_cloud,
        version=_VERSION,
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """A scan's folder and the name that its files begin with."""

    root: Path
    scan_id: str

    @classmethod
    def find(cls, root: Path) -> _Files:
        scan_id = _scan_id(root)
        if scan_id is None:
            raise DataError(
                f"{root}: expected a video and its cameras under one name (<scan>.mp4, <scan>.jsonl), found "
                "no such pair; download both, or name the layout with --dataset"
            )
        return cls(root, scan_id)

    def of(self, suffix: str) -> Path:
        return self.root / f"{self.scan_id}{suffix}"

    def present(self) -> tuple[Path, ...]:
        suffixes = (".mp4", ".depth.zlib", ".confidence.zlib", ".json", ".jsonl", ".align.json", ".ply")
        return tuple(p for p in map(self.of, suffixes) if p.is_file())


class _Depth:
    """Depth frames, with those readings left out whose confidence is low."""

    def __init__(self, depth: Path, confidence: Path | None, meta: Metadata) -> None:
        self._meta = meta
        pixels = meta.depth_size[0] * meta.depth_size[1]
        self._frames = DeflateFrames(depth, 2 * pixels)
        self._confidence = None if confidence is None else DeflateFrames(confidence, pixels)

    def frame(self, index: int) -> NDArray[np.float32]:
        """Return (H, W) float32 metres, 0 = no reading."""
        data, meta = self._frames.read(index), self._meta
        if meta.depth_in_metres:
            metres = np.frombuffer(data, "<f2").astype(np.float32)
            metres[~(np.isfinite(metres) & (metres > 0))] = 0
        else:
            metres = np.frombuffer(data, "<u2").astype(np.float32) * np.float32(0.001)
        if self._confidence is not None:
            metres[np.frombuffer(self._confidence.read(index), np.uint8) < meta.least_confidence] = 0
        return metres.reshape(meta.depth_size)


def _scan_id(root: Path) -> str | None:
    """Return the stem that a video and a file of cameras share; the folder's own name goes first."""
    stems = [p.stem for p in list_files(root, (".jsonl",)) if p.with_suffix(".mp4").is_file()]
    return root.name if root.name in stems else next(iter(stems), None)


def _depth(files: _Files, meta: Metadata, notes: Notes) -> _Depth | None:
    depth, confidence = files.of(".depth.zlib"), files.of(".confidence.zlib")
    if not depth.is_file():
        notes.missing.append(f"no {depth.name}: lift and evaluate are skipped")
        return None
    height, width = meta.depth_size
    unit = "metres" if meta.depth_in_metres else "millimetres"
    notes.found.append(f"depth {width}x{height} in {unit}")
    if not confidence.is_file():
        notes.missing.append(f"no {confidence.name}: depth is used whatever its confidence")
        return _Depth(depth, None, meta)
    notes.found.append(
        f"confidence of depth; readings below {meta.least_confidence} of {meta.confidence_top} are left out"
    )
    return _Depth(depth, confidence, meta)


def _world_poses(files: _Files, cameras: Cameras, frames: int, notes: Notes) -> NDArray[np.float64]:
    """Return (frames, 4, 4) poses in the world of the mesh where that is known, NaN where there is none."""
    poses = np.full((frames, 4, 4), np.nan)
    poses[: len(cameras)] = cameras.poses[:frames]
    align = files.of(".align.json")
    if not align.is_file():
        return poses
    notes.found.append(f"alignment to the mesh in {align.name}")
    aligned: NDArray[np.float64] = read_alignment(align) @ poses
    return aligned


def _mesh(files: _Files, posed: bool, notes: Notes) -> CloudFile | None:
    mesh, align = files.of(".ply"), files.of(".align.json")
    if not mesh.is_file():
        notes.missing.append(f"no {mesh.name}: points are fused from depth, evaluate is skipped")
        return None
    if not align.is_file() and posed:
        notes.missing.append(
            f"no {align.name}, so where the mesh lies is not known: points are fused from depth, "
            "evaluate is skipped"
        )
        return None
    notes.found.append(f"mesh {mesh.name}")
    return CloudFile(mesh)


def _color_cameras(
    source: Path, cameras: Cameras, meta: Metadata, size: tuple[int, int]
) -> tuple[Camera, ...]:
    """Return the camera of every line, for images of a size."""
    (height, width), (stated_height, stated_width) = size, meta.color_size
    if abs(width * stated_height - height * stated_width) > 0.02 * width * stated_height:
        raise DataError(
            f"{source.with_suffix('.mp4')}: expected frames shaped like {stated_width}x{stated_height} of "
            f"the metadata, found {width}x{height}; download the video again"
        )
    bad = np.flatnonzero(
        ~(np.isfinite(cameras.intrinsics).all(axis=1) & (cameras.intrinsics[:, :2] > 0).all(1))
    )
    if len(bad):
        fx, fy, cx, cy = cameras.intrinsics[bad[0]]
        k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        camera_of(k, source, f"colour, line {bad[0] + 1},", meta.color_size)
    return tuple(
        Camera(fx, fy, cx, cy, stated_width, stated_height).scaled_to(width, height)
        for fx, fy, cx, cy in cameras.intrinsics.tolist()
    )


PLUGIN = DatasetPlugin(
    summary="MultiScan as downloaded: <scan>.mp4 .jsonl .json .depth.zlib .confidence.zlib .align.json .ply",
    detect=detect,
    open=open_multiscan_raw,
    priority=60,
)
