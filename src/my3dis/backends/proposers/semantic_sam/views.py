"""What is shown to the network to find masks inside a parent, and where it is prompted.

``points``: the frame as it is, prompted inside the parent only. The features of a frame serve all its parents
and levels. The grid over the parent's box is twice as dense as the frame's, with 8 to ``points_per_side``
points a side, so that the prompts of a frame stay few whatever the parents' number.

``crop``: a cut-out of the frame around the parent, a tenth of its box wider on each side, widened to the
frame's shape and to a quarter of its sides at least, brought to the size of the frame's picture and prompted
inside the parent only. Small parents are seen larger than in the frame, with what is around them.

``mask``: what the earlier My3DIS did (RICHKUNG/3DIS, ``progressive_refinement_masks`` in
``src/my3dis/semantic_refinement.py``): the frame's 640-pixel picture, with every pixel outside the parent set
to (0, 0, 0) before the network normalises it, not cropped, prompted with the whole grid of 32 x 32 points,
those on black included, at the default thresholds, with the one wanted level as the generator's list of
levels. Of its masks the better one takes a pixel that several claim, and each is then cut to its parent.
Not the same, because it lies above or beside this: its masks lost their stability on the way (it wrote 1.0),
at most 2,000 masks went on per level, its smallest area was a setting of its own (300 by default), a parent
that came back whole was not looked into again at the next level, and an older version dropped a child at an
IoU of 0.95 with its parent where the latest asks for equality, as ours does. Where parents are encoded in
batches (on a GPU), features differ by rounding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.proposers.semantic_sam.automatic import point_grid
from my3dis.backends.proposers.semantic_sam.placement import resample
from my3dis.backends.proposers.semantic_sam.preprocess import resize_bicubic, resized_size
from my3dis.masks.codec import Box, decode, decode_crop

__all__ = ["REFINE_MODES", "Parent", "Shown", "View", "whole_frame", "within"]

REFINE_MODES = ("crop", "mask", "points")

_MARGIN = 0.1
_LEAST_SHARE = 0.25
_LEAST_POINTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A frame as the network sees it.

    Attributes:
        color: (H, W, 3) uint8 RGB of the frame.
        picture: (h, w, 3) uint8 RGB at the network's size.
        key: digest of the picture.
        exact: code of a mask in the frame -> its code in the picture, for masks that were found in it:
            where the frame is the smaller one, the way back would lose pixels.
    """

    color: NDArray[np.uint8]
    picture: NDArray[np.uint8]
    key: bytes
    exact: dict[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, color: NDArray[np.uint8], short_side: int) -> Shown:
        """Bring a frame to the size at which its shorter side has a given length."""
        picture = resize_bicubic(color, resized_size(_size(color), short_side))
        return cls(color, picture, _key(picture))

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of the frame."""
        return _size(self.color)

    @property
    def picture_size(self) -> tuple[int, int]:
        """(h, w) of the picture."""
        return _size(self.picture)


@dataclass(frozen=True, slots=True)
class Parent:
    """A region to look into: id, code in the frame, and half-open xyxy box in the frame."""

    mask_id: int
    rle: bytes
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture with its prompts.

    Attributes:
        picture: (h, w, 3) uint8 RGB; all views of a frame have the same size.
        key: digest of the picture; equal pictures have equal features.
        points_xy: (P, 2) float32 prompts in 0..1 of the picture.
        box: half-open xyxy part of the frame that the picture shows.
        parent: the region looked into, or None for the whole frame.
        parent_in_picture: its code in the picture where that shows the whole frame, else None.
    """

    picture: NDArray[np.uint8]
    key: bytes
    points_xy: NDArray[np.float32]
    box: Box
    parent: Parent | None = None
    parent_in_picture: bytes | None = None


def whole_frame(shown: Shown, points_per_side: int) -> View:
    """Return the view of the frame as it is, prompted all over."""
    return View(shown.picture, shown.key, point_grid(points_per_side), _all_of(shown))


def within(shown: Shown, parent: Parent, mode: str, points_per_side: int) -> View:
    """Return the view of a parent in one of the `REFINE_MODES`."""
    if mode == "crop":
        return _crop(shown, parent, points_per_side)
    rle = shown.exact.get(parent.rle)
    if rle is None:
        rle = resample(parent.rle, shown.frame_size, shown.picture_size)
    if mode == "points":
        points = _points_in_box(shown, parent, points_per_side)
        return View(shown.picture, shown.key, points, _all_of(shown), parent, rle)
    picture = np.where(decode(rle, shown.picture_size)[..., None], shown.picture, np.uint8(0))
    return View(picture, _key(picture), point_grid(points_per_side), _all_of(shown), parent, rle)


def _points_in_box(shown: Shown, parent: Parent, points_per_side: int) -> NDArray[np.float32]:
    """Return the points of a grid over the parent's box that lie inside it, in 0..1 of the frame."""
    height, width = shown.frame_size
    x0, y0, x1, y1 = parent.box
    least = min(_LEAST_POINTS, points_per_side)
    columns, rows = (
        int(np.clip(np.ceil(2 * points_per_side * share), least, points_per_side))
        for share in ((x1 - x0) / width, (y1 - y0) / height)
    )
    inside = _inside(shown, parent, parent.box, point_grid((columns, rows)))
    return ((inside * (x1 - x0, y1 - y0) + (x0, y0)) / (width, height)).astype(np.float32)


def _crop(shown: Shown, parent: Parent, points_per_side: int) -> View:
    box = _crop_box(parent.box, shown.frame_size)
    x0, y0, x1, y1 = box
    picture = resize_bicubic(shown.color[y0:y1, x0:x1], shown.picture_size)
    points = _inside(shown, parent, box, point_grid(points_per_side))
    return View(picture, _key(picture), points, box, parent)


def _crop_box(box: Box, frame_size: tuple[int, int]) -> Box:
    """Return the part of the frame to show for a box: wider, of the frame's shape, and inside the frame."""
    height, width = frame_size
    x0, y0, x1, y1 = box
    share = max((x1 - x0) / width, (y1 - y0) / height) * (1 + 2 * _MARGIN)
    share = min(1.0, max(share, _LEAST_SHARE))
    left, right = _span((x0 + x1) / 2, share, width)
    top, bottom = _span((y0 + y1) / 2, share, height)
    return left, top, right, bottom


def _span(center: float, share: float, length: int) -> tuple[int, int]:
    """Return first and past-last pixel of a share of a side around a place, shifted into the side."""
    size = min(length, int(np.ceil(share * length)))
    first = int(np.clip(round(center - size / 2), 0, length - size))
    return first, first + size


def _inside(shown: Shown, parent: Parent, box: Box, grid_xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the points of a box's grid that fall on the parent, or its deepest pixel where none does."""
    import cv2

    crop = decode_crop(parent.rle, shown.frame_size, box)
    height, width = crop.shape
    place = np.minimum((grid_xy * (width, height)).astype(np.int64), (width - 1, height - 1))
    inside = grid_xy[crop[place[:, 1], place[:, 0]]]
    if len(inside):
        return inside
    depth = cv2.distanceTransform(np.pad(crop, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([((x + 0.5) / width, (y + 0.5) / height)], np.float32)


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _all_of(shown: Shown) -> Box:
    height, width = shown.frame_size
    return 0, 0, width, height


def _key(picture: NDArray[np.uint8]) -> bytes:
    head = f"{picture.shape}".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(picture).tobytes(), digest_size=16).digest()
