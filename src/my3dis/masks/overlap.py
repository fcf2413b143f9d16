"""How much masks of two sets share, straight from their run-length codes: exact, and nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.errors import DataError
from my3dis.masks.boxes import boxes_overlap
from my3dis.masks.codec import to_rle_mask
from my3dis.types import MaskSet

__all__ = [
    "containment_matrix",
    "intersection_matrix",
    "iou_matrix",
    "parse",
    "union",
]


def parse(masks: MaskSet) -> list[RLEMask]:
    """Parse the codes of a set into runs, one `RLEMask` per mask."""
    return [to_rle_mask(rle, masks.image_size) for rle in masks.rle]


def iou_matrix(a: MaskSet, b: MaskSet) -> NDArray[np.float64]:
    """Return the (Na, Nb) float64 intersection over union of every pair; two empty masks have 0.

    Raises:
        DataError: if the sets are of images of different size, or a code is damaged.
    """
    _require_same_size(a, b)
    iou = np.zeros((len(a), len(b)))
    if not len(a) or not len(b):
        return iou
    # Masks whose box meets no box of the other set are not even parsed.
    touching = boxes_overlap(a.boxes, b.boxes)
    rows, columns = np.flatnonzero(touching.any(axis=1)), np.flatnonzero(touching.any(axis=0))
    if len(rows):
        runs_a, runs_b = _parse_some(a, rows), _parse_some(b, columns)
        iou[np.ix_(rows, columns)] = RLEMask.iou_matrix(runs_a, runs_b)
    return iou


def intersection_matrix(a: MaskSet, b: MaskSet) -> NDArray[np.int64]:
    """Return the (Na, Nb) int64 pixels that every pair shares, exactly.

    The shared area follows from the ratio r = i / (|a| + |b| - i): i = r (|a| + |b|) / (1 + r). Areas are
    below 2**32, so the double's rounding error is far below half a pixel.

    Raises:
        DataError: if the sets are of images of different size, or a code is damaged.
    """
    iou = iou_matrix(a, b)
    total = a.area_px[:, None] + b.area_px[None, :]
    return np.rint(iou * total / (1.0 + iou)).astype(np.int64)


def containment_matrix(a: MaskSet, b: MaskSet) -> NDArray[np.float64]:
    """Return (Na, Nb) float64: the share of each mask of a that lies inside each mask of b; 0 for empty ones.

    Raises:
        DataError: if the sets are of images of different size, or a code is damaged.
    """
    return intersection_matrix(a, b) / np.maximum(a.area_px, 1)[:, None]


def union(rles: Sequence[bytes], image_size: tuple[int, int]) -> RLEMask:
    """Return the union of run-length codes as one run-length mask; of none, the empty mask."""
    if not rles:
        return RLEMask.zeros(image_size)
    return RLEMask.union([to_rle_mask(rle, image_size) for rle in rles])


def _parse_some(masks: MaskSet, positions: NDArray[np.intp]) -> list[RLEMask]:
    return [to_rle_mask(masks.rle[i], masks.image_size) for i in positions.tolist()]


def _require_same_size(a: MaskSet, b: MaskSet) -> None:
    if a.image_size != b.image_size:
        raise DataError(
            f"expected two sets of masks of one image size, found {a.image_size} and {b.image_size}; "
            "resize one of them first"
        )
