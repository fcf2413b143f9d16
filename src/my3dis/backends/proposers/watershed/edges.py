"""Where one surface ends and another begins: edge strength from colour, depth jumps and normals.

All maps are (H, W) float32; about 1 means a clear edge. The constants were chosen on rendered rooms with
sensor-like depth by how well the best mask fits each true object and part, and looked at on real scans.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.types import Camera

__all__ = ["color_edges", "depth_edges", "edge_strength", "filled_depth"]

Map = NDArray[np.float32]

_COLOR_SCALES = ((1.0, 0.5), (3.0, 1.0))
"""(blur in pixels, weight): the fine scale places edges, the coarse one sees through texture."""
_COLOR_UNIT = 10.0
"""CIE Lab difference per pixel, over the scales, that counts as a clear edge."""
_COLOR_MOST = 2.0
_COLOR_FLOOR = 2.0
"""Gradients below this many medians are texture and noise ..."""
_COLOR_FLOOR_RANGE = (0.02, 1.0)
"""... but no less than rounding makes, and no more than this, lest a meadow swallow what stands in it."""

_FILL_REACH_PX = 6.0
_JUMP_REACH_PX = 2
_JUMP_FLOOR = 0.01
_JUMP_UNIT = 0.03
"""Relative change of inverse depth, beyond what a plane explains, that counts as a clear edge."""
_JUMP_MOST = 1.5
_SAME_SURFACE = 0.02

_NORMAL_BLUR_PX = 5.0
_NORMAL_REACH_PX = 4
_NORMAL_FLOOR = 0.15
_NORMAL_SUPPORT = 0.02


def edge_strength(color: NDArray[np.uint8], depth_m: Map | None, camera: Camera) -> Map:
    """Return how strongly something ends at each pixel; flat, noisy and textured areas are exactly 0.

    The three cues are added: where they coincide is an object's outline, where one speaks alone is a
    part's. (With their maximum, as first designed, outlines drown in texture as strong as they are: the
    best mask fitted objects worse on rendered rooms.)

    Args:
        color: (H, W, 3) RGB.
        depth_m: (H, W) metres, 0 = no reading, or None.
        camera: intrinsics of the image, for normals.
    """
    strength = color_edges(color)
    if depth_m is not None and (depth_m > 0).any():
        strength += depth_edges(depth_m, camera)
    return strength


def color_edges(color: NDArray[np.uint8]) -> Map:
    """Return the gradient of CIE Lab beyond the image's own noise, saturating at strong contrasts."""
    import cv2

    lab = cv2.cvtColor(color.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    gradient = np.zeros(color.shape[:2], np.float32)
    for blur_px, share in _COLOR_SCALES:
        blurred = cv2.GaussianBlur(lab, (0, 0), blur_px)
        squared = np.zeros_like(gradient)
        for dx, dy in ((1, 0), (0, 1)):
            slope = cv2.Sobel(blurred, -1, dx, dy, ksize=3, scale=1 / 8)
            squared += np.einsum("hwc,hwc->hw", slope, slope)
        gradient += np.float32(share) * np.sqrt(squared)
    floor = np.clip(_COLOR_FLOOR * np.median(gradient), *_COLOR_FLOOR_RANGE)
    beyond = np.maximum(gradient - np.float32(floor), 0)
    saturated: Map = _COLOR_MOST * np.tanh(beyond / np.float32(_COLOR_UNIT * _COLOR_MOST))
    return saturated


def depth_edges(depth_m: Map, camera: Camera) -> Map:
    """Return depth jumps plus changes of the surface normal; 0 where no depth was read nearby.

    Inverse depth is affine in the pixel over a plane, so its second difference vanishes on planes however
    slanted, and sensor noise is about constant in it. Normals come from its gradient, averaged over the
    surface at hand only: neighbours across a jump have no say.

    Args:
        depth_m: (H, W) metres, 0 = no reading.
        camera: intrinsics of the image.
    """
    import cv2

    depth, gap_px = filled_depth(depth_m)
    known = gap_px <= _FILL_REACH_PX
    depth = cv2.medianBlur(depth, 5)
    inverse = np.exp(cv2.bilateralFilter(-np.log(depth), 5, 0.02, 2.0))
    right, left = _shifted(inverse, _JUMP_REACH_PX, 1)
    below, above = _shifted(inverse, _JUMP_REACH_PX, 0)
    bend = np.maximum(np.abs(right + left - 2 * inverse), np.abs(below + above - 2 * inverse)) / inverse
    surface = ((bend < _SAME_SURFACE) & known).astype(np.float32)
    step = np.float32(2 * _JUMP_REACH_PX)
    slopes, support = _averaged((right - left) / step, (below - above) / step, surface)
    # A filled reading is as wrong as its surface is slanted; what that explains is no jump.
    filled = cv2.dilate((gap_px > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    excuse = np.where(filled, _FILL_REACH_PX * np.abs(slopes).sum(axis=0) / inverse, 0)
    jump = _JUMP_MOST * np.tanh(np.maximum(bend - excuse - _JUMP_FLOOR, 0) / np.float32(_JUMP_UNIT))
    turn = _normal_change(slopes, inverse, camera)
    turn[support < _NORMAL_SUPPORT] = 0
    edges: Map = np.where(known, jump + turn, 0).astype(np.float32)
    return edges


def filled_depth(depth_m: Map) -> tuple[Map, Map]:
    """Fill missing readings with the nearest one, and say how far that is.

    Args:
        depth_m: (H, W) metres, 0 = no reading; at least one reading.

    Returns:
        (H, W) float32 metres, all above 0, and (H, W) float32 pixels to the reading, 0 where one was made.
    """
    import cv2

    valid = np.isfinite(depth_m) & (depth_m > 0)
    if valid.all():
        return depth_m, np.zeros_like(depth_m)
    distance, label = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value = np.ones(int(label.max()) + 1, np.float32)
    value[label[valid]] = depth_m[valid]
    return value[label], distance


def _averaged(slope_x: Map, slope_y: Map, surface: Map) -> tuple[Map, Map]:
    """Average slopes over neighbours on the same surface; also return the share of such neighbours.

    Returns:
        (2, H, W) slopes along x and y, and (H, W) share in [0, 1].
    """
    import cv2

    blur = (0, 0), _NORMAL_BLUR_PX
    support = cv2.GaussianBlur(surface, *blur)
    share = np.maximum(support, np.float32(1e-4))
    slopes: Map = np.stack([cv2.GaussianBlur(slope * surface, *blur) / share for slope in (slope_x, slope_y)])
    return slopes, support


def _normal_change(slopes: Map, inverse: Map, camera: Camera) -> Map:
    """Return 1 - cos of the angle between normals some pixels apart, beyond its noise.

    Args:
        slopes: (2, H, W) slopes of inverse depth along x and y, per pixel.
        inverse: (H, W) inverse depth.
        camera: intrinsics.
    """
    slope_x, slope_y = slopes
    height, width = inverse.shape
    x = np.arange(width, dtype=np.float32) - np.float32(camera.cx)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(camera.cy)
    # Over the plane n . X = d: 1/z = (nx (x - cx) / fx + ny (y - cy) / fy + nz) / d.
    normal = np.stack(
        [
            slope_x * np.float32(camera.fx),
            slope_y * np.float32(camera.fy),
            inverse - slope_x * x - slope_y * y,
        ]
    )
    normal /= np.sqrt(np.einsum("chw,chw->hw", normal, normal)) + np.float32(1e-9)
    change = np.zeros_like(inverse)
    for axis in (0, 1):
        pairs = [_shifted(component, _NORMAL_REACH_PX, axis) for component in normal]
        cosine = sum((after * before for after, before in pairs), np.zeros_like(inverse))
        change = np.maximum(change, 1 - cosine)
    turn: Map = np.clip(change - _NORMAL_FLOOR, 0, 1)
    return turn


def _shifted(values: Map, reach: int, axis: int) -> tuple[Map, Map]:
    """Return the values ``reach`` pixels after and before each pixel along an axis; borders repeat."""
    pad = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
    padded = np.pad(values, pad, mode="edge")
    n = values.shape[axis]
    after = padded[2 * reach :] if axis == 0 else padded[:, 2 * reach :]
    before = padded[:n] if axis == 0 else padded[:, :n]
    return after, before
