"""A small world of upright cards before a wall, seen by a camera that moves sideways; exact labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.build import from_codes
from my3dis.masks.labels import from_label_map
from my3dis.types import Camera, Frame, MaskSet

SIZE = (48, 64)
CAMERA = Camera(50.0, 50.0, 31.5, 23.5, SIZE[1], SIZE[0])
WALL_M = 3.0


@dataclass(frozen=True)
class Card:
    """A rectangle facing the camera: id, half-open extent in metres, depth and colour."""

    label: int
    x0: float
    y0: float
    x1: float
    y1: float
    z: float = 2.0
    color: tuple[int, int, int] = (200, 80, 60)


def render(
    index: int, cards: Sequence[Card], camera_x: float = 0.0, *, depth: bool = True, scale: int = 1
) -> tuple[Frame, NDArray[np.int32]]:
    """Return the frame, ``scale`` times as large, and its labels; without depth there is no pose either."""
    size = (SIZE[0] * scale, SIZE[1] * scale)
    camera = CAMERA.scaled_to(size[1], size[0])
    v, u = np.mgrid[: size[0], : size[1]].astype(np.float64)
    labels = np.zeros(size, np.int32)
    z = np.full(size, WALL_M)
    color = _texture(camera_x + (u - camera.cx) / camera.fx * WALL_M, (v - camera.cy) / camera.fy * WALL_M)
    rgb = np.stack([color] * 3, axis=2) * 0.5 + 60
    for card in sorted(cards, key=lambda c: -c.z):
        x = camera_x + (u - camera.cx) / camera.fx * card.z
        y = (v - camera.cy) / camera.fy * card.z
        inside = (x >= card.x0) & (x < card.x1) & (y >= card.y0) & (y < card.y1)
        labels[inside], z[inside] = card.label, card.z
        grain = _texture(x - card.x0, y - card.y0)
        rgb[inside] = (np.array(card.color) * 0.7 + grain[..., None] * 0.3)[inside]
    pose = np.eye(4)
    pose[0, 3] = camera_x
    frame = Frame(
        index=index,
        name=f"{index:04d}",
        color=np.clip(rgb, 0, 255).astype(np.uint8),
        depth_m=z.astype(np.float32) if depth else None,
        color_camera=camera if depth else None,
        depth_camera=camera if depth else None,
        world_from_camera=pose if depth else None,
    )
    return frame, labels


def _texture(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = np.sin(9 * x + 2 * y) + np.sin(7 * y - 3 * x) + np.sin(23 * x + 19 * y) + np.sin(31 * y - 17 * x)
    return 128 + 30 * waves


def masks_of(labels: NDArray[np.int32], frame: int, level: int = 2) -> MaskSet:
    """Return every label as a candidate."""
    return from_label_map(labels, frame=frame, level=level)


def boxes(frame: int, *rectangles: tuple[int, int, int, int], level: int = 2, **columns: object) -> MaskSet:
    """Return rectangles x0, y0, x1, y1 as masks with ids 0, 1, ..."""
    from my3dis.masks import codec

    rles = []
    for x0, y0, x1, y1 in rectangles:
        mask = np.zeros(SIZE, bool)
        mask[y0:y1, x0:x1] = True
        rles.append(codec.encode(mask))
    ids = np.arange(len(rles))
    return from_codes(rles, frame=frame, image_size=SIZE, mask_id=ids, level=level, **columns)


def plain(frame: int) -> Frame:
    """Return a grey frame without depth."""
    return Frame(index=frame, name=str(frame), color=np.full((*SIZE, 3), 128, np.uint8))
