"""Write a room as an exported ScanNet scene with its ground truth."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.cast import Hits
from my3dis.datasets.synthetic.render import Rendered, Renderer
from my3dis.datasets.synthetic.room import make_room
from my3dis.datasets.synthetic.scene import LABELS, Room
from my3dis.datasets.synthetic.surface import Mesh, SurfaceSampler
from my3dis.errors import DataError, ResourceError

__all__ = ["GENERATOR_VERSION", "SCENE_NAME", "built_in_scan", "write_scan"]

GENERATOR_VERSION = 2
"""Raised when the built-in scan comes out differently, so that an older one is written again."""

SCENE_NAME = "living_room"
"""Name of the built-in scan's folder."""

_MARKER = "built_in.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def built_in_scan(folder: Path) -> Path:
    """Return the built-in scan inside a folder, writing it if it is not there.

    It is written beside its place and moved there when complete, so a killed run leaves no half scan.

    Args:
        folder: where the scan's own folder is or will be made.

    Returns:
        The scan's folder, in the exported ScanNet layout.

    Raises:
        DataError: if another thing is in its place or the folder cannot be written.
        ResourceError: if the disk is full.
    """
    scan = folder / SCENE_NAME
    if scan.exists():
        written = _marker(scan)
        if written is None:
            raise DataError(
                f"{scan}: expected the built-in scan or nothing, found something else; "
                "move it away or choose another folder"
            )
        if written == GENERATOR_VERSION:
            return scan
    with _translated(scan):
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{SCENE_NAME}-", dir=folder))
        try:
            unfinished.chmod(0o755)
            _write(unfinished, make_room(), SCENE_NAME)
            (unfinished / _MARKER).write_text(json.dumps({"generator": GENERATOR_VERSION}) + "\n")
            _put_in_place(unfinished, scan)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return scan


def _put_in_place(drawn: Path, scan: Path) -> None:
    """Move a drawn scan to its place, unless another process has put the same one there meanwhile."""
    if scan.exists():
        # That one may be in use already: deleting it would take files from under its reader.
        if _marker(scan) == GENERATOR_VERSION:
            return
        shutil.rmtree(scan)
    try:
        drawn.rename(scan)
    except OSError:
        if not scan.exists() or _marker(scan) != GENERATOR_VERSION:
            raise


def write_scan(folder: Path, room: Room, *, name: str | None = None) -> None:
    """Write a room: colour, depth, poses, intrinsics, mesh and ``gt/``, a frame at a time.

    Args:
        folder: made if absent; files in it are overwritten.
        room: what to write.
        name: of the scene, which the mesh is called after; the folder's name when None.

    Raises:
        DataError: if the folder cannot be written.
        ResourceError: if the disk is full.
    """
    with _translated(folder):
        _write(folder, room, name or folder.resolve().name)


def _write(folder: Path, room: Room, name: str) -> None:
    renderer, sampler = Renderer(room), SurfaceSampler(room)
    seen = _Seen.empty(room)
    for kind in ("color", "depth", "pose", "intrinsic", "gt/instance", "gt/part"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    camera = room.camera
    k = np.eye(4)
    k[0, 0], k[1, 1], k[0, 2], k[1, 2] = camera.fx, camera.fy, camera.cx, camera.cy
    for kind in ("color", "depth"):
        _write_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt", k)
    for index in range(len(room)):
        frame = renderer.frame(index)
        sampler.add_frame(index, Hits(frame.depth_m, frame.shape))
        seen.add(frame)
        _write_frame(folder, f"{index:04d}", frame, room.poses[index])
    mesh = sampler.mesh()
    color = renderer.develop_points(mesh.xyz_m, mesh.shape)
    _write_ply(folder / f"{name}_vh_clean_2.ply", mesh, color)
    _write_labels(folder / "gt", room, renderer, mesh)
    tree = {"scene": name, "seed": room.seed, **_hierarchy(room, renderer, mesh, seen)}
    (folder / "gt" / "hierarchy.json").write_text(json.dumps(tree, indent=1) + "\n")


@dataclass(slots=True, eq=False)
class _Seen:
    """How often and how large each object and part is seen."""

    frames: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    largest: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def empty(cls, room: Room) -> _Seen:
        sizes = {"object": len(room.objects) + 1, "part": len(room.parts) + 1}
        return cls(
            {kind: np.zeros(n, np.int64) for kind, n in sizes.items()},
            {kind: np.zeros(n, np.int64) for kind, n in sizes.items()},
        )

    def add(self, frame: Rendered) -> None:
        for kind, labels in (("object", frame.instance), ("part", frame.part)):
            count = np.bincount(labels.ravel(), minlength=len(self.frames[kind]))
            self.frames[kind] += count > 0
            np.maximum(self.largest[kind], count, out=self.largest[kind])


def _write_frame(folder: Path, stem: str, frame: Rendered, pose: NDArray[np.float64]) -> None:
    import cv2

    millimetres = np.rint(frame.depth_m * 1000).astype(np.uint16)
    images = {
        f"color/{stem}.jpg": (frame.color[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]),
        f"depth/{stem}.png": (millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        f"gt/instance/{stem}.png": (frame.instance.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        f"gt/part/{stem}.png": (frame.part.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 3]),
    }
    for name, (image, options) in images.items():
        done, data = cv2.imencode(Path(name).suffix, image, options)
        assert done
        (folder / name).write_bytes(data.tobytes())
    _write_matrix(folder / "pose" / f"{stem}.txt", pose)


def _write_matrix(path: Path, matrix: NDArray[np.float64]) -> None:
    path.write_text("".join(" ".join(f"{value:.9f}" for value in row) + "\n" for row in matrix))


def _write_ply(path: Path, mesh: Mesh, color: NDArray[np.uint8]) -> None:
    vertex = np.empty(
        len(mesh.xyz_m),
        [(axis, "<f4") for axis in ("x", "y", "z", "nx", "ny", "nz")]
        + [(channel, "u1") for channel in ("red", "green", "blue")],
    )
    for i, axis in enumerate("xyz"):
        vertex[axis], vertex[f"n{axis}"] = mesh.xyz_m[:, i], mesh.normal[:, i]
    for i, channel in enumerate(("red", "green", "blue")):
        vertex[channel] = color[:, i]
    face = np.empty(len(mesh.triangles), [("n", "u1"), ("corners", "<i4", 3)])
    face["n"], face["corners"] = 3, mesh.triangles
    properties = [f"property float {axis}" for axis in ("x", "y", "z", "nx", "ny", "nz")]
    properties += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertex)}",
        *properties,
        f"element face {len(face)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    path.write_bytes(("\n".join(header) + "\n").encode() + vertex.tobytes() + face.tobytes())


def _write_labels(folder: Path, room: Room, renderer: Renderer, mesh: Mesh) -> None:
    label = np.array([0, *(LABELS[o.label] for o in room.objects)])
    structural = np.array([False, *(o.structural for o in room.objects)])
    owner = renderer.object_of_shape[mesh.shape]
    columns = {
        "gt_instances.txt": label[owner] * 1000 + owner,
        "gt_parts.txt": renderer.part_of_shape[mesh.shape],
        "gt_structural.txt": structural[owner].astype(int),
    }
    for name, values in columns.items():
        (folder / name).write_text("\n".join(map(str, values.tolist())) + "\n")


def _hierarchy(room: Room, renderer: Renderer, mesh: Mesh, seen: _Seen) -> dict[str, object]:
    vertices = {
        "object": np.bincount(renderer.object_of_shape[mesh.shape], minlength=len(room.objects) + 1),
        "part": np.bincount(renderer.part_of_shape[mesh.shape], minlength=len(room.parts) + 1),
    }

    def counts(kind: str, index: int) -> dict[str, int]:
        return {
            "vertices": int(vertices[kind][index]),
            "frames_seen": int(seen.frames[kind][index]),
            "max_pixels": int(seen.largest[kind][index]),
        }

    objects = {
        str(o.object_id): {
            "name": o.name,
            "label": o.label,
            "label_id": LABELS[o.label],
            "structural": o.structural,
            "parts": [p.part_id for p in room.parts if p.object_id == o.object_id],
            **counts("object", o.object_id),
        }
        for o in room.objects
    }
    parts = {
        str(p.part_id): {"object": p.object_id, "name": p.name, **counts("part", p.part_id)}
        for p in room.parts
    }
    return {"objects": objects, "parts": parts}


def _marker(scan: Path) -> int | None:
    """Return the generator version that wrote a scan, or None when it is no built-in scan."""
    try:
        content = json.loads((scan / _MARKER).read_bytes())
    except (OSError, ValueError):
        return None
    version = content.get("generator") if isinstance(content, dict) else None
    return version if isinstance(version, int) else None


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        if error.errno in _FULL:
            raise ResourceError(
                f"{path}: expected room for the synthetic scan (about 15 MB), found {reason}; free some space"
            ) from error
        raise DataError(
            f"{path}: expected a folder that can be written, found {reason}; choose another folder"
        ) from error
