"""Tiny scans in the simplest layouts; frames are numbered so that 10 follows 9."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

FRAMES = 12
WIDTH, HEIGHT = 32, 24


def color(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose red channel tells the frame's number."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[..., 0] = 10 * index + 5
    return image


def save(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)


def pose(index: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = 0.1 * index
    return matrix


def save_matrix(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix)


def intrinsics(size: int = 4, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    k = np.eye(size)
    k[0, 0] = k[1, 1] = width
    k[0, 2], k[1, 2] = (width - 1) / 2, (height - 1) / 2
    return k


def ply(path: Path, points: int = 5) -> None:
    rows = "\n".join(f"{i} {i * 2} {i * 3}" for i in range(points))
    path.write_text(
        f"ply\nformat ascii 1.0\nelement vertex {points}\nproperty float x\nproperty float y\n"
        f"property float z\nend_header\n{rows}\n"
    )


def scannet(root: Path) -> Path:
    for i in range(FRAMES):
        save(root / "color" / f"{i}.png", color(i))
        save(root / "depth" / f"{i}.png", np.full((HEIGHT // 2, WIDTH // 2), 1000 + i, np.uint16))
        save_matrix(root / "pose" / f"{i}.txt", pose(i))
    save_matrix(root / "intrinsic" / "intrinsic_color.txt", intrinsics())
    save_matrix(root / "intrinsic" / "intrinsic_depth.txt", intrinsics(4, WIDTH // 2, HEIGHT // 2))
    ply(root / f"{root.name}_vh_clean_2.ply")
    (root / "gt").mkdir()
    (root / "gt" / "gt_parts.txt").write_text("1\n")
    return root


def seven_scenes(root: Path) -> Path:
    for i in range(FRAMES):
        stem = f"frame-{i:06d}"
        save(root / f"{stem}.color.png", color(i))
        for folder, value in ((root, 500), (root / "registered", 1000)):
            depth = np.full((HEIGHT, WIDTH), value + i, np.uint16)
            depth[0, 0] = 65535
            save(folder / f"{stem}.depth.png", depth)
            save_matrix(folder / f"{stem}.pose.txt", pose(i))
    save_matrix(root / "registered" / "camera-intrinsics.txt", intrinsics(3))
    return root


def multiscan(root: Path) -> Path:
    for i in range(FRAMES):
        save(root / "outputs" / "color" / f"{i * 10}.png", color(i))
        save(root / "outputs" / "depth" / f"{i * 10}.png", np.full((6, 8), 1000 + i, np.uint16))
    camera = {"intrinsics": intrinsics(3).T.ravel().tolist(), "transform": np.eye(4).ravel().tolist()}
    (root / f"{root.name}.jsonl").write_text(json.dumps(camera) + "\n")
    return root


def images(root: Path) -> Path:
    for i in range(FRAMES):
        save(root / f"img{i}.png", color(i))
    return root


def video(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for i in range(FRAMES):
        writer.write(np.ascontiguousarray(color(i)[..., ::-1]))
    writer.release()
    return path
