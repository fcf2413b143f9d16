"""A TUM RGB-D sequence: three clocks, 5000 steps a metre, quaternions with w last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save

START_S = 1305031102.175304


def tum(root: Path) -> Path:
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for i in range(FRAMES):
        color_s, depth_s = START_S + i / 30, START_S + i / 30 - 0.0149
        save(root / "rgb" / f"{color_s:.6f}.png", color(i))
        steps = (5000 * room.depth_m(i, WIDTH, HEIGHT)).round().astype(np.uint16)
        save(root / "depth" / f"{depth_s:.6f}.png", steps)
        lists["rgb"].append(f"{color_s:.6f} rgb/{color_s:.6f}.png")
        lists["depth"].append(f"{depth_s:.6f} depth/{depth_s:.6f}.png")
        # The tracker runs faster than the camera: poses between frames are of no frame.
        for shift_s, pose in ((0.0031, room.pose(i)), (0.0132, np.eye(4))):
            numbers = (*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat())
            words = " ".join(f"{n:.7f}" for n in numbers)
            lists["groundtruth"].append(f"{color_s + shift_s:.4f} {words}")
    for name, lines in lists.items():
        head = f"# {name}\n# file: 'rgbd_dataset_mini.bag'\n# timestamp ...\n"
        (root / f"{name}.txt").write_text(head + "\n".join(lines) + "\n")
    k = room.intrinsics(WIDTH, HEIGHT)
    (root / "calibration.txt").write_text(f"{k[0, 0]} {k[1, 1]} {k[0, 2]} {k[1, 2]}\n")
    return root
