"""Overlaps from run-length codes are exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco

from my3dis.errors import DataError
from my3dis.masks import codec, overlap
from my3dis.types import MaskSet
from tests.masks.scenes import SIZE, dense, dense_stacks, mask_set


@settings(max_examples=60, deadline=None)
@given(dense_stacks(), dense_stacks())
def test_matrices_equal_dense_arithmetic(a: np.ndarray, b: np.ndarray) -> None:
    """Intersection, IoU and containment equal what counting pixels gives, empty masks included."""
    shared = (a[:, None] & b[None]).sum(axis=(2, 3))
    either = (a[:, None] | b[None]).sum(axis=(2, 3))
    first, second = mask_set(a), mask_set(b)
    assert np.array_equal(overlap.intersection_matrix(first, second), shared)
    assert np.allclose(overlap.iou_matrix(first, second), shared / np.maximum(either, 1))
    inside = shared / np.maximum(a.sum(axis=(1, 2)), 1)[:, None]
    assert np.allclose(overlap.containment_matrix(first, second), inside)


def test_iou_agrees_with_pycocotools_and_decodes_nothing() -> None:
    """On large blobs the IoU is pycocotools' IoU, and no mask was decoded for it."""
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[:240, :320]
    stack = np.stack(
        [
            (xs - rng.integers(320)) ** 2 + (ys - rng.integers(240)) ** 2 < rng.integers(50, 9000)
            for _ in range(24)
        ]
    )
    masks = mask_set(stack)
    codec.DECODED.reset_peak()
    ours = overlap.iou_matrix(masks, masks)
    assert codec.DECODED.peak == codec.DECODED.alive
    records = [{"size": [240, 320], "counts": r} for r in masks.rle]
    assert np.allclose(ours, coco.iou(records, records, [0] * len(records)))
    shared = (stack[:, None] & stack[None]).sum(axis=(2, 3))
    assert np.array_equal(overlap.intersection_matrix(masks, masks), shared)


def test_sizes_must_agree() -> None:
    """Sets of images of different size are refused in a sentence."""
    with pytest.raises(DataError, match="one image size"):
        overlap.iou_matrix(MaskSet.empty(0, (4, 5)), MaskSet.empty(0, (5, 4)))


@settings(max_examples=30, deadline=None)
@given(dense_stacks())
def test_union_is_the_or_of_all(stack: np.ndarray) -> None:
    """The union holds a pixel exactly when some mask does; of no masks it is empty."""
    masks = mask_set(stack)
    got = overlap.union(masks.rle, SIZE).to_array().astype(bool)
    assert np.array_equal(got, dense(masks).any(axis=0))
