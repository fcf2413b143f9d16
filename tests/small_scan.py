"""A small scan for tests that run the whole program: the built-in scan, fewer frames, pixels and points."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

__all__ = ["write_small_scan"]

_IMAGES = ("color", "depth", "gt/instance", "gt/part")
_VERTEX_BYTES = 27


def write_small_scan(source: Path, folder: Path, *, frames: int = 6, scale: float = 0.3) -> Path:
    """Write every n-th frame of the built-in scan, smaller, and every sixteenth vertex of its mesh."""
    for name in (*_IMAGES, "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    stems = sorted(path.stem for path in (source / "pose").iterdir())
    for stem in stems[:: len(stems) // frames][:frames]:
        for kind in _IMAGES:
            (path,) = (source / kind).glob(f"{stem}.*")
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(folder / kind / path.name), small)
        shutil.copy(source / "pose" / f"{stem}.txt", folder / "pose")
    for path in (source / "intrinsic").iterdir():
        matrix = np.loadtxt(path)
        matrix[:2, :2] *= scale
        matrix[:2, 2] = (matrix[:2, 2] + 0.5) * scale - 0.5
        np.savetxt(folder / "intrinsic" / path.name, matrix)
    shutil.copy(source / "gt" / "hierarchy.json", folder / "gt")
    for path in (source / "gt").glob("*.txt"):
        lines = path.read_text().splitlines()[::16]
        (folder / "gt" / path.name).write_text("\n".join(lines) + "\n")
    (mesh,) = source.glob("*.ply")
    _thin(mesh, folder / mesh.name)
    return folder


def _thin(mesh: Path, out: Path) -> None:
    head, _, body = mesh.read_bytes().partition(b"end_header\n")
    n = int(head.split(b"element vertex ")[1].split()[0])
    vertices = np.frombuffer(body, np.uint8, n * _VERTEX_BYTES).reshape(n, _VERTEX_BYTES)[::16]
    head = head.partition(b"element face")[0].replace(b"vertex %d" % n, b"vertex %d" % len(vertices))
    out.write_bytes(head + b"end_header\n" + vertices.tobytes())
