"""Random masks for the tests, and what pycocotools and NumPy say about them."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from my3dis.masks import build, codec
from my3dis.types import MaskSet

SIZE = (9, 13)


def dense_stacks(max_masks: int = 5) -> st.SearchStrategy[NDArray[np.bool_]]:
    """Stacks (N, 9, 13) of arbitrary masks, N from 0."""
    return st.integers(0, max_masks).flatmap(lambda n: hnp.arrays(np.bool_, (n, *SIZE)))


def mask_set(stack: NDArray[np.bool_], **columns: object) -> MaskSet:
    """Encode an (N, H, W) stack; ids are 0..N-1 unless given."""
    columns.setdefault("mask_id", np.arange(len(stack)))
    codes = [codec.encode(m) for m in stack]
    return build.from_codes(codes, frame=0, image_size=stack.shape[1:], **columns)  # type: ignore[arg-type]


def dense(masks: MaskSet) -> NDArray[np.bool_]:
    """Decode a small set whole, with pycocotools."""
    from pycocotools import mask as coco

    if not len(masks):
        return np.zeros((0, *masks.image_size), np.bool_)
    with warnings.catch_warnings():  # pycocotools speaks an older dialect of NumPy's array protocol
        warnings.simplefilter("ignore", DeprecationWarning)
        decoded = [coco.decode({"size": list(masks.image_size), "counts": r}) for r in masks.rle]
    return np.stack(decoded).astype(np.bool_)
