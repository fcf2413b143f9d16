"""Whether depth images lie over their colour images: edges of depth must meet edges of colour.

Objects end where depth jumps, and there the colour mostly changes too. Where depth was taken by a second
camera and not registered, its edges lie beside those of colour, by much the same shift all over the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.check.evidence import View
from my3dis.datasets.check.options import CheckOptions
from my3dis.geometry.camera import back_project_pixels, nearest_pixels, project

__all__ = ["Registration", "find_registration"]

_WIDTH = 320
"""Images are compared at this width: edges of depth are not known better than to two pixels of 640."""
_REACH = 28
_JUMP = 0.06
_LEAST_EDGES = 400
_ZOOMS = (0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.25)
_CLEAR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where the edges of depth meet those of colour best.

    Attributes:
        shift_px: (x, y) by which depth must move, pixels of the depth image.
        zoom: factor about the image's middle by which depth must grow.
        best: mean strength of colour edges under the depth edges there; 1 = as anywhere.
        here: the same where the depth is now.
        edges: depth edges that were compared.
    """

    shift_px: tuple[float, float]
    zoom: float
    best: float
    here: float
    edges: int

    def is_off(self, options: CheckOptions, width: int) -> bool:
        """Whether depth clearly belongs elsewhere: a better place, far enough away, and sharply so."""
        far = np.hypot(*self.shift_px) * 640 / width > options.shift_px or abs(self.zoom - 1) > 0.03
        return bool(self.edges >= _LEAST_EDGES and far and self.best > 1.35 and self.best > 1.2 * self.here)


def find_registration(views: Sequence[View]) -> Registration | None:
    """Search shifts and zooms of depth over all views at once; None without any edge of depth."""
    edges, strengths = [], []
    for view in views:
        where = _depth_edges(view)
        if len(where):
            edges.append(where)
            strengths.append(_color_edges(view))
    if not edges:
        return None
    total = sum(len(where) for where in edges)
    maps = {1.0: _score(edges, strengths, 1.0) / total}
    y, x = np.unravel_index(int(maps[1.0].argmax()), maps[1.0].shape)
    if max(abs(x - _REACH), abs(y - _REACH)) > 1 or maps[1.0].max() < _CLEAR:
        # Not plainly in place: depth of another field of view shrinks or grows as well.
        maps |= {zoom: _score(edges, strengths, zoom) / total for zoom in _ZOOMS}
    zoom = max(maps, key=lambda z: float(maps[z].max()))
    y, x = np.unravel_index(int(maps[zoom].argmax()), maps[zoom].shape)
    scale = views[0].depth_m.shape[1] / _WIDTH
    return Registration(
        shift_px=((float(x) - _REACH) * scale, (float(y) - _REACH) * scale),
        zoom=zoom,
        best=float(maps[zoom].max()),
        here=float(maps[1.0][_REACH, _REACH]),
        edges=total,
    )


def _size(view: View) -> tuple[int, int]:
    height, width = view.gray.shape
    return round(height * _WIDTH / width), _WIDTH


def _depth_edges(view: View) -> NDArray[np.float64]:
    """Return (E, 2) x, y of the near side of depth jumps, in the small colour image."""
    z = view.depth_m
    step = max(1, round(z.shape[1] / _WIDTH))
    z = z[::step, ::step].astype(np.float64)
    near = np.zeros(z.shape, bool)
    for axis in (0, 1):
        a, b = (z[1:], z[:-1]) if axis == 0 else (z[:, 1:], z[:, :-1])
        jump = (a > 0) & (b > 0) & (np.abs(a - b) > _JUMP * np.minimum(a, b))
        first = near[1:] if axis == 0 else near[:, 1:]
        second = near[:-1] if axis == 0 else near[:, :-1]
        first |= jump & (a < b)
        second |= jump & (b < a)
    y, x = np.nonzero(near)
    pixels = np.stack([x * step, y * step], axis=1).astype(np.float64)
    camera, width = view.color_camera, view.depth_m.shape[1]
    if camera is not None:
        rays = back_project_pixels(pixels, np.ones(len(pixels)), view.depth_camera)
        pixels, width = project(rays, camera)[0], camera.width
    small: NDArray[np.float64] = pixels * (_WIDTH / width)
    return small


def _color_edges(view: View) -> NDArray[np.float64]:
    """Return (h, w) strength of colour edges, their mean 1; strong ones are cut so that few do not rule."""
    import cv2

    height, width = _size(view)
    small = cv2.resize(view.gray, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))
    cut = np.minimum(strength, np.percentile(strength, 95)).astype(np.float64)
    relative: NDArray[np.float64] = np.divide(cut, max(float(cut.mean()), 1e-9))
    return relative


def _score(
    edges: Sequence[NDArray[np.float64]], strengths: Sequence[NDArray[np.float64]], zoom: float
) -> NDArray[np.float64]:
    """Return the summed strength under the edges for every shift up to the reach, by correlation."""
    from scipy.signal import fftconvolve

    side = 2 * _REACH + 1
    total = np.zeros((side, side))
    for where, strength in zip(edges, strengths, strict=True):
        height, width = strength.shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        flat, inside = nearest_pixels((where - middle) * zoom + middle, (height, width))
        image = np.bincount(flat[inside], minlength=height * width).reshape(height, width)
        # Beyond its border an image counts as average, so that no shift is favoured.
        padded = np.pad(strength, _REACH, constant_values=1.0)
        total += fftconvolve(padded, image[::-1, ::-1].astype(np.float64), mode="valid")
        # Edges that the zoom moved out of the image count as average too.
        total += float(np.count_nonzero(~inside))
    return total
