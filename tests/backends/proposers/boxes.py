"""A tiny scene of boxes on a wall, with objects and parts known exactly, for tests of proposers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from my3dis.types import Camera, Frame

SIZE = (96, 128)
OBJECTS = {1: (0, 0, 128, 96), 2: (10, 20, 60, 80), 3: (70, 30, 110, 70)}
PARTS = {1: (0, 0, 128, 96), 20: (10, 20, 60, 50), 21: (10, 50, 60, 80), 30: (70, 30, 110, 70)}
OWNER = {1: 1, 20: 2, 21: 2, 30: 3}
COLORS = {1: (200, 200, 190), 20: (180, 40, 40), 21: (60, 120, 60), 30: (40, 60, 170)}
DEPTHS_M = {1: 3.0, 20: 2.0, 21: 2.0, 30: 1.5}


def _paint(boxes: dict[int, tuple[int, int, int, int]], shift: int) -> NDArray[np.uint16]:
    labels = np.zeros(SIZE, np.uint16)
    for label, (x0, y0, x1, y1) in boxes.items():
        labels[y0:y1, x0 + (label > 1) * shift : x1 + (label > 1) * shift] = label
    return labels


def objects(shift: int = 0) -> NDArray[np.uint16]:
    """Object ids: 1 the wall (structural), 2 and 3 two boxes, moved right by ``shift`` pixels."""
    return _paint(OBJECTS, shift)


def parts(shift: int = 0) -> NDArray[np.uint16]:
    """Part ids: 20 and 21 make up object 2, 30 is object 3, 1 the wall."""
    return _paint(PARTS, shift)


def frame(index: int = 0, *, shift: int = 0, depth: bool = True, noise: float = 4.0) -> Frame:
    """A noisy picture of the boxes, with depth at half the size unless switched off."""
    rng = np.random.default_rng(index)
    labels = parts(shift)
    color = np.zeros((*SIZE, 3))
    depth_m = np.zeros(SIZE, np.float32)
    for label, rgb in COLORS.items():
        color[labels == label] = rgb
        depth_m[labels == label] = DEPTHS_M[label]
    color += rng.normal(0, noise, color.shape)
    camera = Camera(fx=110.0, fy=110.0, cx=63.5, cy=47.5, width=SIZE[1], height=SIZE[0])
    half = depth_m[::2, ::2] * (1 + rng.normal(0, 0.001, (SIZE[0] // 2, SIZE[1] // 2))).astype(np.float32)
    half[rng.random(half.shape) < 0.03] = 0
    return Frame(
        index=index,
        name=f"{index:04d}",
        color=np.clip(color, 0, 255).astype(np.uint8),
        depth_m=half if depth else None,
        color_camera=camera,
        depth_camera=camera.scaled_to(SIZE[1] // 2, SIZE[0] // 2) if depth else None,
    )


def write_ground_truth(folder: Path, shifts: tuple[int, ...] = (0, 3)) -> Path:
    """Write ``gt`` for one frame per shift and return it."""
    gt = folder / "gt"
    for kind, maps in (("instance", objects), ("part", parts)):
        (gt / kind).mkdir(parents=True)
        for index, shift in enumerate(shifts):
            cv2.imwrite(str(gt / kind / f"{index:04d}.png"), maps(shift))
    tree = {
        "objects": {str(i): {"structural": i == 1} for i in OBJECTS},
        "parts": {str(part): {"object": owner} for part, owner in OWNER.items()},
    }
    (gt / "hierarchy.json").write_text(json.dumps(tree))
    return gt


def write_recording(folder: Path, shifts: tuple[int, ...] = (0, 3)) -> Path:
    """Write label maps at levels 2, 4 and 6 with relations, as another program would leave them."""
    root = folder / "recorded"
    relations = {}
    for index, shift in enumerate(shifts):
        fine = parts(shift)
        fine[fine == 20] = 40
        fine[20:35, 10 + shift : 60 + shift] = 41
        maps = {2: objects(shift), 4: parts(shift) + 100 * (parts(shift) > 0), 6: fine + 200}
        for level, labels in maps.items():
            (root / f"level_{level}").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / f"level_{level}" / f"{index:04d}.png"), labels.astype(np.uint16))
        links = [(i, None, 2) for i in OBJECTS] + [(100 + p, o, 4) for p, o in OWNER.items()]
        links += [(240, 120, 6), (241, 120, 6), (201, 101, 6), (221, 121, 6), (230, 130, 6)]
        relations[f"{index:04d}"] = {
            "rows": [{"id": i, "parent": parent, "level": level} for i, parent, level in links]
        }
    (root / "relations.json").write_text(json.dumps(relations))
    return root
