"""Folders that scanning programs write: Record3D on a telephone, and Open3D's reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save
from tests.datasets.miniatures.exr import exr

DEPTH_WIDTH, DEPTH_HEIGHT = 128, 96


def record3d(root: Path, *, inner: bool = False) -> Path:
    """Write a recording; intrinsics for twice the size of the images, as when they were made smaller."""
    folder = root / "EXR_RGBD" if inner else root
    poses = []
    for i in range(FRAMES):
        save(folder / "rgb" / f"{i}.jpg", color(i))
        depth = room.depth_m(i, DEPTH_WIDTH, DEPTH_HEIGHT).astype(np.float32)
        exr(folder / "depth" / f"{i}.exr", {"R": depth})
        arkit = room.pose(i) @ np.diag([1, -1, -1, 1])
        poses.append([*Rotation.from_matrix(arkit[:3, :3]).as_quat(), *arkit[:3, 3]])
    k = room.intrinsics(2 * WIDTH, 2 * HEIGHT)
    metadata: dict[str, object] = {
        "w": 2 * WIDTH,
        "h": 2 * HEIGHT,
        "dw": DEPTH_WIDTH,
        "dh": DEPTH_HEIGHT,
        "fps": 60,
        "K": k.T.ravel().tolist(),
        "poses": [[float(n) for n in pose] for pose in poses],
        "frameTimestamps": [i / 60 for i in range(FRAMES)],
        "initPose": [0, 0, 0, 1, 0, 0, 0],
    }
    if inner:
        metadata["perFrameIntrinsicCoeffs"] = [[k[0, 0], k[1, 1], k[0, 2], k[1, 2]]] * FRAMES
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return root


def open3d(root: Path) -> Path:
    blocks = []
    for i in range(FRAMES):
        save(root / "color" / f"{i:06d}.jpg", color(i))
        save(
            root / "depth" / f"{i:06d}.png", (1000 * room.depth_m(i, WIDTH, HEIGHT)).round().astype(np.uint16)
        )
        rows = "\n".join(" ".join(f"{v:.8f}" for v in row) for row in room.pose(i))
        blocks.append(f"{i} {i} {i + 1}\n{rows}\n")
    k = room.intrinsics(WIDTH, HEIGHT)
    intrinsics = {"width": WIDTH, "height": HEIGHT, "intrinsic_matrix": k.T.ravel().tolist()}
    (root / "camera_intrinsic.json").write_text(json.dumps(intrinsics))
    scene = root / "scene"
    scene.mkdir()
    (scene / "trajectory.log").write_text("".join(blocks))
    points, triangles, _ = room.mesh()
    (scene / "integrated.ply").write_text(
        f"ply\nformat ascii 1.0\nelement vertex {len(points)}\nproperty double x\nproperty double y\n"
        f"property double z\nelement face {len(triangles)}\n"
        "property list uchar uint vertex_indices\nend_header\n"
        + "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points)
        + "".join(f"3 {a} {b} {c}\n" for a, b, c in triangles)
    )
    return root
