"""A tiny world of panels facing the camera, rendered exactly; for tests of lifting."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from my3dis.masks.labels import from_label_map
from my3dis.types import Camera, Frame, MaskSet, SceneCloud, TrackSet

CAMERA = Camera(100.0, 100.0, 49.5, 39.5, 100, 80)


@dataclass(frozen=True)
class Panel:
    """A rectangle at depth z (world z = distance of all cameras), of one object and one part; 0 = none."""

    x: tuple[float, float]
    y: tuple[float, float]
    z: float
    thing: int = 0
    part: int = 0


def points_of(panels: list[Panel], step: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points on a grid over every panel, with the object and the part of each."""
    xyz, things, parts = [], [], []
    for panel in panels:
        x, y = np.meshgrid(
            np.arange(panel.x[0] + step / 2, panel.x[1], step),
            np.arange(panel.y[0] + step / 2, panel.y[1], step),
        )
        xyz.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, panel.z)], axis=1))
        things.append(np.full(x.size, panel.thing))
        parts.append(np.full(x.size, panel.part))
    return np.concatenate(xyz).astype(np.float32), np.concatenate(things), np.concatenate(parts)


def cloud_of(panels: list[Panel], step: float = 0.05) -> SceneCloud:
    """Return the points as a cloud without mesh, colour or normals."""
    return SceneCloud(xyz_m=points_of(panels, step)[0], digest="panels")


def view(panels: list[Panel], index: int, x: float = 0.0) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Render depth, object labels and part labels from a camera moved along x."""
    v, u = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    things, parts = np.zeros(depth.shape, np.int32), np.zeros(depth.shape, np.int32)
    for panel in sorted(panels, key=lambda p: -p.z):
        at_x = (u - CAMERA.cx) / CAMERA.fx * panel.z + x
        at_y = (v - CAMERA.cy) / CAMERA.fy * panel.z
        hit = (at_x >= panel.x[0]) & (at_x < panel.x[1]) & (at_y >= panel.y[0]) & (at_y < panel.y[1])
        depth[hit], things[hit], parts[hit] = panel.z, panel.thing, panel.part
    pose = np.eye(4)
    pose[0, 3] = x
    frame = Frame(
        index=index,
        name=f"{index:04d}",
        color=np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8),
        depth_m=depth,
        color_camera=CAMERA,
        depth_camera=CAMERA,
        world_from_camera=pose,
    )
    return frame, things, parts


def tracked(labels: np.ndarray, frame: int, level: int = 2, first_id: int = 0) -> MaskSet:
    """Return every label as a mask whose track is the label plus ``first_id``."""
    masks = from_label_map(labels, frame=frame, level=level)
    ids = masks.mask_id + np.int32(first_id)
    return replace(masks, mask_id=ids, track_id=ids)


def track_set(levels: dict[int, int], parents: dict[int, int] | None = None) -> TrackSet:
    """Return tracks with the given levels and parents and one observation each."""
    ids = np.array(sorted(levels), np.int32)
    zeros = np.zeros(len(ids), np.int32)
    return TrackSet(
        track_id=ids,
        level=np.array([levels[i] for i in ids.tolist()], np.int16),
        parent_id=np.array([(parents or {}).get(i, -1) for i in ids.tolist()], np.int32),
        first_frame=zeros,
        last_frame=zeros,
        obs_track=ids,
        obs_frame=zeros,
        obs_mask_id=zeros,
        obs_score=np.ones(len(ids), np.float32),
    )
