"""Images with a COLMAP model, text or binary: world-to-camera, first pixel's centre at 0.5."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save


def stored_pose(index: int) -> list[float]:
    """Return qw qx qy qz tx ty tz of the inverse of a frame's pose."""
    camera_from_world = np.linalg.inv(room.pose(index))
    x, y, z, w = Rotation.from_matrix(camera_from_world[:3, :3]).as_quat()
    return [float(v) for v in (w, x, y, z, *camera_from_world[:3, 3])]


def colmap(root: Path, *, binary: bool = True, folder: str = "sparse/0", distortion: float = 0.0) -> Path:
    """Write a model with one camera (OPENCV, four numbers of distortion); ids are in no order."""
    for i in range(FRAMES):
        save(root / "images" / f"IMG_{i}.jpg", color(i))
    k = room.intrinsics(WIDTH, HEIGHT)
    parameters = [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5, distortion, 0.0, 0.0, 0.0]
    model = root / folder
    model.mkdir(parents=True, exist_ok=True)
    order = [*range(FRAMES)][::-1]
    if binary:
        cameras = struct.pack("<QiiQQ8d", 1, 7, 4, WIDTH, HEIGHT, *parameters)
        (model / "cameras.bin").write_bytes(cameras)
        parts = [struct.pack("<Q", FRAMES)]
        for i in order:
            parts.append(struct.pack("<I7dI", 50 + i, *stored_pose(i), 7) + f"IMG_{i}.jpg".encode() + b"\0")
            points = struct.pack("<ddq", 1.5, 2.5, -1) * (i % 3)
            parts.append(struct.pack("<Q", i % 3) + points)
        (model / "images.bin").write_bytes(b"".join(parts))
        return root
    numbers = " ".join(f"{p!r}" for p in map(float, parameters))
    (model / "cameras.txt").write_text(
        f"# Camera list\n#   CAMERA_ID, MODEL\n7 OPENCV {WIDTH} {HEIGHT} {numbers}\n"
    )
    lines = ["# Image list with two lines of data per image:"]
    for i in order:
        pose = " ".join(repr(v) for v in stored_pose(i))
        lines.append(f"{50 + i} {pose} 7 IMG_{i}.jpg")
        lines.append("1.5 2.5 -1" if i % 3 else "")
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    return root
