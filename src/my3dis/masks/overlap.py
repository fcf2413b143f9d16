"""How much masks of two sets share, straight from their run-length codes: exact, and nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.errors import DataError
from my3dis.masks.boxes import boxes_overlap
from my3dis.masks.codec import to_rle_mask
from my3dis.masks.tiles import MAX_TILES, Tiles, shared_areas, tile_count, tiles
from my3dis.types import MaskSet

__all__ = [
    "containment_matrix",
    "intersection_matrix",
    "iou_matrix",
    "parse",
    "union",
]

# A pair costs about this share of what cutting a mask into tiles costs; measured on recorded tracks.
_PAIRS_PER_MASK = 9


def parse(masks: MaskSet) -> list[RLEMask]:
    """Parse the codes of a set into runs, one `RLEMask` per mask."""
    return [to_rle_mask(rle, masks.image_size) for rle in masks.rle]


def iou_matrix(a: MaskSet, b: MaskSet) -> NDArray[np.float64]:
    """Return the (Na, Nb) float64 intersection over union of every pair; two empty masks have 0.

    Raises:
        DataError: if the sets are of images of different size, or a code is damaged.
    """
    return _overlap(a, b)[0]


def intersection_matrix(a: MaskSet, b: MaskSet) -> NDArray[np.int64]:
    """Return the (Na, Nb) int64 pixels that every pair shares, exactly.

    Raises:
        DataError: if the sets are of images of different size, or a code is damaged.
    """
    return _overlap(a, b)[1]


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


def _overlap(a: MaskSet, b: MaskSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (Na, Nb) ratios and shared pixels."""
    _require_same_size(a, b)
    iou, shared = np.zeros((len(a), len(b))), np.zeros((len(a), len(b)), np.int64)
    # Masks whose box meets no box of the other set are not even parsed.
    touching = boxes_overlap(a.boxes, b.boxes)
    rows, columns = np.flatnonzero(touching.any(axis=1)), np.flatnonzero(touching.any(axis=0))
    if not len(rows):
        return iou, shared
    few = np.count_nonzero(touching) < _PAIRS_PER_MASK * (len(rows) + len(columns))
    measure = _by_runs if few else _by_tiles
    where = np.ix_(rows, columns)
    iou[where], shared[where] = measure(a, b, rows, columns)
    return iou, shared


def _by_runs(
    a: MaskSet, b: MaskSet, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Walk the runs of every pair: the faster way for few pairs.

    The shared area follows from the ratio r = i / (|a| + |b| - i): i = r (|a| + |b|) / (1 + r). Areas are
    below 2**32, so the double's rounding error is far below half a pixel.
    """
    runs_a, runs_b = _parse_some(a, rows), _parse_some(b, columns)
    iou = RLEMask.iou_matrix(runs_a, runs_b)
    total = np.add.outer([r.area() for r in runs_a], [r.area() for r in runs_b])
    return iou, np.rint(iou * total / (1.0 + iou)).astype(np.int64)


def _by_tiles(
    a: MaskSet, b: MaskSet, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compare masks tile by tile, in blocks of bounded memory: the time is that of borders, not of pairs."""
    shared = np.zeros((len(rows), len(columns)), np.int64)
    area_a, area_b = np.zeros((len(rows), 1), np.int64), np.zeros((1, len(columns)), np.int64)
    block = max(1, MAX_TILES // tile_count(a.image_size))
    for i in range(0, len(rows), block):
        some_a = _cut(a, rows[i : i + block])
        area_a[i : i + block, 0] = some_a.mask_areas_px()
        for j in range(0, len(columns), block):
            some_b = some_a if a is b and i == j else _cut(b, columns[j : j + block])
            area_b[0, j : j + block] = some_b.mask_areas_px()
            shared[i : i + block, j : j + block] = shared_areas(some_a, some_b)
    return shared / np.maximum(area_a + area_b - shared, 1), shared


def _cut(masks: MaskSet, positions: NDArray[np.intp]) -> Tiles:
    return tiles([runs.counts for runs in _parse_some(masks, positions)], masks.image_size)


def _parse_some(masks: MaskSet, positions: NDArray[np.intp]) -> list[RLEMask]:
    return [to_rle_mask(masks.rle[i], masks.image_size) for i in positions.tolist()]


def _require_same_size(a: MaskSet, b: MaskSet) -> None:
    if a.image_size != b.image_size:
        raise DataError(
            f"expected two sets of masks of one image size, found {a.image_size} and {b.image_size}; "
            "resize one of them first"
        )
