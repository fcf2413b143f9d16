"""Pictures of the check: where carried depth, the mesh and edges of depth fall in frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.check.evidence import Evidence, View
from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.corrections import Corrections
from my3dis.geometry.camera import back_project_pixels, nearest_pixels, project
from my3dis.geometry.transforms import invert_rigid, transform_points

__all__ = ["Picture", "draw_check"]

_WIDTH = 480
_AGREES, _DIFFERS, _EDGE = (60, 190, 90), (225, 60, 60), (250, 200, 40)
_MOST = 4
_JUMP = 0.06


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Picture:
    """One picture: ``name`` is the frame's, ``rgb`` is (H, W, 3) uint8."""

    name: str
    rgb: NDArray[np.uint8]


def draw_check(evidence: Evidence, corrections: Corrections, options: CheckOptions) -> tuple[Picture, ...]:
    """Draw a few pairs of frames, as stored and, below it, corrected.

    Left: depth of the other frame of the pair carried into this one, green where it agrees with the depth
    measured here and red where not. Middle: the same for mesh vertices. Right: edges of depth over the image.
    """
    chosen = np.unique(np.linspace(0, len(evidence.pairs) - 1, min(_MOST, len(evidence.pairs))).astype(int))
    pictures = []
    for index in chosen:
        pair = evidence.pairs[int(index)]
        rows = [_row(evidence, pair, Corrections(), options)]
        if not corrections.nothing:
            rows.append(_row(evidence, pair, corrections, options))
        pictures.append(Picture(name=pair[0].name, rgb=np.concatenate(rows)))
    return tuple(pictures)


def _row(
    evidence: Evidence, pair: tuple[View, View], corrections: Corrections, options: CheckOptions
) -> NDArray[np.uint8]:
    view, other = pair
    camera, pose = other.corrected(corrections)
    y, x = np.nonzero(other.depth_m[::3, ::3] > 0)
    points = np.zeros((0, 3))
    if pose is not None:
        z = other.depth_m[::3, ::3][y, x].astype(np.float64) * corrections.depth_scale
        pixels = np.stack([x * 3, y * 3], axis=1).astype(np.float64)
        points = transform_points(pose, back_project_pixels(pixels, z, camera))
    panels = [_points(view, points, corrections, options)]
    if evidence.vertices_m is not None:
        panels.append(_points(view, evidence.vertices_m, corrections, options))
    panels.append(_edges(view, corrections))
    return np.concatenate(panels, axis=1)


def _canvas(view: View) -> NDArray[np.uint8]:
    import cv2

    height = round(view.gray.shape[0] * _WIDTH / view.gray.shape[1])
    gray = cv2.resize(view.gray, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    canvas: NDArray[np.uint8] = np.repeat(gray[..., None] // 2 + 60, 3, axis=2).astype(np.uint8)
    return canvas


def _points(
    view: View, points_m: NDArray[np.float64], corrections: Corrections, options: CheckOptions
) -> NDArray[np.uint8]:
    canvas = _canvas(view)
    camera, pose = view.corrected(corrections)
    if pose is None or not len(points_m):
        return canvas
    uv, z = project(transform_points(invert_rigid(pose), points_m), camera)
    flat, inside = nearest_pixels(uv, (camera.height, camera.width))
    measured = view.depth_m.ravel()[flat].astype(np.float64) * corrections.depth_scale
    shown = inside & (measured > 0)
    # Points behind what is measured are hidden, not wrong.
    shown &= z < measured + 4 * options.error_m
    agrees = np.abs(z - measured) < options.error_m
    place, inside_canvas = nearest_pixels(uv * (_WIDTH / camera.width), canvas.shape[:2])
    painted = canvas.reshape(-1, 3)
    for chosen, color in ((~agrees, _DIFFERS), (agrees, _AGREES)):
        at = place[shown & chosen & inside_canvas]
        # Two by two pixels, so that single points are seen.
        for beside in (0, 1, canvas.shape[1], canvas.shape[1] + 1):
            painted[np.minimum(at + beside, len(painted) - 1)] = color
    return canvas


def _edges(view: View, corrections: Corrections) -> NDArray[np.uint8]:
    canvas = _canvas(view)
    z = view.depth_m
    with np.errstate(invalid="ignore", divide="ignore"):
        across = np.abs(np.diff(z, axis=1)) > _JUMP * np.minimum(z[:, 1:], z[:, :-1])
    y, x = np.nonzero(across & (z[:, 1:] > 0) & (z[:, :-1] > 0))
    pixels = np.stack([x, y], axis=1).astype(np.float64) + np.array(corrections.depth_shift_px)
    place, inside = nearest_pixels(pixels * (_WIDTH / z.shape[1]), canvas.shape[:2])
    canvas.reshape(-1, 3)[place[inside]] = _EDGE
    return canvas
